"""What makes a training worth its time: weights of labels, precision, memory, and words when nothing is learned."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import BAD, GOOD, METHODS, World, make_rows, write_csv, write_recipe
from torch.nn import functional

from tunebench import binding
from tunebench.data.labels import make_label_map
from tunebench.data.weights import label_weights
from tunebench.errors import InputError, TunebenchError
from tunebench.events import Event, Step, Warned
from tunebench.model.methods import trainable_state
from tunebench.model.tasks import classification_loss
from tunebench.recipe.spec import Train
from tunebench.runs.cache import cache_root
from tunebench.train import precision
from tunebench.train.divergence import PATIENCE, watch
from tunebench.train.loop import Job, Progress, fit
from tunebench.train.session import Session, prepare

CPU = torch.device("cpu")
GUESSING = math.log(2)
HAS_BFLOAT16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def session_of(
    world: World, folder: Path, *, data: Path | None = None, compute: str = "float32", max_length: int = 32, **changes: Any
) -> Session:
    recipe = write_recipe(folder / "quality.yaml", data=data or world.data, base=world.bases["bert"], **changes)
    bound = binding.bind(str(recipe), [f"base.max_length={max_length}"])
    return prepare(bound.recipe, bound.data, compute)


def weights_after(job: Job) -> dict[str, torch.Tensor]:
    list(fit(job))
    return {name: tensor.detach().clone() for name, tensor in trainable_state(job.model).items()}


def warnings_of(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Warned)]


# --- weights of labels -----------------------------------------------------------------------------------------------


def test_balanced_weights_make_every_label_count_alike_and_average_one() -> None:
    train = ["a"] * 6 + ["b"] * 3 + ["c"]
    labels = make_label_map(train, None, {}, "t")
    found = label_weights("balanced", labels, train)
    assert found == pytest.approx([10 / 18, 10 / 9, 10 / 3])
    assert sum(found[labels.names.index(name)] for name in train) == pytest.approx(len(train))
    assert label_weights({"c": 2.5}, labels, train) == [1.0, 1.0, 2.5]
    assert label_weights(None, labels, train) is None


def test_a_weight_for_no_label_is_refused_before_anything_is_trained(world: World, tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path / "w.yaml", data=world.data, base=world.bases["bert"], train={"class_weight": {"positve": 2.0, "nope": 1}}
    )
    with pytest.raises(InputError, match="nearest is 'positive'") as fault:
        binding.bind(str(recipe))
    assert len(fault.value.faults) == 2


def test_the_weight_multiplies_the_loss_of_its_rows() -> None:
    logits, labels = torch.tensor([[2.0, 0.0], [0.5, 1.0], [3.0, 1.0]]), torch.tensor([0, 1, 1])
    each = functional.cross_entropy(logits, labels, reduction="none")
    weighed = classification_loss(logits, labels, torch.tensor([1.0, 4.0]))
    assert float(weighed) == pytest.approx(float(each[0] + 4 * each[1] + 4 * each[2]), rel=1e-6)


def test_balanced_weights_change_what_is_predicted_of_a_rare_label(world: World, tmp_path: Path) -> None:
    """Of the good words 40 % are `rare`: less likely than not by rows, far likelier when both labels count alike."""
    rows = [{"text": " ".join(BAD[i % 6 :][:3]), "label": "usual"} for i in range(170)]
    rows += [{"text": " ".join(GOOD[i % 6 :][:3]), "label": "rare" if i % 5 < 2 else "usual"} for i in range(50)]
    data = write_csv(tmp_path / "rare.csv", [{"id": f"r{i}"} | row for i, row in enumerate(rows)])
    steps = {"max_steps": 20, "learning_rate": 1e-3, "eval_strategy": "no", "per_device_train_batch_size": 48}

    def share_of_rare(**settings: Any) -> float:
        session = session_of(world, tmp_path, data=data, method=METHODS["full"], train=steps | settings)
        list(fit(session.job))
        return float((session.scorer.score([" ".join(GOOD[i:][:3]) for i in range(6)]).logits.argmax(axis=1) == 0).mean())

    assert share_of_rare(class_weight="balanced") == 1
    assert share_of_rare() == 0


# --- precision -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gain", "expected"), [(0.7, "float32"), (1.4, "float32"), (2.2, "bfloat16")])
def test_the_probe_takes_bfloat16_where_it_is_clearly_faster(monkeypatch: pytest.MonkeyPatch, gain: float, expected: str) -> None:
    monkeypatch.setattr(precision, "_has_bfloat16", lambda device: True)
    monkeypatch.setattr(precision, "bfloat16_gain", lambda: gain)
    assert precision.choose_precision(Train(), CPU) == expected
    assert precision.choose_precision(Train(bf16=False), CPU) == "float32"
    assert precision.choose_precision(Train(bf16=True), CPU) == "bfloat16"


def test_what_the_device_cannot_do_is_refused_or_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_has_bfloat16", lambda device: False)
    assert precision.choose_precision(Train(), CPU) == "float32"
    with pytest.raises(InputError, match=r"train\.bf16"):
        precision.choose_precision(Train(bf16=True), CPU)
    with pytest.raises(InputError, match=r"train\.fp16"):
        precision.choose_precision(Train(fp16=True), CPU)


def test_the_probe_measures_once_and_answers_from_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUNEBENCH_HOME", str(tmp_path))
    first = precision.bfloat16_gain()
    monkeypatch.setattr(precision, "_best_seconds", lambda *dtypes: pytest.fail("measured again"))
    assert precision.bfloat16_gain() == first > 0
    (kept,) = (cache_root() / "probes").glob("*/gain.json")
    assert json.loads(kept.read_text()) == first


@pytest.mark.skipif(not HAS_BFLOAT16, reason="this CPU has no bfloat16 instructions")
def test_in_bfloat16_weights_stay_float32_and_move_nearly_alike(world: World, tmp_path: Path) -> None:
    plain, half = session_of(world, tmp_path).job, session_of(world, tmp_path, compute="bfloat16").job
    one, other = weights_after(plain), weights_after(half)
    assert {tensor.dtype for tensor in other.values()} == {torch.float32}
    differences = [float((one[name] - other[name]).abs().max()) for name in one]
    assert 0 < max(differences) < 0.1
    again = weights_after(session_of(world, tmp_path, compute="bfloat16").job)
    assert all(torch.equal(other[name], again[name]) for name in other)


def test_float16_halves_its_scale_after_an_overflow_and_gives_up_at_last() -> None:
    at = Progress()
    start = at.loss_scale
    precision.adapt_scale(at, overflow=True)
    assert (at.loss_scale, at.scale_age) == (start / 2, 0)
    for _ in range(precision.GROWTH_STEPS):
        precision.adapt_scale(at, overflow=False)
    assert (at.loss_scale, at.scale_age) == (start, 0)
    at.loss_scale = 1.5
    with pytest.raises(TunebenchError, match="overflows"):
        precision.adapt_scale(at, overflow=True)


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lora", "full"])
def test_gradient_checkpointing_changes_no_byte_of_the_weights(world: World, tmp_path: Path, method: str) -> None:
    plain = session_of(world, tmp_path, method=METHODS[method])
    spared = session_of(world, tmp_path, method=METHODS[method], train={"gradient_checkpointing": True})
    assert spared.model.is_gradient_checkpointing
    assert not plain.model.is_gradient_checkpointing
    one, other = weights_after(plain.job), weights_after(spared.job)
    assert all(torch.equal(one[name], other[name]) for name in one)


# --- words -----------------------------------------------------------------------------------------------------------


def test_all_rows_with_one_label_are_warned_of(world: World, tmp_path: Path) -> None:
    learned = session_of(world, tmp_path, method=METHODS["full"], train={"max_steps": 30, "learning_rate": 2e-3})
    assert warnings_of(list(fit(learned.job))) == []
    idle = session_of(world, tmp_path, method=METHODS["head"], train={"max_steps": 1, "learning_rate": 1e-9})
    assert any("all validation rows get the same label" in message for message in warnings_of(list(fit(idle.job))))


@pytest.mark.parametrize(
    ("kind", "rate", "words"),
    [("lora", 2e-5, "low"), ("lora", 1e-4, None), ("lora", 6e-3, "high"), ("full", 2e-5, None), ("full", 1e-3, "high")],
)
def test_a_rate_far_from_the_usual_is_warned_of(world: World, tmp_path: Path, kind: str, rate: float, words: str | None) -> None:
    found = session_of(world, tmp_path, method=METHODS[kind], train={"learning_rate": rate}).warnings
    assert [f"learning_rate {rate:g} is {words}" in message for message in found] == ([True] if words else [])


def test_cut_texts_are_counted_and_the_label_that_loses_most_is_named(world: World, tmp_path: Path) -> None:
    rows = make_rows(60)
    for row in rows:
        if row["label"] == "positive":
            row["text"] = " ".join([row["text"]] * 6)
    data = write_csv(tmp_path / "long.csv", rows)
    steps = {"learning_rate": 5e-4}
    (message,) = session_of(world, tmp_path, data=data, max_length=20, train=steps).warnings
    assert "most often those of 'positive' (" in message
    assert "raise base.max_length" not in message
    (message,) = session_of(world, tmp_path, data=data, max_length=6, train=steps).warnings
    assert "raise base.max_length" in message


def test_a_gradient_that_is_no_number_and_a_loss_that_stays_up_stop_the_training() -> None:
    with pytest.raises(TunebenchError, match=r"gradient's norm is inf .*train\.learning_rate"):
        watch(Progress(), 0.7, math.inf, 1e-3, GUESSING, may_overflow=False)
    watch(Progress(), 0.7, math.inf, 1e-3, GUESSING, may_overflow=True)
    with pytest.raises(TunebenchError, match="the loss is nan"):
        watch(Progress(), math.nan, 1.0, 1e-3, GUESSING, may_overflow=True)
    at = Progress()
    for _ in range(PATIENCE):
        watch(at, 6.0, 1.0, 1e-3, GUESSING, may_overflow=False)
        at.step += 1
    with pytest.raises(TunebenchError, match=rf"stays at 6, .* at step {PATIENCE + 1}"):
        watch(at, 6.0, 1.0, 1e-3, GUESSING, may_overflow=False)
    at = Progress()
    for step in range(1000):  # a loss that is high for a moment, or about that of guessing, is none of this
        watch(at, 6.0 if step % 30 == 0 else math.log(2), 1.0, 1e-3, GUESSING, may_overflow=False)
        at.step += 1


def test_heavy_labels_raise_the_loss_and_are_no_divergence(world: World, tmp_path: Path) -> None:
    heavy = session_of(world, tmp_path, train={"class_weight": {"positive": 19.0}, "max_steps": 2 * PATIENCE}).job
    assert heavy.objective.loss_of_guessing == pytest.approx(10 * math.log(2))
    balanced = session_of(world, tmp_path, train={"class_weight": "balanced"}).job
    assert balanced.objective.loss_of_guessing == pytest.approx(math.log(2))
    assert sum(isinstance(event, Step) for event in fit(heavy)) == 2 * PATIENCE


def test_a_diverging_training_is_stopped_long_before_its_end(world: World, tmp_path: Path) -> None:
    steps = {"max_steps": 5000, "learning_rate": 3.0, "lr_scheduler_type": "constant", "eval_strategy": "no"}
    said: list[Event] = []
    with pytest.raises(TunebenchError, match="diverged"):
        said.extend(fit(session_of(world, tmp_path, method=METHODS["full"], train=steps).job))
    assert sum(isinstance(event, Step) for event in said) < 500
