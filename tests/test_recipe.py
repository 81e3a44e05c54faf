"""Recipes: every fault at once and in the reader's words, overrides, anchored paths, what is dumped loads again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from tiny import write_recipe

from tunebench.errors import InputError
from tunebench.recipe.load import dump_recipe, load_any, load_recipe, method_from, parse_yaml, presets, validate, validate_any
from tunebench.recipe.methods import method_kinds
from tunebench.recipe.spec import all_keys
from tunebench.recipe.stages import recipe_schema
from tunebench.recipe.trainer_keys import TRAINER_KEYS

JARGON = (
    "pydantic",
    "http",
    "Input should",
    "valid dictionary",
    "validation error",
    "[type=",
    "BaseModel",
    "literal[",
    "NoneType",
)


def settings(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "name": "a",
        "base": {"model": "somewhere"},
        "data": {"train": "train.csv", "validation": {"fraction": 0.1}},
        "method": {"kind": "lora"},
    }
    for key, value in changes.items():
        plain[key] = {**plain[key], **value} if isinstance(value, dict) and isinstance(plain.get(key), dict) else value
    return plain


def faults_of(**changes: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        validate(settings(**changes), "r.yaml")
    assert caught.value.exit_code == 2
    assert not [word for word in JARGON if word in str(caught.value)]
    return caught.value.faults


def test_all_faults_of_a_recipe_are_told_at_once() -> None:
    faults = faults_of(seed="x", foo=1, base={"max_length": 2}, data={"txt": "t"}, method={"r": 0}, train={"learning_rate": 0})
    assert [fault.split(":")[0] for fault in sorted(faults)] == [
        "base.max_length",
        "data.txt",
        "foo",
        "method.r",
        "seed",
        "train.learning_rate",
    ]


@pytest.mark.parametrize(
    ("changes", "nearest"),
    [
        ({"data": {"labell": "x"}}, "nearest is 'label'"),
        ({"train": {"num_train_epoch": 1}}, "nearest is 'num_train_epochs'"),
        ({"method": {"lora_alpa": 1}}, "nearest is 'lora_alpha'"),
        ({"metod": {}}, "nearest is 'method'"),
        ({"data": {"validation": {"fractoin": 0.1}}}, "nearest is 'fraction'"),
    ],
)
def test_an_unknown_key_names_the_nearest_one(changes: dict[str, Any], nearest: str) -> None:
    assert nearest in "\n".join(faults_of(**changes))


def test_a_known_key_in_the_wrong_place_names_its_place() -> None:
    assert faults_of(learning_rate=0.1) == ["learning_rate: unknown here; it belongs to train.learning_rate"]


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        ({"feedforward_modules": ["x"]}, "method.feedforward_modules: not a key of this method; it belongs to kind ia3"),
        ({"kind": "vera", "lora_alpha": 8}, "method.lora_alpha: not a key of this method; it belongs to kind lora"),
        ({"alpha": 8}, "method.alpha: not a key of this method, where it is 'lora_alpha'; it belongs to kinds loha, lokr, "),
        ({"kind": "ln_tuning", "use_dora": True}, "method.use_dora: not a key of this method; it belongs to kind lora"),
        ({"kind": "hra", "r": 3}, "method.r: expected a multiple of 2, found 3"),
        ({"init_lora_weights": "eva"}, "method.init_lora_weights: expected true, gaussian, pissa, pissa_niter_4 (or another "),
        ({"init_lora_weights": 1}, "method.init_lora_weights: expected true, gaussian, pissa, pissa_niter_4 (or another "),
        ({"loraplus_lr_ratio": 0.5}, "method.loraplus_lr_ratio: expected at least 1"),
    ],
)
def test_a_key_or_value_of_another_method_names_what_fits(method: dict[str, Any], fault: str) -> None:
    (found,) = faults_of(method=method)
    assert found.startswith(fault)


@pytest.mark.parametrize("key", TRAINER_KEYS)
def test_a_key_of_the_trainer_is_refused_with_its_answer_wherever_it_stands(key: str) -> None:
    for place in ("train", "method", "data", "base"):
        (fault,) = faults_of(**{place: {key: 1}})
        assert fault.startswith(f"{place}.{key}: not a key of a recipe: ")
        assert TRAINER_KEYS[key] in fault
    (fault,) = faults_of(**{key: 1})
    assert fault.startswith(f"{key}: not a key of a recipe: ")


def test_every_key_that_an_answer_names_exists() -> None:
    quoted = {word for answer in TRAINER_KEYS.values() for word in answer.split("`")[1::2]}
    named = {word for word in quoted if " " not in word and "/" not in word and not word.endswith((".jsonl", ".parquet"))}
    assert len(named) > 10
    assert named <= set(all_keys())


def test_no_key_of_a_recipe_is_also_refused_as_a_key_of_the_trainer() -> None:
    assert not {key.split(".")[-1] for key in all_keys()} & TRAINER_KEYS.keys()


def test_every_key_has_help() -> None:
    assert [key for key, text in all_keys().items() if not text and key not in ("data", "method", "method.kind")] == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"seed": 1.5}, "seed: expected a whole number, found 1.5"),
        ({"seed": True}, "seed: expected a whole number, found true"),
        ({"seed": -1}, "seed: expected at least 0, found -1"),
        ({"seed": 2**32}, "seed: expected less than 4294967296, found 4294967296"),
        ({"name": None}, "name: expected text, found nothing"),
        ({"data": 3}, "data: expected settings, found 3"),
        ({"data": {"validation": 3}}, "data.validation: expected a file, or a fraction of the training file such as"),
        ({"data": {"validation": {"fraction": 1}}}, "data.validation.fraction: expected less than 1.0, found 1"),
        ({"method": "lora"}, "method: expected settings such as {kind: lora}, found 'lora'"),
        (
            {"method": {"kind": "lroa"}},
            f"method.kind: expected one of {', '.join(method_kinds())}, found 'lroa'; nearest",
        ),
        ({"method": {"target_modules": 3}}, "method.target_modules: expected a list or 'all-linear' or text, found 3"),
        ({"method": {"target_modules": [1]}}, "method.target_modules.0: expected text, found 1"),
        ({"method": {"bias": "some"}}, "method.bias: expected 'none', 'all' or 'lora_only', found 'some'"),
        ({"train": {"learning_rate": float("inf")}}, "train.learning_rate: expected a finite number, found inf"),
        ({"train": {"num_train_epochs": "three"}}, "train.num_train_epochs: expected a number, found 'three'"),
        ({"train": {"load_best_model_at_end": "yes"}}, "train.load_best_model_at_end: expected true or false, found 'yes'"),
        ({"train": {"eval_steps": 5}}, "train: eval_steps goes with eval_strategy: steps"),
        ({"train": {"eval_strategy": "no", "early_stopping_patience": 2}}, "train: early_stopping_patience needs evaluations"),
        ({"data": {"validation": {"fraction": 0.1, "stratify": True, "group_by": "g"}}}, "stratify and group_by exclude"),
        ({"data": {"text": "label"}}, "data: text and label are both the column 'label'"),
        ({"data": {"validation": None}}, "data.validation: needed to choose the best checkpoint"),
        ({"base": None}, "base: the method 'lora' needs a pretrained model"),
        ({"task": "x" * 500}, "task: expected 'text-classification', 'prompt-classification', "),
    ],
)
def test_a_wrong_value_is_told_what_was_expected_and_what_was_found(changes: dict[str, Any], fault: str) -> None:
    faults = faults_of(**changes)
    assert len(faults) == 1
    assert fault in faults[0]
    assert len(faults[0]) < 280


def test_a_missing_key_is_told_what_it_is_for() -> None:
    with pytest.raises(InputError, match="data: missing") as caught:
        validate({"method": {"kind": "majority"}}, "r.yaml")
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["name", "data"]


@pytest.mark.parametrize("name", ["../../x", "a/b", "/x", ".", "..", ".hidden", "-x", "", "a b", "a\n", "é", "x" * 101, "a\\b"])
def test_a_name_that_is_no_plain_folder_name_is_refused(name: str) -> None:
    assert faults_of(name=name)[0].startswith("name: expected letters, digits, '.', '_' or '-'")


def test_a_baseline_has_no_base_and_no_training_settings() -> None:
    faults = faults_of(method={"kind": "majority"}, train={"max_steps": 3})
    assert [fault.split(":")[0] for fault in faults] == ["base", "train"]


def test_a_recipe_never_changes() -> None:
    recipe = validate(settings(), "r.yaml")
    with pytest.raises(ValidationError, match="frozen"):
        recipe.seed = 1
    with pytest.raises(ValidationError, match="frozen"):
        recipe.data.text = "other"


def test_labels_are_names_even_where_the_recipe_writes_numbers(tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "a.yaml", data=tmp_path / "d.csv")
    data = load_recipe(str(path), ["data.positive_label=1", "data.label_names={0: bad, 1: good, true: fine, 010: odd}"]).data
    assert data.positive_label == "1"
    assert data.label_names == {"0": "bad", "1": "good", "true": "fine", "010": "odd"}


def test_a_setting_is_overridden_and_a_section_created(tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "a.yaml", data=tmp_path / "d.csv")
    recipe = load_recipe(str(path), ["seed=7", "method={kind: lora, r: 4}", "base.model=x", "method.r=16", "train.max_steps=2"])
    assert (recipe.seed, recipe.method.r, recipe.settings.max_steps) == (7, 16, 2)


def test_of_two_overrides_the_later_one_counts(tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "a.yaml", data=tmp_path / "d.csv")
    assert load_recipe(str(path), ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed", "expected section.key=value, found 'seed'"),
        ("=1", "expected section.key=value"),
        ("method..r=1", "expected section.key=value"),
        ("name.x=1", "name.x: 'name' holds text, not settings"),
        ("seed=[1", "--set seed: line 1, column 3"),
        ("method.rr=1", "method.rr: unknown key"),
    ],
)
def test_an_unsound_override_is_refused(override: str, words: str, tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "a.yaml", data=tmp_path / "d.csv")
    with pytest.raises(InputError) as caught:
        load_recipe(str(path), [override])
    assert words in str(caught.value)


def test_a_method_can_be_described_without_a_recipe() -> None:
    method = method_from("lora", ["r=4", "method.lora_alpha=8"])
    assert method.model_dump()["r"] == 4
    with pytest.raises(InputError, match="nearest is 'ia3'"):
        method_from("ia33", [])


def test_a_dumped_recipe_loads_to_an_equal_one() -> None:
    texts = ["no", "1e5", "0x1F", "0o17", "010", "12:30", "~", "null", "true", "a: b", "#x", "é\n😀", "=1+1", "- x", ""]
    recipe = validate(
        settings(
            data={"label_names": {f"{text} ": text for text in texts}, "text": "1e5", "label": "no"},
            train={"learning_rate": 1e-5, "eval_strategy": "no"},
        ),
        "r.yaml",
    )
    assert validate(parse_yaml(dump_recipe(recipe), "dumped"), "dumped") == recipe


def test_other_readers_of_a_dumped_recipe_find_the_same_texts() -> None:
    recipe = validate(settings(train={"eval_strategy": "no"}, data={"text": "on", "label": "1e5"}), "r.yaml")
    assert yaml.safe_load(dump_recipe(recipe)) == recipe.model_dump(mode="json", exclude_none=True)


@pytest.mark.parametrize("name", presets())
def test_a_preset_loads_under_its_own_name_and_back(name: str) -> None:
    recipe = load_any(name)
    assert recipe.name == name
    assert validate_any(parse_yaml(dump_recipe(recipe), name), name) == recipe


def test_paths_are_anchored_at_the_recipe_whatever_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes" / "base").mkdir(parents=True)
    write_recipe(tmp_path / "recipes" / "a.yaml", data=Path("../data/t.csv"), base=Path("base"))
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("recipes/a.yaml", ["data.test=~/t.csv"])
    assert recipe.data.train == str(tmp_path / "data" / "t.csv")
    assert recipe.data.test == str(Path.home() / "t.csv")
    assert recipe.base is not None
    assert recipe.base.model == str(tmp_path / "recipes" / "base")


def test_starter_names_and_hub_ids_are_no_paths(tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "a.yaml", data=Path("starter:reviews"), base=Path("org/name"))
    recipe = load_recipe(str(path))
    assert recipe.base is not None
    assert (recipe.data.train, recipe.base.model) == ("starter:reviews", "org/name")


def test_the_schema_knows_every_key_of_a_preset() -> None:
    schema = recipe_schema()

    def resolved(node: dict[str, Any]) -> list[dict[str, Any]]:
        if "$ref" in node:
            return [schema["$defs"][node["$ref"].split("/")[-1]]]
        return [inner for key in ("anyOf", "oneOf") for option in node.get(key, []) for inner in resolved(option)] or [node]

    def unknown(value: Any, nodes: list[dict[str, Any]], place: str) -> list[str]:
        if isinstance(value, list):
            items = [inner for node in nodes for inner in resolved(node.get("items", {}))]
            return [fault for number, item in enumerate(value) for fault in unknown(item, items, f"{place}.{number}")]
        if not isinstance(value, dict) or any(isinstance(node.get("additionalProperties"), dict) for node in nodes):
            return []  # no settings, or names of the user's own such as labels
        properties: dict[str, Any] = {}
        for node in nodes:
            properties |= node.get("properties", {})
        return [f"{place}.{key}" for key in value if key not in properties] + [
            fault
            for key in value
            if key in properties
            for fault in unknown(value[key], resolved(properties[key]), f"{place}.{key}")
        ]

    assert [fault for name, text in presets().items() for fault in unknown(parse_yaml(text, name), resolved(schema), name)] == []
    assert all(schema["$defs"][kind]["additionalProperties"] is False for kind in ("Recipe", "StagedRecipe", "Stage"))
    assert json.dumps(schema)


def test_an_unknown_recipe_names_the_presets() -> None:
    with pytest.raises(InputError, match="nearest is 'starter-lora'; presets are imdb-bert-full"):
        load_recipe("starter-lor")
