"""How much a recipe trains on: rows, steps, tokens of a step, its largest micro-batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tunebench.predict.plan import steps_per_epoch, training_plan
from tunebench.recipe.spec import Recipe, Train


@dataclass(frozen=True)
class Workload:
    """``rows`` is None where every step is taken to be as large as it can be; ``tokens_per_step`` counts padding.

    ``shapes`` is how many sizes of micro-batches there are.
    """

    rows: int | None
    steps: int
    steps_per_epoch: int
    rows_per_step: int
    tokens_per_step: float
    largest_batch: tuple[int, int]
    shapes: int
    evaluations: int


def workload(recipe: Recipe, lengths: Sequence[int] | None) -> Workload:
    """By the tokens of every training row; without them as if every row were as long as may be, for ``max_steps``."""
    assert recipe.base is not None
    settings = recipe.settings
    size = settings.per_device_train_batch_size
    per_step = size * settings.gradient_accumulation_steps
    known = lengths if lengths is not None else [recipe.base.max_length] * per_step
    per_epoch = steps_per_epoch(len(known), per_step)
    steps = settings.max_steps or math.ceil(settings.num_train_epochs * per_epoch)
    plan = training_plan(known, seed=recipe.seed, epoch=0, batch_size=size, accumulation=settings.gradient_accumulation_steps)
    batches = [(len(micro.rows), max(known[row] for row in micro.rows)) for step in plan for micro in step.micros]
    padded = sum(rows * tokens for rows, tokens in batches) / len(plan)
    largest = max(batches, key=lambda batch: batch[0] * batch[1])
    shapes = len(set(batches[: steps * settings.gradient_accumulation_steps]))
    evaluations = 0 if recipe.data.validation is None else _evaluations(settings, steps, per_epoch)
    return Workload(None if lengths is None else len(lengths), steps, per_epoch, per_step, padded, largest, shapes, evaluations)


def _evaluations(settings: Train, steps: int, per_epoch: int) -> int:
    """How often the validation split is scored; always after the last step."""
    if settings.eval_strategy == "no":
        return 0
    return math.ceil(steps / (per_epoch if settings.eval_strategy == "epoch" else settings.eval_steps or 1))
