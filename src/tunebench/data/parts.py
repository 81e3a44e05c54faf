"""Splits as places in what was scanned: cut as training cuts them, counted, sampled, and read again together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tunebench.data.dataset import cut_of
from tunebench.data.items import Item
from tunebench.data.scan import Scan, items_at
from tunebench.data.shingles import mix
from tunebench.data.splits import cut_fraction, draw
from tunebench.recipe.sources import Data
from tunebench.recipe.spec import Task

_MOST_SHOWN = 3


@dataclass(frozen=True)
class _Cells:
    ids: list[str]
    labels: list[str]
    columns: dict[str, list[Any]]


@dataclass(frozen=True)
class Part:
    """The rows of one split, as ascending places in the scan of the file they stand in."""

    name: str
    scan: Scan
    places: np.ndarray
    left_out: int = 0

    @property
    def texts(self) -> np.ndarray:
        """Hashes of the texts."""
        return np.asarray(self.scan.texts[self.places])

    def cells(self) -> _Cells:
        """Ids, labels and the columns that were kept whole."""
        places = self.places.tolist()
        columns = {name: [values[i] for i in places] for name, values in self.scan.columns.items()}
        return _Cells([self.scan.ids[i] for i in places], [self.scan.labels[i] for i in places], columns)

    def take(self, wanted: list[int]) -> Part:
        """The rows at these places among those here."""
        return replace(self, places=self.places[np.array(wanted, np.int64)])

    def mask(self, places: np.ndarray) -> np.ndarray:
        """Places in the scan as a mask over it."""
        marked = np.zeros(len(self.scan.ids), bool)
        marked[places] = True
        return marked

    def sample(self, rows: int, characters: int) -> np.ndarray:
        """Places of at most so many rows that hold at most so many characters, ascending: the same every time, spread out."""
        drawn = self.places[np.argsort(mix(self.places), kind="stable")[:rows]]
        held = np.cumsum(self.scan.characters[drawn])
        return np.sort(drawn[: int(np.searchsorted(held, characters, side="right"))])


@dataclass(frozen=True)
class Repeats:
    """Rows whose text an earlier row has, rows whose text also stands under another label, and a few pairs of the latter."""

    repeated: int
    contradictory: int
    contradictions: list[tuple[int, int]]


def cut_parts(scans: Mapping[str, Scan], data: Data, seed: int, task: Task) -> dict[str, Part]:
    """The splits that training would have, of the rows that are sound."""
    parts = {name: Part(name, scanned, np.arange(len(scanned.ids))) for name, scanned in scans.items()}
    train = parts.pop("train")
    for name in ("test", "validation"):
        if (wanted := cut_of(data, name, task)) is not None:
            kept, cut = cut_fraction(train.cells(), wanted, seed, name)
            train, parts[name] = train.take(kept), replace(train.take(cut), name=name)
    if data.max_train_samples is not None and data.max_train_samples < len(train.places):
        left_out = len(train.places) - data.max_train_samples
        train = replace(train.take(draw(train.cells().ids, data.max_train_samples, seed, "max_train_samples")), left_out=left_out)
    return {name: part for name in ("train", "validation", "test") if (part := (parts | {"train": train}).get(name)) is not None}


def count_repeats(part: Part) -> Repeats:
    """Texts that stand twice in one split."""
    labels = part.cells().labels
    names = {name: code for code, name in enumerate(dict.fromkeys(labels))}
    codes = np.fromiter((names[name] for name in labels), np.int64, len(labels))
    _, texts = np.unique(part.texts, return_inverse=True)
    pairs, first = np.unique(texts * len(names) + codes, return_index=True)  # the first row of every text and label
    doubtful = np.bincount(pairs // len(names)) > 1
    found: dict[int, list[int]] = {}
    for row in np.sort(first[doubtful[texts[first]]])[: 2 * _MOST_SHOWN].tolist():
        found.setdefault(int(texts[row]), []).append(int(part.places[row]))
    shown = [(rows[0], rows[1]) for rows in found.values() if len(rows) > 1][:_MOST_SHOWN]
    rows_per_text = np.bincount(texts)
    return Repeats(len(texts) - len(rows_per_text), int(rows_per_text[doubtful].sum()), shown)


def count_labels(part: Part) -> dict[str, int]:
    """Rows per label, the most frequent first."""
    return dict(sorted(Counter(part.cells().labels).items(), key=lambda item: (-item[1], item[0])))


def read_marked(parts: Mapping[str, Part], marked: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray, list[Item]]]:
    """Read the files again, each once: split, places and items of the rows that are marked, chunk by chunk."""
    for scanned in {id(part.scan): part.scan for part in parts.values()}.values():
        names = [name for name in marked if parts[name].scan is scanned]
        wanted = np.logical_or.reduce([marked[name] for name in names]) if names else np.zeros(0, bool)
        if not wanted.any():
            continue
        for places, items in items_at(scanned, wanted):
            for name in names:
                own = np.flatnonzero(marked[name][places])
                if len(own):
                    yield name, places[own], [items[i] for i in own]
