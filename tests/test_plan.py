"""The batch plan: every row once, the same for everyone, little padding."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

import pytest

from tunebench.predict.plan import PlannedStep, padding_factor, prediction_plan, steps_per_epoch, training_plan


def some_lengths(number: int, seed: int = 0) -> list[int]:
    draw = random.Random(seed)
    return [draw.randint(1, 128) for _ in range(number)]


def like_imdb(number: int = 4000) -> list[int]:
    """Token counts with IMDb's shape: log-normal around a mean of 276, cut at 512."""
    draw = random.Random(0)
    spread = 0.75
    return [min(512, max(8, round(draw.lognormvariate(math.log(276) - spread**2 / 2, spread)))) for _ in range(number)]


def micro_batches(steps: Sequence[PlannedStep]) -> list[list[int]]:
    return [micro.rows for step in steps for micro in step.micros]


def rows_of(steps: Sequence[PlannedStep]) -> list[int]:
    return [row for batch in micro_batches(steps) for row in batch]


@pytest.mark.parametrize("number", [1, 2, 15, 16, 17, 999, 1000])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_an_epoch_holds_every_row_exactly_once(number: int, accumulation: int) -> None:
    steps = training_plan(some_lengths(number), seed=1, epoch=0, batch_size=4, accumulation=accumulation)
    assert sorted(rows_of(steps)) == list(range(number))


@pytest.mark.parametrize("number", [1, 12, 13, 500])
def test_there_are_as_many_steps_as_the_rows_need(number: int) -> None:
    steps = training_plan(some_lengths(number), seed=1, epoch=0, batch_size=4, accumulation=3)
    assert len(steps) == steps_per_epoch(number, 12) == math.ceil(number / 12)
    assert sum(step.global_rows for step in steps) == number


def test_the_same_seed_and_epoch_give_the_same_plan() -> None:
    lengths = some_lengths(300)
    assert training_plan(lengths, seed=1, epoch=2, batch_size=8) == training_plan(lengths, seed=1, epoch=2, batch_size=8)


@pytest.mark.parametrize(("seed", "epoch"), [(2, 0), (1, 1)])
def test_another_seed_or_epoch_gives_another_plan(seed: int, epoch: int) -> None:
    lengths = some_lengths(300)
    first, other = (training_plan(lengths, seed=s, epoch=e, batch_size=8) for s, e in ((1, 0), (seed, epoch)))
    assert rows_of(first) != rows_of(other)
    assert {frozenset(batch) for batch in micro_batches(first)} != {frozenset(batch) for batch in micro_batches(other)}


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_the_ranks_share_the_rows_of_an_epoch(world_size: int) -> None:
    plans = [
        training_plan(some_lengths(301), seed=1, epoch=0, batch_size=4, accumulation=2, world_size=world_size, rank=rank)
        for rank in range(world_size)
    ]
    assert sorted(row for plan in plans for row in rows_of(plan)) == list(range(301))
    assert len({len(plan) for plan in plans}) == 1


def test_processes_see_the_global_steps_of_one_process() -> None:
    lengths = some_lengths(301)
    alone = training_plan(lengths, seed=1, epoch=0, batch_size=4, accumulation=2)
    ranks = [training_plan(lengths, seed=1, epoch=0, batch_size=4, world_size=2, rank=rank) for rank in range(2)]
    for step, *parts in zip(alone, *ranks, strict=True):
        assert sorted((m for part in parts for m in part.micros), key=lambda micro: micro.index) == step.micros
        assert {part.global_rows for part in parts} == {step.global_rows}


def test_every_micro_batch_of_a_training_has_its_own_number() -> None:
    plans = [training_plan(some_lengths(100), seed=1, epoch=epoch, batch_size=4, accumulation=2) for epoch in range(3)]
    numbers = [micro.index for plan in plans for step in plan for micro in step.micros]
    assert len(set(numbers)) == len(numbers)
    assert numbers == sorted(numbers)


def test_batches_of_training_waste_little_on_padding() -> None:
    lengths = like_imdb()
    assert sum(lengths) / len(lengths) == pytest.approx(250, abs=20)
    steps = training_plan(lengths, seed=1, epoch=0, batch_size=16)
    assert padding_factor(lengths, micro_batches(steps)) <= 1.05


def test_long_and_short_batches_come_in_a_mixed_order() -> None:
    lengths = like_imdb()
    means = [
        sum(lengths[row] for row in batch) / len(batch)
        for batch in micro_batches(training_plan(lengths, seed=1, epoch=0, batch_size=16))
    ]
    rising = sum(later > earlier for earlier, later in itertools.pairwise(means))
    assert 0.4 < rising / len(means) < 0.6


@pytest.mark.parametrize("number", [0, 1, 7, 1000])
def test_a_prediction_covers_every_row_once(number: int) -> None:
    batches = prediction_plan(some_lengths(number), 32)
    assert sorted(row for batch in batches for row in batch) == list(range(number))
    assert all(batches)


def test_batches_of_a_prediction_respect_both_caps() -> None:
    lengths = some_lengths(1000)
    batches = prediction_plan(lengths, 32, 1024)
    assert max(map(len, batches)) == 32
    assert all(len(batch) * max(lengths[row] for row in batch) <= 1024 for batch in batches)


def test_a_row_longer_than_the_cap_is_predicted_alone() -> None:
    assert prediction_plan([9000, 10, 10], 32, 4096) == [[0], [1, 2]]


def test_the_longest_rows_are_predicted_first() -> None:
    assert prediction_plan([3, 9, 5, 9], 2) == [[1, 3], [2, 0]]


def test_batches_of_a_prediction_waste_little_on_padding() -> None:
    lengths = like_imdb()
    assert padding_factor(lengths, prediction_plan(lengths, 32)) <= 1.02


def test_no_rows_need_no_steps() -> None:
    assert training_plan([], seed=1, epoch=0, batch_size=4) == []
    assert padding_factor([], []) == 0.0
