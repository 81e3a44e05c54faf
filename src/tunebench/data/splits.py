"""Cutting a split out of the training rows, or drawing fewer of them: deterministic, by rows, by label or by group.

Membership follows from a hash of (seed, split, row or group), not from the order of the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Protocol

from tunebench.data.readers import cell_fault
from tunebench.errors import InputError, listing
from tunebench.recipe.sources import Fraction


class HasRows(Protocol):
    """What cutting needs to know of rows."""

    @property
    def ids(self) -> list[str]:
        """Names of the rows."""

    @property
    def labels(self) -> list[str]:
        """Label names of the rows."""

    @property
    def columns(self) -> dict[str, list[Any]]:
        """All cells by column."""


def cut_fraction(rows: HasRows, wanted: Fraction, seed: int, split: str) -> tuple[list[int], list[int]]:
    """Places ``(kept, cut)`` of the rows that stay and of those that form the new split, both ascending.

    With ``group_by`` whole groups are taken until the share is reached, so the split may be a little larger; a group
    that would make it twice as large is left out while others can serve. With ``stratify`` the share is cut from
    each label, and one row of every label stays. Raises InputError where a side would be empty.
    """
    if wanted.group_by is not None and wanted.group_by not in rows.columns:
        raise InputError(f"data.{split}.group_by", f"no column {wanted.group_by!r}; columns are {listing(rows.columns)}")
    if wanted.group_by is not None:
        cut = _cut_groups(rows, wanted.group_by, wanted.fraction, seed, split)
    else:
        strata: dict[str, list[int]] = {}
        for i, label in enumerate(rows.labels):
            strata.setdefault(label if wanted.stratify else "", []).append(i)
        cut = set()
        for places in strata.values():
            most = len(places) - 1 if wanted.stratify else len(places)
            cut.update(_ranked(places, rows.ids, seed, split)[: min(most, round(wanted.fraction * len(places)))])
    kept = [i for i in range(len(rows.ids)) if i not in cut]
    if not kept or not cut:
        raise InputError(
            f"data.{split}.fraction",
            f"{wanted.fraction} of {len(rows.ids)} rows leaves "
            f"{len(kept)} to train on and {len(cut)} in the split; both need rows",
        )
    return kept, sorted(cut)


def draw(ids: list[str], number: int, seed: int, purpose: str) -> list[int]:
    """Ascending places of ``number`` rows, drawn by the same rank as a split; a smaller draw is part of a larger one."""
    return sorted(_ranked(range(len(ids)), ids, seed, purpose)[:number])


def _rank(seed: int, split: str, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{split}\0{name}".encode("utf-8", "surrogatepass")).digest()


def _ranked(places: Iterable[int], ids: list[str], seed: int, split: str) -> list[int]:
    return sorted(places, key=lambda i: (_rank(seed, split, ids[i]), i))


def _cut_groups(rows: HasRows, column: str, fraction: float, seed: int, split: str) -> set[int]:
    unsound = [rows.ids[i] for i, value in enumerate(rows.columns[column]) if cell_fault(value)]
    if unsound:
        raise InputError(
            f"data.{split}.group_by", f"{len(unsound)} rows have no group in {column!r}: {listing(unsound, 5)}; fill it in"
        )
    groups: dict[str, list[int]] = {}
    for i, value in enumerate(rows.columns[column]):
        groups.setdefault(str(value), []).append(i)
    wanted = fraction * len(rows.ids)
    cut: set[int] = set()
    large: list[list[int]] = []
    for name in sorted(groups, key=lambda name: _rank(seed, split, name)):
        if len(cut) >= wanted:
            break
        if len(cut) + len(groups[name]) > 2 * wanted:
            large.append(groups[name])
        else:
            cut.update(groups[name])
    smallest = min(large, key=len, default=[])
    if not cut or len(cut) + len(smallest) - wanted < wanted - len(cut):  # with it, the split comes nearer to its share
        cut.update(smallest)
    return cut
