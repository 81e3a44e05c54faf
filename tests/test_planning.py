"""`tunebench plan`: what is counted before a training is what it then is, and what was measured is said beside it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from shelf import tunebench
from tiny import ALL_ARCHITECTURES, METHODS, World, write_base, write_csv, write_recipe

from tunebench import jobs
from tunebench.binding import bind_recipe
from tunebench.errors import InputError
from tunebench.events import Started, Step, Stopped
from tunebench.model.methods import count_parameters
from tunebench.model.shapes import describe
from tunebench.plan_text import outcome_text, trained_and_planned
from tunebench.planning import footprint, planner
from tunebench.planning import probe as probing
from tunebench.planning.given import look_up
from tunebench.planning.needs import Plan, StagePlan, parse_size
from tunebench.planning.workload import workload
from tunebench.recipe.load import load_any, load_recipe
from tunebench.recipe.resolve import resolve
from tunebench.recipe.stages import StagedRecipe
from tunebench.runs import plans
from tunebench.runs.run import Run
from tunebench.train.session import prepare

Capture = pytest.CaptureFixture[str]
GB = 10**9
SIXTEEN = {"gpu": "16GB", "ram": "32GB", "disk": "50GB"}


def planned(recipe: str, *overrides: str, limits: dict[str, str] | None = None, runs: Path = Path("runs"), **more: Any) -> Plan:
    return jobs.plan(recipe, overrides, runs, limits or {}, lambda line: None, **{"timed": False, **more})


def need(stage: StagePlan, resource: str, during: str) -> dict[str, int]:
    (found,) = [item for item in stage.needs if (item.resource, item.during) == (resource, during)]
    return {term.name: term.bytes for term in found.terms}


@pytest.mark.parametrize(
    ("architecture", "method"), [("bert", "lora"), ("bert", "full"), ("distilbert", "ia3"), ("roberta", "head")]
)
def test_a_finished_run_is_what_was_planned(
    world: World, tiny_run: Callable[..., Run], architecture: str, method: str, tmp_path: Path
) -> None:
    run = tiny_run(architecture, method)
    (stage,) = planned(str(run.path / "recipe.yaml")).stages
    steps = [event for event in run.events() if isinstance(event, Step)]
    started = next(event for event in run.events() if isinstance(event, Started))
    assert (stage.steps, stage.rows) == (started.total_steps, started.train_rows) == (len(steps), stage.rows)
    assert stage.parameters == run.metrics["parameters"]
    tensors = load_file(run.weights / f"{'adapter_' if run.weights.name == 'adapter' else ''}model.safetensors")
    assert stage.saved_bytes == sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    assert 0 < run.metrics["adapter_bytes"] - stage.saved_bytes < 200 * (len(tensors) + 2)  # a file's header
    optimizer = need(stage, "ram", "training")["AdamW"]
    assert optimizer == 8 * run.metrics["parameters"]["trainable"]


def test_steps_and_tokens_are_those_of_the_loop(world: World, warm: None, tmp_path: Path) -> None:
    for changes in ({"num_train_epochs": 2.5, "max_steps": None}, {"max_steps": 5}, {"gradient_accumulation_steps": 3}):
        train = {"per_device_train_batch_size": 4, "num_train_epochs": 1, "max_steps": None, "learning_rate": 1e-3, "bf16": False}
        recipe = load_recipe(
            str(write_recipe(tmp_path / "r.yaml", data=world.data, base=world.bases["bert"], train=train | changes))
        )
        given = look_up(recipe)
        assert given.data is not None
        job = prepare(given.recipe, given.data).job
        work = workload(given.recipe, given.lengths())
        assert (work.steps, work.rows_per_step, work.rows) == (job.total_steps, job.rows_per_step, job.rows)
        run = jobs.train(str(tmp_path / "r.yaml"), [], tmp_path / f"runs{len(changes)}{work.steps}", lambda event: None).run
        padded = [event.padded_tokens for event in run.events() if isinstance(event, Step)]
        per_epoch = padded[: work.steps_per_epoch]
        if work.steps >= work.steps_per_epoch:
            assert work.tokens_per_step == sum(per_epoch) / len(per_epoch)


@pytest.mark.parametrize("architecture", ALL_ARCHITECTURES)
def test_what_the_backward_pass_keeps_is_counted_exactly(world: World, tmp_path: Path, architecture: str) -> None:
    base = world.bases.get(architecture) or write_base(tmp_path / architecture, architecture)
    recipe = load_recipe(str(write_recipe(tmp_path / "r.yaml", data=world.data, base=base)))
    given = look_up(recipe)
    found = footprint.footprint(given.recipe, given.config, 2, (3, 16), "float32")
    assert given.data is not None
    model = prepare(given.recipe, given.data).job.model
    assert (found.total, found.trainable) == count_parameters(model)
    weights = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ones = torch.ones(3, 16, dtype=torch.long)
    mask = ones.clone()
    mask[1, -3:] = 0  # as in a batch of unequal texts
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model.train()(input_ids=ones, attention_mask=mask)
    assert found.kept_bytes == pytest.approx(sum(kept.values()), rel=0.02)
    del output


def test_without_attention_dropout_no_matrix_of_attention_is_kept() -> None:
    given = resolve(load_recipe("imdb-bert-lora"), "bert")
    fused = given.model_copy(update={"train": given.settings.model_copy(update={"attention_dropout": 0.0})})
    own, none = (footprint.footprint(one, describe("bert-base-uncased").config, 2, (8, 512), "float32") for one in (given, fused))
    matrices = 12 * 12 * 8 * 512 * 512 * 4
    assert own.kept_bytes - none.kept_bytes > matrices
    assert own.trainable == none.trainable


def test_gradient_checkpointing_keeps_less_and_computes_a_layer_again() -> None:
    given = resolve(load_recipe("imdb-bert-lora"), "bert")
    checkpointed = given.model_copy(update={"train": given.settings.model_copy(update={"gradient_checkpointing": True})})
    plain = footprint.footprint(given, describe("bert-base-uncased").config, 2, (8, 128), "float32")
    less = footprint.footprint(checkpointed, describe("bert-base-uncased").config, 2, (8, 128), "float32")
    states = 12 * 8 * 128 * 768 * 4
    assert plain.again_bytes == 0
    assert states <= less.kept_bytes < 1.5 * states < plain.kept_bytes / 5
    assert less.again_bytes == pytest.approx(plain.kept_bytes / 12, rel=0.01)


def test_the_taigi_preset_says_what_does_not_suffice_and_what_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_any("taigi-qa")
    assert isinstance(recipe, StagedRecipe)
    first = recipe.model_copy(update={"stages": recipe.stages[:1]})
    limits = {name: parse_size(text) for name, text in SIXTEEN.items()}
    found = planner.plan(first, limits, tmp_path, timed=True, say=lambda line: None)
    (cpt,) = found.stages
    assert (cpt.name, cpt.parameters["total"], cpt.parameters["trainable"]) == ("cpt", 13_015_864_320, 250_347_520)
    assert (cpt.steps, cpt.tokens_per_step, cpt.seconds) == (1000, 16 * 2048, None)
    terms = need(cpt, "gpu", "training")
    assert terms["weights"] == pytest.approx(12_687_769_600 * 0.516 + 328_094_720 * 4, rel=1e-3)
    assert terms["AdamW"] == 8 * 250_347_520
    assert terms["activations"] == pytest.approx(40 * 4 * 2048 * 5120 * 4, rel=0.05)  # the residual stream, layer by layer
    verdicts = {item.resource: item for item in found.verdicts}
    assert {name: item.suffices for name, item in verdicts.items()} == {"gpu": False, "ram": True, "disk": False}
    training = next(item for item in verdicts["gpu"].shortages if (item.stage, item.during) == ("cpt", "training"))
    assert 16 * GB < training.bytes < 30 * GB
    assert "train.per_device_train_batch_size=1" in training.remedies[0]
    assert need(cpt, "disk", "training")["merged"] == 4 * 13_015_864_320
    assert any("not on this machine" in note for note in cpt.notes)


def test_what_a_stage_leaves_on_the_disk_stays_for_the_next(tmp_path: Path) -> None:
    write_base(tmp_path / "llama", "llama", causal=True)
    lines = [json.dumps({"text": f"the film {i} is very good and warm"}) for i in range(20)]
    (tmp_path / "d.jsonl").write_text("\n".join(lines) + "\n")
    stage = {"task": "language-modeling", "data": {"train": "d.jsonl"}, "method": METHODS["lora"]}
    stage |= {"train": {"max_steps": 2, "eval_strategy": "no", "bf16": False}}
    recipe = {"name": "s", "base": {"model": "llama", "max_length": 32}}
    recipe |= {"stages": [{"name": "one", **stage, "merge": True}, {"name": "two", **stage}]}
    (tmp_path / "s.yaml").write_text(json.dumps(recipe))
    one, two = planned(str(tmp_path / "s.yaml")).stages
    assert {item.during for item in one.needs if item.resource == "ram"} == {
        "training",
        "proving",
        "merging",
        "proving the merge",
    }
    assert {item.during for item in two.needs if item.resource == "ram"} == {"training", "proving"}
    first, second = need(one, "disk", "training"), need(two, "disk", "training")
    assert first["merged"] == 4 * one.parameters["total"]
    assert second == {
        "saved model (one)": first["saved model"],
        "merged (one)": first["merged"],
        "saved model": first["saved model"],
        "checkpoints": first["checkpoints"],
    }
    assert first["checkpoints"] == 2 * 12 * one.parameters["trainable"]


def test_a_plan_is_told_in_words_and_as_json(world: World, tmp_path: Path, capsys: Capture) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", data=world.data, base=world.bases["bert"])
    code, out, _ = tunebench(capsys, "plan", recipe, "--no-probe", "--ram", "1MB", "--disk", "1 TiB")
    assert code == 0
    assert "RAM: DOES NOT SUFFICE" in out
    assert "disk: suffices" in out
    assert "no step was timed" in out
    code, out, _ = tunebench(capsys, "plan", recipe, "--no-probe", "--json", "--disk", "1TiB")
    report = json.loads(out)
    assert [item["limit"]["bytes"] for item in report["verdicts"] if item["resource"] == "disk"] == [2**40]
    assert report["stages"][0]["seconds"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ram", "much"], "expected a number with MB, GB"),
        (["--ram", "0GB"], "expected a number with MB, GB"),
        (["--set", "method={kind: majority}", "--set", "base=null", "--set", "train=null"], "needs no plan"),
        (["--set", "data.train=nowhere.csv", "--set", "train.max_steps=null"], "or set train.max_steps"),
        (["--set", "base.max_length=4000"], "base.max_length"),
        (["--set", "base.model=no/such-base"], "no/such-base"),
    ],
)
def test_what_cannot_be_planned_is_refused(
    world: World, tmp_path: Path, capsys: Capture, arguments: list[str], words: str
) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", data=world.data, base=world.bases["bert"])
    code, _, err = tunebench(capsys, "plan", recipe, "--no-probe", *arguments)
    assert (code, words in err) == (2, True), err


def test_without_its_data_a_recipe_is_planned_for_the_longest_texts(world: World, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", data=world.data, base=world.bases["bert"])
    (stage,) = planned(str(recipe), "data.train=nowhere.csv").stages
    assert (stage.rows, stage.steps, stage.largest_batch) == (None, 6, (8, 32))
    assert any("nowhere.csv" in note for note in stage.notes)


def test_a_probe_trains_the_real_thing_and_the_run_says_how_far_it_was_off(
    world: World, warm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[dict[str, Any]] = []

    def here(recipe: Any) -> dict[str, Any]:  # in this process: a fresh one imports torch for seconds
        measured.append(probing.measure(recipe, 0.0))
        return measured[-1]

    monkeypatch.setattr(planner, "probe", here)
    recipe = str(write_recipe(tmp_path / "r.yaml", data=world.data, base=world.bases["bert"]))
    (stage,) = planned(recipe, timed=True).stages
    assert measured[0]["steps"]["number"] == probing.TIMED
    assert measured[0]["evaluation"]["rows"] == 10
    assert stage.seconds is not None
    assert stage.seconds["train"] > 0
    assert planned(recipe, timed=False).stages[0].seconds is None  # as the studio's form asks; what was timed stays
    run = jobs.train(recipe, [], tmp_path / "runs", lambda event: None).run
    stored = plans.stored_plan(run.manifest["identity"])
    stopped = next(event for event in run.events() if isinstance(event, Stopped))
    compared = plans.compared(stored, run.metrics | {"steps": stopped.step})
    assert compared is not None
    assert compared["steps"] == {"planned": 6, "measured": 6, "ratio": 1.0}
    assert compared["train_seconds"]["ratio"] == pytest.approx(run.metrics["train_seconds"] / stage.seconds["train"], abs=1e-3)
    assert " x)" in str(outcome_text(compared))
    other = dict(run.manifest["identity"]) | {"train.learning_rate": 9}
    assert plans.stored_plan(other) is None
    assert plans.compared(stored, run.metrics | {"parameters": {"total": 1, "trainable": 1}}) is None
    assert outcome_text(None) is None


QUIZ = {"choices": ["a", "b"], "train": "q.csv"}
CAUSAL: dict[str, dict[str, Any]] = {
    "prompt-classification": {"prompt": {"template": "a film is {text} and very", "label_words": {"x": "good", "y": "bad"}}},
    "multiple-choice": {"data": QUIZ, "prompt": {"template": "{passage} {question} {choices} is"}},
    "language-modeling": {"train": {"packing": True}},
    "instruction": {"data": {"train": "i.jsonl"}},
}


@pytest.mark.parametrize("task", CAUSAL)
def test_every_task_of_a_language_model_is_counted_and_timed(tmp_path: Path, warm: None, task: str) -> None:
    write_base(tmp_path / "llama", "llama", causal=True, positions=128)
    texts = [{"text": "the film is " + "very " * (i % 20) + "good", "label": "xy"[i % 2]} for i in range(40)]
    write_csv(tmp_path / "t.csv", texts)
    asked = [{"passage": row["text"], "question": "it is", "a": "warm", "b": f"cold {i}"} for i, row in enumerate(texts)]
    write_csv(tmp_path / "q.csv", [{**row, "answer": i % 2 + 1} for i, row in enumerate(asked)])
    lines = [json.dumps({"prompt": row["text"], "completion": " warm"}) for row in texts]
    (tmp_path / "i.jsonl").write_text("\n".join(lines) + "\n")
    changes = {key: dict(value) for key, value in CAUSAL[task].items()}
    data = {"train": "t.csv", "validation": {"fraction": 0.2}} | changes.pop("data", {})
    train = {"max_steps": 3, "per_device_train_batch_size": 2, "eval_strategy": "steps", "eval_steps": 3, "bf16": False}
    recipe = {"name": "c", "task": task, "base": {"model": "llama", "max_length": 60}, "data": data, "method": METHODS["lora"]}
    (tmp_path / "c.yaml").write_text(json.dumps(recipe | {"train": train | changes.pop("train", {})} | changes))
    (stage,) = planned(str(tmp_path / "c.yaml")).stages
    assert "logits" in need(stage, "ram", "training")
    measured = probing.measure(look_up(load_recipe(str(tmp_path / "c.yaml"))).recipe, 0.0)
    assert (measured["steps"]["number"], measured["evaluation"]["rows"]) == (probing.TIMED, 8)
    run = jobs.train(str(tmp_path / "c.yaml"), [], tmp_path / "runs", lambda event: None).run
    assert (stage.steps, stage.parameters) == (3, run.metrics["parameters"])
    assert stage.rows == next(event.train_rows for event in run.events() if isinstance(event, Started))


def test_the_probe_in_its_own_process_tells_what_went_wrong(world: World, tmp_path: Path) -> None:
    bound = bind_recipe(load_recipe(str(write_recipe(tmp_path / "r.yaml", data=world.data, base=world.bases["bert"]))))
    gone = bound.recipe.model_copy(update={"data": bound.recipe.data.model_copy(update={"train": str(tmp_path / "gone.csv")})})
    assert "gone.csv" in probing.probe(gone)["fault"]


def test_rows_of_a_probe_are_spread_over_all_lengths_the_longest_among_them(tmp_path: Path) -> None:
    rows = [{"id": i, "text": "good " * (i + 1), "label": "ab"[i % 2]} for i in range(50)]
    recipe = write_recipe(tmp_path / "r.yaml", data=write_csv(tmp_path / "t.csv", rows))
    train = bind_recipe(load_recipe(str(recipe))).data.train
    found = probing.spread(train, 8)
    sizes, all_sizes = sorted(map(len, map(str, found.texts))), sorted(map(len, map(str, train.texts)))
    assert (len(found), sizes[-1]) == (8, all_sizes[-1])
    assert sizes[3] <= all_sizes[len(all_sizes) // 2] <= sizes[4]
    assert probing.spread(train, 999) is train


@pytest.mark.parametrize(("text", "size"), [("16GB", 16 * GB), ("1.5 GiB", 3 * 2**29), ("512mb", 512 * 10**6), ("2TiB", 2**41)])
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["16", "GB", "-1GB", "16KB", "1e3GB", ""])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected a number"):
        parse_size(text)


def test_smaller_batches_are_found_by_the_same_arithmetic(world: World, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", data=world.data, base=world.bases["bert"], method=METHODS["full"])
    (stage,) = planned(str(recipe)).stages
    (whole,) = [item for item in stage.needs if (item.resource, item.during) == ("ram", "training")]
    room = (
        whole.bytes - need(stage, "ram", "training")["activations"] // 4
    )  # six of eight rows would fit, but do not divide a step
    found = planned(str(recipe), limits={"ram": f"{room / 10**6:.6f}MB"})
    (verdict,) = [item for item in found.verdicts if item.resource == "ram"]
    shortage = next(item for item in verdict.shortages if item.during == "training")
    assert shortage.remedies[0].startswith("train.per_device_train_batch_size=4 and train.gradient_accumulation_steps=2 ")
    assert dataclasses.replace(shortage, remedies=()).bytes == whole.bytes


def test_a_finished_run_says_how_far_off_its_plan_was(world: World, warm: None, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "planned.yaml", data=world.data, base=world.bases["bert"], method=METHODS["lora"])
    own = ["seed=91"]  # which no other test plans
    plain = jobs.train(str(recipe), own, tmp_path / "before", lambda event: None).as_dict()
    assert "plan" not in plain["metrics"]
    jobs.plan(str(recipe), own, tmp_path / "runs", {}, lambda line: None, timed=False)
    found = jobs.train(str(recipe), own, tmp_path / "runs", lambda event: None).as_dict()
    assert found["metrics"]["plan"]["peak_memory_bytes"]["ratio"] > 0
    assert "memory" in trained_and_planned(found).splitlines()[-1]
    assert len(trained_and_planned(plain).splitlines()) == 1
