"""Rows of one split that stand in another: exactly, by a hash of every text; nearly, for a sample that is looked up in all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tunebench.data.duplicates import NearIndex
from tunebench.data.findings import Shared
from tunebench.data.items import flat
from tunebench.data.parts import Part, read_marked
from tunebench.data.shingles import Shingles, joined, shingles

MOST_LOOKED_UP = 20_000
"""Rows of a split that are looked up in the others …"""
MOST_CHARACTERS = 25_000_000
"""… and fewer where they hold more than this: 4 million word sequences, about 200 MB."""
MOST_TWINS = 3
_PAIRS = (("validation", "train"), ("test", "train"), ("test", "validation"))


@dataclass
class Leak:
    """A later split held against an earlier one. ``exact`` and ``near`` mark what was found."""

    later: Part
    earlier: Part
    places: np.ndarray  # (Q,) of the rows of ``later`` that are looked up, ascending
    exact: np.ndarray = field(init=False)  # for every row of ``later``
    open: np.ndarray = field(init=False)  # (Q,) has no exact twin
    near: np.ndarray = field(init=False)  # (Q,)
    near_twins: list[tuple[int, int, str]] = field(default_factory=list)  # a few: places in both, text of the earlier one

    def __post_init__(self) -> None:
        known = np.sort(self.earlier.texts)  # several times faster than np.isin
        places = np.minimum(np.searchsorted(known, self.later.texts), len(known) - 1)
        self.exact = known[places] == self.later.texts
        self.open = ~self.exact[np.searchsorted(self.later.places, self.places)]
        self.near = np.zeros(len(self.places), bool)

    def search(self, index: NearIndex, places: np.ndarray, texts: list[str], found: Shingles) -> None:
        """Look at some rows of ``earlier``; ``index`` holds the rows that are looked up."""
        left, right = index.search(found, self.open & ~self.near)
        self.near[right] = True
        for i, j in zip(left[: MOST_TWINS - len(self.near_twins)].tolist(), right.tolist(), strict=False):
            self.near_twins.append((int(self.places[j]), int(places[i]), texts[i]))

    def exact_twins(self) -> list[tuple[int, int]]:
        """A few rows that stand in both, as places in ``later`` and ``earlier``."""
        rows = np.flatnonzero(self.exact)[:MOST_TWINS]
        first = [int(self.earlier.places[np.argmax(self.earlier.texts == self.later.texts[i])]) for i in rows]
        return list(zip(self.later.places[rows].tolist(), first, strict=True))

    def counts(self) -> Shared:
        """What is reported."""
        rows, exact = len(self.later.places), int(self.exact.sum())
        return Shared(self.later.name, self.earlier.name, rows, exact, int(self.open.sum()), int(self.near.sum()))


def pair_up(parts: Mapping[str, Part]) -> list[Leak]:
    """Every later split beside every earlier one, with exact twins found and nearly equal ones still to be looked for."""
    sought = {name: part.sample(MOST_LOOKED_UP, MOST_CHARACTERS) for name, part in parts.items() if name != "train"}
    return [Leak(parts[later], parts[earlier], sought[later]) for later, earlier in _PAIRS if later in parts and earlier in parts]


def search_near(leaks: Sequence[Leak], sought: Mapping[str, list[Shingles]], on_rows: Callable[[int], None]) -> int:
    """Read the earlier splits once and find what is nearly the same; ``sought`` are the rows that are looked up, by split.

    Returns how many texts were boilerplate that was not held against everything it shares something with.
    """
    indexes = {name: NearIndex(joined(found)) for name, found in sought.items()}
    earlier = {leak.earlier.name: leak.earlier for leak in leaks}
    marked = {name: part.mask(part.places[np.unique(part.texts, return_index=True)[1]]) for name, part in earlier.items()}
    for name, places, items in read_marked(earlier, marked):
        texts = [flat(item) for item in items]
        found = shingles(texts)
        for leak in leaks:
            if leak.earlier.name == name:
                leak.search(indexes[leak.later.name], places, texts, found)
        on_rows(len(texts))
    return sum(index.incomplete for index in indexes.values())
