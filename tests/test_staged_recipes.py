"""A staged recipe is read like any other: all faults at once, each with the name of its stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chains import causal_settings, settings_of, write
from tiny import World

from tunebench.errors import InputError
from tunebench.recipe.load import dump_recipe, load_any, load_recipe, parse_yaml, validate_any
from tunebench.recipe.stages import StagedRecipe


def faulty(settings: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The settings with one changed: ``0.train.max_steps`` in the first stage, ``/seed`` above the stages; None removes it."""
    *keys, last = path.lstrip("/").split(".")
    target: Any = settings if path.startswith("/") else settings["stages"]
    for key in keys:
        target = target[int(key) if isinstance(target, list) else key]
    place = int(last) if isinstance(target, list) else last
    if value is None:
        del target[place]
    else:
        target[place] = value
    return settings


FAULTS: list[tuple[str, Any, str]] = [
    ("0.train.max_steps", 0, "stages.cpt.train.max_steps: expected at least 1, found 0"),
    ("0.train.max_stepz", 1, "stages.cpt.train.max_stepz: unknown key; nearest is 'max_steps'"),
    ("1.method.kind", "lorra", "stages.sft.method.kind: expected one of"),
    ("1.data.validation", None, "stages.sft.data.validation: needed to choose the best checkpoint"),
    ("1.data.predict", {"fraction": 0.1}, "stages.sft.data.predict: expected a file, or {file: …}"),
    ("1.name", None, "stages.2.name: missing; name of the stage"),
    ("1.name", "../x", "stages.2.name: expected letters, digits"),
    ("1.name", "CPT", "stages: names are folders, give each stage its own; found twice: CPT, cpt"),
    ("1.name", "s" * 97, f"stages.{'s' * 97}.name: the run's name, <recipe>-<stage>, has 102 characters"),
    ("1", "sft", "stages.2: expected settings, found 'sft'"),
    ("1.seed", 3, "stages.sft.seed: is the same for all stages; move it above stages"),
    ("1.base", {"model": "x"}, "stages.sft.base.model: unknown"),
    ("/train", {}, "train: stands in each stage; move it below stages"),
    ("/base", None, "base: missing; the pretrained model that the first stage starts from"),
    ("/stages", [], "stages: expected a list of at least 1, found []"),
    ("/stages", "cpt", "stages: expected a list, found 'cpt'"),
    ("0.merge", False, "stages.cpt.merge: the next stage starts from whole weights; set it to true, or method.kind to full"),
    ("0.method", {"kind": "full"}, "stages.cpt.merge: the method 'full' has no adapter to merge; remove it"),
    ("0.method", {"kind": "tfidf"}, "stages.cpt.method.kind: the baseline 'tfidf' uses no weights of a stage"),
    ("1.task", "language-modeling", "stages.sft.task: language-modeling needs the output layer of a language model"),
    ("/base.pooling", "mean", "base.pooling: belongs to task: text-classification"),
]


@pytest.mark.parametrize(("path", "value", "told"), FAULTS, ids=[f"{path}={value!s:.12}" for path, value, _ in FAULTS])
def test_faults_of_a_staged_recipe_name_the_stage(world: World, path: str, value: Any, told: str) -> None:
    settings = settings_of(world)
    if path == "/base.pooling":
        settings["stages"] = [stage | {"task": "language-modeling"} for stage in settings["stages"]]
    with pytest.raises(InputError) as caught:
        validate_any(faulty(settings, path, value), "pair.yaml")
    assert any(fault.startswith(told) for fault in caught.value.faults), caught.value.faults


def test_all_faults_of_all_stages_are_told_at_once(world: World) -> None:
    settings = faulty(faulty(faulty(settings_of(world), "0.train.max_steps", 0), "1.train.eval_steps", "x"), "/seeed", 1)
    with pytest.raises(InputError) as caught:
        validate_any(settings, "pair.yaml")
    keys = [fault.split(":")[0] for fault in caught.value.faults]
    assert keys == ["seeed", "stages.cpt.train.max_steps", "stages.sft.train.eval_steps"]


def test_zero_shot_may_only_be_the_last_stage(tmp_path: Path) -> None:
    settings = causal_settings(tmp_path)
    asked = {key: value for key, value in settings["stages"][1].items() if key != "train"} | {"method": {"kind": "zero-shot"}}
    assert validate_any(settings | {"stages": [settings["stages"][0], asked]}, "t").name == "taigi"
    with pytest.raises(InputError, match="'zero-shot' leaves no weights for the next stage; make it the last one"):
        validate_any(settings | {"stages": [asked, settings["stages"][0]]}, "t")


def test_a_setting_of_a_stage_is_overridden_by_the_name_of_the_stage(world: World, tmp_path: Path) -> None:
    source = write(tmp_path / "pair.yaml", settings_of(world))
    recipe = load_any(source, ["stages.sft.train.max_steps=2", "stages.cpt.method.r=9", "seed=5"])
    assert isinstance(recipe, StagedRecipe)
    assert [(stage.name, stage.train and stage.train.max_steps) for stage in recipe.stages] == [("cpt", 6), ("sft", 2)]
    assert (recipe.seed, recipe.stages[0].method.r) == (5, 9)  # type: ignore[union-attr]
    assert validate_any(parse_yaml(dump_recipe(recipe), "dumped"), "dumped") == recipe
    for override, told in (
        ("stages.cpd.seed=1", "no stage of that name; stages are cpt, sft"),
        ("stages.cpt={}", r"which setting of the stage\? Write one such as stages.cpt.train.max_steps=5"),
        ("stages.cpt.train.max_steps.x=1", "'max_steps' holds a number, not settings"),
    ):
        with pytest.raises(InputError, match=told):
            load_any(source, [override])
    with pytest.raises(InputError, match="has 2 stages, and this takes a recipe of one"):
        load_recipe(source)


def test_relative_files_of_every_stage_are_anchored_at_the_recipe(world: World, tmp_path: Path) -> None:
    settings = settings_of(world)
    for stage in settings["stages"]:
        stage["data"] |= {"train": "data.csv"}
    settings["stages"][1]["data"]["test"] = {"file": "../ask.csv"}
    recipe = load_any(write(tmp_path / "pair.yaml", settings))
    assert isinstance(recipe, StagedRecipe)
    assert [stage.data.train for stage in recipe.stages] == [str(tmp_path / "data.csv")] * 2
    assert recipe.stages[1].data.test.file == str(tmp_path.parent / "ask.csv")  # type: ignore[union-attr]
