"""Which rows go together: pure functions of lengths, so that the state of the data is the step number.

Training: rows are shuffled by (seed, epoch), sorted by length within windows of 50 steps, and the steps
shuffled again; batches then hold texts of like length in a random order. Every rank computes the same plan
and takes its share, so 1, 2 or 4 processes see the same global steps. Prediction: longest first, batches
bounded by rows and tokens.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

WINDOW_STEPS = 50
MAX_BATCH_TOKENS = 4096
"""Padded tokens per prediction batch: larger ones are slower on a CPU (docs/lab-log.md)."""


@dataclass(frozen=True)
class Micro:
    """A micro-batch: its place among all micro-batches of all ranks and epochs, and its row numbers."""

    index: int
    rows: list[int]


@dataclass(frozen=True)
class PlannedStep:
    """One optimizer step: this rank's micro-batches, and the rows of the whole global step (all ranks)."""

    micros: list[Micro]
    rows: list[int]

    @property
    def global_rows(self) -> int:
        """How many rows the global step has."""
        return len(self.rows)


def steps_per_epoch(num_rows: int, rows_per_step: int) -> int:
    """Optimizer steps of one pass; the last one may be smaller."""
    return math.ceil(num_rows / rows_per_step)


def training_plan(
    lengths: Sequence[int], *, seed: int, epoch: int, batch_size: int, accumulation: int = 1, world_size: int = 1, rank: int = 0
) -> list[PlannedStep]:
    """The steps of one epoch for one rank; the union over ranks holds every row exactly once.

    ``lengths`` are tokens per row. A global step has ``batch_size * accumulation * world_size`` rows, sorted by
    length and dealt out as micro-batches: number ``i`` belongs to rank ``i % world_size``.
    """
    per_step = batch_size * accumulation * world_size
    order = list(range(len(lengths)))
    random.Random(f"{seed}-{epoch}-rows").shuffle(order)
    steps: list[list[int]] = []
    for start in range(0, len(order), per_step * WINDOW_STEPS):
        window = sorted(order[start : start + per_step * WINDOW_STEPS], key=lambda row: lengths[row])
        steps += [window[i : i + per_step] for i in range(0, len(window), per_step)]
    random.Random(f"{seed}-{epoch}-steps").shuffle(steps)
    micros_per_step = accumulation * world_size
    first = epoch * steps_per_epoch(len(lengths), per_step) * micros_per_step
    return [_deal(rows, first + number * micros_per_step, batch_size, world_size, rank) for number, rows in enumerate(steps)]


def _deal(rows: list[int], first_index: int, batch_size: int, world_size: int, rank: int) -> PlannedStep:
    parts = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    micros = [Micro(first_index + i, part) for i, part in enumerate(parts) if i % world_size == rank]
    return PlannedStep(micros, rows)


def prediction_plan(lengths: Sequence[int], max_rows: int, max_tokens: int = MAX_BATCH_TOKENS) -> list[list[int]]:
    """Row numbers per batch, longest first: at most ``max_rows`` rows and ``max_tokens`` padded tokens, at least one row."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        current = batches[-1] if batches else None
        if current is None or len(current) == max_rows or (len(current) + 1) * lengths[current[0]] > max_tokens:
            batches.append([row])
        else:
            current.append(row)
    return batches


def padding_factor(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """Tokens computed, padding included, per real token; 1.0 is no padding at all."""
    computed = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches if batch)
    return computed / max(1, sum(lengths[row] for batch in batches for row in batch))
