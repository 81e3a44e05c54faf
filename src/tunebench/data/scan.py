"""A file read once for `check`: what is unsound is counted, and of every sound row a few numbers are kept, never its text."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunebench.data.cleaning import Cleaner
from tunebench.data.duplicates import plain
from tunebench.data.labels import label_name
from tunebench.data.readers import Chunk, TableReader, cell_fault
from tunebench.recipe.sources import SplitFile

LONGEST = 100_000
"""Characters; of a longer text only the beginning is measured and compared."""
_MOST_EXAMPLES = 3


@dataclass(frozen=True)
class Scan:
    """The sound rows of a file in order, and what was wrong with the others."""

    reader: TableReader
    source: SplitFile
    rows: int
    unsound: dict[str, int]
    doubled_ids: int  # rows with the id of an earlier row
    examples: list[str]
    numbers: np.ndarray  # (N,) row numbers in the file
    ids: list[str]
    labels: list[str]
    texts: np.ndarray  # (N,) a hash of every text without case and extra spaces
    characters: np.ndarray  # (N,) at most LONGEST
    columns: dict[str, list[Any]]


def scan(reader: TableReader, source: SplitFile, clean: Cleaner, groups: Sequence[str], on_rows: Callable[[int], None]) -> Scan:
    """Read a file. The columns ``groups`` are kept whole; ``on_rows`` hears how many rows were read since it was last called."""
    rows, unsound, examples = 0, Counter[str](), list[str]()
    numbers, hashes, characters = array("q"), array("q"), array("q")
    ids: list[str] = []
    labels: list[str] = []
    columns: dict[str, list[Any]] = {name: [] for name in groups}
    names: dict[str, str] = {}  # one string per label, not one per row
    for chunk in reader.chunks():
        texts, faults = _read(chunk, source, clean, groups)
        unsound.update(kind for kind, _ in faults.values())
        examples += [f"row {chunk.first_row + i}: {words}" for i, (_, words) in sorted(faults.items())][
            : _MOST_EXAMPLES - len(examples)
        ]
        numbers.extend(chunk.first_row + i for i in texts)
        hashes.extend(hash(plain(text)) for text in texts.values())
        characters.extend(min(LONGEST, len(text)) for text in texts.values())
        ids += [_name(chunk, source.id, i) for i in texts] if source.id else [str(chunk.first_row + i) for i in texts]
        labels += [names.setdefault(name, name) for name in (_name(chunk, source.label, i) for i in texts)]
        for name, values in columns.items():
            values += [chunk.columns[name][i] for i in texts]
        rows += len(chunk)
        on_rows(len(chunk))
    places, marks, sizes = (np.array(values, np.int64) for values in (numbers, hashes, characters))
    doubled = _count_doubled(ids) if source.id else 0
    return Scan(reader, source, rows, dict(unsound), doubled, examples, places, ids, labels, marks, sizes, columns)


def texts_at(scanned: Scan, wanted: np.ndarray, clean: Cleaner) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Read the file again: chunk by chunk, the sound rows (as places in ``scanned``) that ``wanted`` marks, and their texts.

    Of a very long text, only the beginning.
    """
    begun = 0
    for chunk in scanned.reader.chunks():
        end = int(np.searchsorted(scanned.numbers, chunk.first_row + len(chunk)))
        places = begun + np.flatnonzero(wanted[begun:end])
        column, begun = chunk.columns[str(scanned.source.text)], end
        yield places, [clean(str(column[i]))[:LONGEST] for i in (scanned.numbers[places] - chunk.first_row).tolist()]


def _read(
    chunk: Chunk, source: SplitFile, clean: Cleaner, groups: Sequence[str]
) -> tuple[dict[int, str], dict[int, tuple[str, str]]]:
    """The texts of the sound rows, and what is wrong with the others (its kind and its words), by place in the chunk."""
    faults = {i: ("rows that cannot be read", error) for i, error in enumerate(chunk.errors) if error}
    for role, name in (("text", source.text), ("label", source.label), ("id", source.id), *(("group", name) for name in groups)):
        for i, value in enumerate(chunk.columns[name] if name else ()):
            if (fault := cell_fault(value)) and i not in faults:
                faults[i] = (
                    f"rows without a {role}" if fault == "is empty" else f"rows without a usable {role}",
                    f"{name!r} {fault}",
                )
    column = chunk.columns[str(source.text)]
    texts = {i: clean(str(column[i])) for i in range(len(chunk)) if i not in faults}
    for i in [i for i, text in texts.items() if not text or text.isspace()]:
        faults[i] = ("rows without a text", f"{source.text!r} is empty once its HTML is stripped")
        del texts[i]
    return texts, faults


def _count_doubled(names: Sequence[str]) -> int:
    hashes = np.sort(np.fromiter(map(hash, names), np.int64, len(names)))
    return int(np.count_nonzero(hashes[1:] == hashes[:-1]))


def _name(chunk: Chunk, column: str | None, place: int) -> str:
    return label_name(chunk.columns[str(column)][place]) or ""
