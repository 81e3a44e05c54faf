"""Cutting a split: by a hash of what a row is, so that neither order nor neighbours decide where it goes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from tunebench.data.splits import cut_fraction
from tunebench.errors import InputError
from tunebench.recipe.sources import Fraction


@dataclass
class Table:
    ids: list[str]
    labels: list[str]
    columns: dict[str, list[Any]] = field(default_factory=dict)


def labelled(number: int = 200, share: int = 4) -> Table:
    return Table([f"r{i}" for i in range(number)], ["rare" if i % share == 0 else "common" for i in range(number)])


def grouped(*sizes: int) -> Table:
    movies = [f"m{group}" for group, size in enumerate(sizes) for _ in range(size)]
    return Table([f"r{i}" for i in range(len(movies))], ["a"] * len(movies), {"movie": movies})


def cut(table: Table, seed: int = 1, split: str = "test", **wanted: Any) -> list[str]:
    kept, taken = cut_fraction(table, Fraction(**wanted), seed, split)
    assert sorted(kept + taken) == list(range(len(table.ids)))
    assert (kept, taken) == (sorted(kept), sorted(taken))
    return [table.ids[i] for i in taken]


def reordered(table: Table) -> Table:
    columns = {name: values[::-1] for name, values in table.columns.items()}
    return Table(table.ids[::-1], table.labels[::-1], columns)


WAYS: list[dict[str, Any]] = [{"fraction": 0.1}, {"fraction": 0.1, "stratify": True}]


@pytest.mark.parametrize("wanted", WAYS)
def test_a_fraction_is_cut_to_the_row(wanted: dict[str, Any]) -> None:
    assert len(cut(labelled(200), **wanted)) == 20


@pytest.mark.parametrize("wanted", WAYS)
def test_the_same_seed_cuts_the_same_rows_and_another_one_others(wanted: dict[str, Any]) -> None:
    assert cut(labelled(), 1, **wanted) == cut(labelled(), 1, **wanted) != cut(labelled(), 2, **wanted)


def test_two_splits_of_one_seed_are_cut_differently() -> None:
    assert cut(labelled(), split="test", fraction=0.1) != cut(labelled(), split="validation", fraction=0.1)


@pytest.mark.parametrize("wanted", WAYS)
def test_the_order_of_the_rows_decides_nothing(wanted: dict[str, Any]) -> None:
    assert set(cut(reordered(labelled()), **wanted)) == set(cut(labelled(), **wanted))


def test_stratified_splits_keep_the_share_of_every_label() -> None:
    table = labelled(203, 7)
    taken = set(cut(table, fraction=0.2, stratify=True))
    whole, part = (
        Counter(table.labels),
        Counter(label for key, label in zip(table.ids, table.labels, strict=True) if key in taken),
    )
    assert part == {label: round(0.2 * count) for label, count in whole.items()}


@pytest.mark.parametrize("fraction", [0.5, 0.9, 0.99])
def test_a_stratified_split_leaves_a_row_of_every_label(fraction: float) -> None:
    table = Table([f"r{i}" for i in range(16)], [*"aaaaaaaabbbcc", "d", "e", "f"])
    taken = set(cut(table, fraction=fraction, stratify=True))
    left = Counter(label for key, label in zip(table.ids, table.labels, strict=True) if key not in taken)
    assert set(left) == set(table.labels)
    assert left["d"] == left["e"] == left["f"] == 1


def test_a_group_stays_together() -> None:
    table = grouped(*[3, 5, 2, 7] * 10)
    taken = set(cut(table, fraction=0.2, group_by="movie"))
    sides = {(movie, key in taken) for key, movie in zip(table.ids, table.columns["movie"], strict=True)}
    assert len(sides) == len({movie for movie, _ in sides})


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_taken_until_the_fraction_is_reached(seed: int) -> None:
    table = grouped(*[3, 5, 2, 7] * 10)
    assert 0.2 * 170 <= len(cut(table, seed, fraction=0.2, group_by="movie")) < 0.2 * 170 + 7


def test_the_order_of_the_rows_decides_nothing_about_groups() -> None:
    table = grouped(*[3, 5, 2, 7] * 10)
    assert set(cut(reordered(table), fraction=0.2, group_by="movie")) == set(cut(table, fraction=0.2, group_by="movie"))


@pytest.mark.parametrize("seed", range(8))
def test_a_group_that_would_swallow_the_file_is_left_to_training(seed: int) -> None:
    taken = cut(grouped(90, 4, 3, 3), seed, fraction=0.1, group_by="movie")
    assert len(taken) == 10


def test_where_every_group_is_too_large_the_smallest_one_is_taken() -> None:
    assert len(cut(grouped(50, 30, 20), fraction=0.05, group_by="movie")) == 20


def test_a_column_for_groups_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"data.test.group_by: no column 'film'; columns are movie"):
        cut(grouped(2, 2), fraction=0.5, group_by="film")


def test_rows_without_a_group_are_counted_and_refused() -> None:
    table = grouped(2, 2, 2)
    table.columns["movie"][1:3] = ["", None]
    with pytest.raises(InputError, match=r"2 rows have no group in 'movie': r1, r2; fill it in"):
        cut(table, fraction=0.5, group_by="movie")


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        (labelled(3), {"fraction": 0.1}),
        (labelled(3), {"fraction": 0.9}),
        (labelled(1), {"fraction": 0.5}),
        (grouped(9), {"fraction": 0.5, "group_by": "movie"}),
        (labelled(4, 2), {"fraction": 0.1, "stratify": True}),
    ],
)
def test_a_split_that_leaves_a_side_empty_is_refused(table: Table, wanted: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="both need rows"):
        cut(table, **wanted)
