"""The loop: exact accumulation, the schedule as written, evaluation when asked, and words when the loss is lost."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from tiny import METHODS, World, write_base, write_recipe
from torch.nn import functional
from transformers import get_scheduler

from tunebench import binding
from tunebench.errors import TunebenchError
from tunebench.events import Evaluated, Event, Started, Step, Stopped
from tunebench.model.methods import trainable_state
from tunebench.model.objectives import Classifying, Evaluation
from tunebench.model.tasks import pad_batch, text_logits
from tunebench.predict.plan import training_plan
from tunebench.recipe.spec import Train
from tunebench.train import loop
from tunebench.train.loop import Job, fit, forward_seed
from tunebench.train.optimizer import learning_rate, make_optimizer
from tunebench.train.session import prepare


@pytest.fixture(scope="module")
def recipe(world: World) -> str:
    """A recipe over a base without dropout; 38 rows to train on, so that the last step of an epoch has 6 of 8."""
    base = write_base(world.folder / "still", dropout=0.0)
    method = METHODS["lora"] | {"lora_dropout": 0.0}
    return str(write_recipe(world.folder / "recipes" / "loop.yaml", data=world.data, base=base, method=method))


def new_job(recipe: str, *overrides: str, method: str | None = None, **settings: Any) -> Job:
    """A job composed afresh from the recipe; ``settings`` are those of ``train``."""
    changes = [f"train.{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in settings.items()]
    changes += [f"method={{kind: {method}}}"] if method else []
    bound = binding.bind(recipe, [*overrides, *changes])
    return prepare(bound.recipe, bound.data).job


def weights_after(job: Job) -> dict[str, torch.Tensor]:
    for _ in fit(job):
        pass
    return weights(job)


def weights(job: Job) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in trainable_state(job.model).items()}


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert list(one) == list(other)
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def of_kind(events: Iterable[Event], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


@pytest.mark.parametrize(("batch", "accumulation"), [(4, 2), (2, 4), (1, 8), (3, 2)])
def test_accumulation_gives_the_weights_of_one_large_batch(recipe: str, batch: int, accumulation: int) -> None:
    size = batch * accumulation
    whole = new_job(recipe, per_device_train_batch_size=size, max_steps=12)
    parts = new_job(recipe, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation, max_steps=12)
    whole.model.double()  # so that what is left of a difference is the law's, not that of float32 sums in another order
    parts.model.double()
    start = weights(whole)
    assert largest_difference(start, weights(parts)) == 0
    end = weights_after(whole)
    assert largest_difference(end, start) > 0.01
    assert largest_difference(end, weights_after(parts)) <= 1e-9


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_loss_of_a_step_is_the_mean_over_its_rows_also_where_the_last_is_smaller(recipe: str, accumulation: int) -> None:
    job = new_job(recipe, per_device_train_batch_size=8 // accumulation, gradient_accumulation_steps=accumulation, max_steps=5)
    rows = job.objective
    assert isinstance(rows, Classifying)
    plan = training_plan(rows.lengths, seed=job.seed, epoch=0, batch_size=8 // accumulation, accumulation=accumulation)
    assert sorted(step.global_rows for step in plan) == [6, 8, 8, 8, 8]

    def mean_loss(step: int) -> float:
        losses = []
        for row in (row for micro in plan[step].micros for row in micro.rows):
            ids, mask = pad_batch([rows.train.ids[row]], rows.pad_id)
            with torch.no_grad():
                logits = text_logits(job.model.eval(), rows.pooling, ids, mask)
            losses.append(float(functional.cross_entropy(logits, torch.tensor([rows.train.labels[row]]))))
        return sum(losses) / len(losses)

    expected = 0.0
    for event in fit(job):
        if isinstance(event, Started):
            expected = mean_loss(0)
        elif isinstance(event, Step):
            assert event.loss == pytest.approx(expected, abs=1e-6)
            assert event.rows == plan[event.step - 1].global_rows
            expected = mean_loss(event.step) if event.step < 5 else math.nan


def test_neither_evaluations_nor_a_reader_that_draws_random_numbers_change_the_weights(world: World, recipe: str) -> None:
    shaking = [f"base.model={world.bases['bert']}"]  # with dropout
    plain = weights_after(new_job(recipe, *shaking, eval_strategy="no"))
    noisy = new_job(recipe, *shaking, eval_strategy="steps", eval_steps=1)
    for _ in fit(noisy):
        torch.manual_seed(0)
        torch.rand(3)
    assert largest_difference(plain, weights(noisy)) == 0


def test_every_forward_has_a_seed_of_its_own() -> None:
    seeds = {forward_seed(seed, index) for seed in range(20) for index in range(50)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("warmup_ratio", [0.0, 0.06, 0.5])
def test_the_rate_after_the_warm_up_is_that_of_transformers(kind: str, warmup_ratio: float) -> None:
    total, warmup = 50, math.ceil(50 * warmup_ratio)
    settings = Train(learning_rate=0.1, lr_scheduler_type=kind, warmup_ratio=warmup_ratio)  # type: ignore[arg-type]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    name = "constant_with_warmup" if kind == "constant" else kind
    schedule = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=total)
    for step in range(total):
        if step >= warmup:
            assert learning_rate(settings, step, total) == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        schedule.step()


def test_the_warm_up_rises_evenly_and_wastes_no_step_on_a_rate_of_zero() -> None:
    settings = Train(learning_rate=0.1, warmup_ratio=0.4)
    rates = [learning_rate(settings, step, 10) for step in range(10)]
    assert rates == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1 * 5 / 6, 0.1 * 4 / 6, 0.1 * 3 / 6, 0.1 * 2 / 6, 0.1 / 6])


def test_steps_are_taken_at_the_rate_of_the_schedule(recipe: str) -> None:
    job = new_job(recipe, max_steps=7, warmup_ratio=0.3, lr_scheduler_type="cosine")
    rates = [event.learning_rate for event in of_kind(fit(job), Step)]
    assert rates == [learning_rate(job.settings, step, 7) for step in range(7)]


def test_lora_plus_trains_b_that_many_times_as_fast_and_all_else_as_before(recipe: str) -> None:
    start, once = weights(new_job(recipe)), {"max_steps": 1, "warmup_ratio": 0}
    plain = weights_after(new_job(recipe, **once))
    faster = weights_after(new_job(recipe, "method.loraplus_lr_ratio=16", **once))
    for name, tensor in start.items():
        expected = (16 if ".lora_B." in name else 1) * (plain[name] - tensor)
        torch.testing.assert_close(faster[name] - tensor, expected, rtol=1e-3, atol=1e-6)
    assert any(".lora_B." in name and not torch.equal(plain[name], tensor) for name, tensor in start.items())


@pytest.mark.parametrize(("limit", "clipped"), [(0.05, True), (1e6, False)])
def test_the_gradient_is_scaled_down_to_its_limit(
    recipe: str,
    monkeypatch: pytest.MonkeyPatch,
    limit: float,
    clipped: bool,  # noqa: FBT001
) -> None:
    def plain(model: torch.nn.Module, *_: object) -> torch.optim.Optimizer:
        return torch.optim.SGD([{"params": list(trainable_state(model).values()), "lr_ratio": 1.0}], lr=1.0)

    monkeypatch.setattr(loop, "make_optimizer", plain)
    job = new_job(recipe, max_steps=1, max_grad_norm=limit, lr_scheduler_type="constant", warmup_ratio=0, learning_rate=0.5)
    start = weights(job)
    (step,) = of_kind(fit(job), Step)
    moved = math.sqrt(sum(float((tensor - start[name]).square().sum()) for name, tensor in weights(job).items()))
    assert (step.grad_norm > limit) == clipped
    assert moved == pytest.approx(0.5 * min(step.grad_norm, limit), rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_weights_decay_and_biases_norms_and_rescalings_do_not(recipe: str, method: str) -> None:
    job = new_job(recipe, method=method, weight_decay=0.25)
    names = {id(parameter): name for name, parameter in job.model.named_parameters()}
    groups = {
        group["weight_decay"]: [names[id(item)] for item in group["params"]]
        for group in make_optimizer(job.model, job.settings).param_groups
    }
    assert sorted(name for group in groups.values() for name in group) == sorted(trainable_state(job.model))
    assert not any("bias" in name or "LayerNorm" in name or "ia3_" in name for name in groups[0.25])
    assert all("bias" in name or "LayerNorm" in name or "ia3_" in name for name in groups[0.0])


def test_a_loss_that_is_no_number_names_the_learning_rate(recipe: str) -> None:
    job = new_job(recipe, method="full", learning_rate=1e30, max_steps=6)
    with pytest.raises(TunebenchError, match=r"at step \d.*learning rate 1e\+30.*Lower train\.learning_rate"):
        list(fit(job))


def test_events_begin_with_what_there_is_to_do_and_end_with_why_it_stopped(recipe: str) -> None:
    job = new_job(recipe, max_steps=3, eval_strategy="no")
    started, *steps, stopped = fit(job)
    assert isinstance(started, Started)
    assert (started.total_steps, started.train_rows) == (3, 38)
    assert started.trainable_parameters == sum(tensor.numel() for tensor in trainable_state(job.model).values())
    assert [type(event) for event in steps] == [Step] * 3
    assert isinstance(stopped, Stopped)
    assert (stopped.step, stopped.best_step, stopped.reason) == (3, 3, "finished")
    assert steps[-1].padded_tokens >= steps[-1].tokens > 0
    assert [event.epoch for event in steps] == pytest.approx([0.2, 0.4, 0.6])


@pytest.mark.parametrize(
    ("settings", "total", "evaluated"),
    [
        ({"eval_strategy": "epoch", "num_train_epochs": 2}, 10, [5, 10]),
        ({"eval_strategy": "epoch", "num_train_epochs": 1.5}, 8, [5, 8]),
        ({"eval_strategy": "steps", "eval_steps": 3, "num_train_epochs": 1}, 5, [3, 5]),
        ({"eval_strategy": "steps", "eval_steps": 2, "max_steps": 4}, 4, [2, 4]),
        ({"eval_strategy": "no", "num_train_epochs": 1}, 5, []),
    ],
)
def test_validation_is_scored_when_the_strategy_says_and_at_the_end(
    recipe: str, settings: dict[str, Any], total: int, evaluated: list[int]
) -> None:
    events = list(fit(new_job(recipe, **({"max_steps": "null"} | settings))))
    assert len(of_kind(events, Step)) == total
    scored = of_kind(events, Evaluated)
    assert [event.step for event in scored if event.split == "validation"] == evaluated
    assert [event.step for event in scored if event.split == "train sample"] == evaluated


def scripted(recipe: str, monkeypatch: pytest.MonkeyPatch, metric: str, values: list[float], **settings: Any) -> list[Event]:
    """The events of a training whose validation scores are these, one per step."""
    job, left = (
        new_job(recipe, eval_strategy="steps", eval_steps=1, max_steps=len(values), metric_for_best_model=metric, **settings),
        iter(values),
    )

    def scores(*_: object) -> Evaluation:
        half = dict.fromkeys(("loss", "accuracy", "f1", "f1_macro"), 0.5)
        return Evaluation(half, half | {metric: next(left)}, one_label=False)

    monkeypatch.setattr(Classifying, "evaluate", scores)
    return list(fit(job))


@pytest.mark.parametrize(
    ("metric", "values", "patience", "best", "stopped_at", "reason"),
    [
        ("accuracy", [0.5, 0.7, 0.6, 0.7, 0.9], 2, [1, 2], 4, "early stopping"),
        ("accuracy", [0.5, 0.7, 0.6, 0.8, 0.8], 2, [1, 2, 4], 5, "finished"),
        ("f1_macro", [0.5, 0.5, 0.5], None, [1], 3, "finished"),
        ("loss", [0.9, 0.5, 0.6, 0.4], 1, [1, 2], 3, "early stopping"),
        ("accuracy", [0.9, math.nan, 0.95], None, [1, 3], 3, "finished"),
    ],
)
def test_only_a_strictly_better_score_is_best_and_patience_counts_the_others(
    recipe: str,
    monkeypatch: pytest.MonkeyPatch,
    metric: str,
    values: list[float],
    patience: int | None,
    best: list[int],
    stopped_at: int,
    reason: str,
) -> None:
    settings = {} if patience is None else {"early_stopping_patience": patience}
    events = scripted(recipe, monkeypatch, metric, values, **settings)
    found = [event for event in of_kind(events, Evaluated) if event.split == "validation"]
    assert [event.step for event in found if event.best] == best
    assert dataclasses.replace(events[-1], seconds=0.0) == Stopped(stopped_at, best[-1], reason, 0.0)
