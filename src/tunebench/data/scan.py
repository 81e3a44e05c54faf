"""A file read once for `check`: what is unsound is counted, and of every sound row a few numbers are kept, never its text."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.data.duplicates import plain
from tunebench.data.items import Item, Question, flat
from tunebench.data.labels import label_name
from tunebench.data.readers import CHUNK_ROWS, Chunk, TableReader, cell_fault
from tunebench.data.reading import Reading, cells_at
from tunebench.data.rows import Rows
from tunebench.recipe.sources import SplitFile

LONGEST = 100_000
"""Characters; of a longer text only the beginning is measured and compared."""
_MOST_EXAMPLES = 3


@dataclass(frozen=True)
class Scan:
    """The sound rows of a file in order, and what was wrong with the others.

    ``held`` are the items of a file that is read as a whole; of all others they are read again when they are asked for.
    """

    reader: TableReader
    source: SplitFile
    reading: Reading | None
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
    held: list[Item] | None = None


def scan(reader: TableReader, source: SplitFile, reading: Reading, groups: Sequence[str], on_rows: Callable[[int], None]) -> Scan:
    """Read a file. The columns ``groups`` are kept whole; ``on_rows`` hears how many rows were read since it was last called."""
    rows, unsound, examples = 0, Counter[str](), list[str]()
    numbers, hashes, characters = array("q"), array("q"), array("q")
    ids: list[str] = []
    labels: list[str] = []
    columns: dict[str, list[Any]] = {name: [] for name in groups}
    names: dict[str, str] = {}  # one string per label, not one per row
    for chunk in reader.chunks():
        texts, faults = _read(chunk, source, reading, groups)
        unsound.update(kind for kind, _ in faults.values())
        examples += [f"row {chunk.first_row + i}: {words}" for i, (_, words) in sorted(faults.items())][
            : _MOST_EXAMPLES - len(examples)
        ]
        numbers.extend(chunk.first_row + i for i in texts)
        hashes.extend(hash(plain(text)) for text in texts.values())
        characters.extend(min(LONGEST, len(text)) for text in texts.values())
        ids += [_name(chunk, source.id, i) for i in texts] if source.id else [str(chunk.first_row + i) for i in texts]
        labels += [names.setdefault(name, name) for name in (_name(chunk, reading.label[1], i) for i in texts)]
        for name, values in columns.items():
            values += [chunk.columns[name][i] for i in texts]
        rows += len(chunk)
        on_rows(len(chunk))
    places, marks, sizes = (np.array(values, np.int64) for values in (numbers, hashes, characters))
    doubled = _count_doubled(ids) if source.id else 0
    return Scan(reader, source, reading, rows, dict(unsound), doubled, examples, places, ids, labels, marks, sizes, columns)


def scan_whole(path: Path, rows: Rows, source: SplitFile, groups: Sequence[str], on_rows: Callable[[int], None]) -> Scan:
    """The same of rows that are read already: documents, which may be made of many rows of a file, and conversations."""
    texts = [flat(item) for item in rows.texts]
    hashes, sizes = [hash(plain(text)) for text in texts], [min(LONGEST, len(text)) for text in texts]
    marks, characters, places = np.array(hashes, np.int64), np.array(sizes, np.int64), np.arange(1, len(texts) + 1)
    on_rows(len(texts))
    reader = TableReader(path, rows.types, lambda: iter(()), remark=rows.remark)
    kept = {name: rows.columns[name] for name in groups if name in rows.columns}
    held, number = list(rows.texts), len(texts)
    return Scan(reader, source, None, number, {}, 0, [], places, rows.ids, rows.labels, marks, characters, kept, held)


def items_at(scanned: Scan, wanted: np.ndarray) -> Iterator[tuple[np.ndarray, list[Item]]]:
    """Read the file again: chunk by chunk, the sound rows (as places in ``scanned``) that ``wanted`` marks, and their items.

    Of a very long text, only the beginning.
    """
    if scanned.held is not None:
        for begun in range(0, len(scanned.held), CHUNK_ROWS):
            places = begun + np.flatnonzero(wanted[begun : begun + CHUNK_ROWS])
            yield places, [_begun(scanned.held[i]) for i in places.tolist()]
        return
    assert scanned.reading is not None
    begun = 0
    for chunk in scanned.reader.chunks():
        end = int(np.searchsorted(scanned.numbers, chunk.first_row + len(chunk)))
        places, begun = begun + np.flatnonzero(wanted[begun:end]), end
        rows = (scanned.numbers[places] - chunk.first_row).tolist()
        yield places, [_begun(scanned.reading.item(cells_at(chunk, scanned.reading, i))) for i in rows]


def _begun(item: Item) -> Item:
    """The item with as much of its text as is looked at."""
    if isinstance(item, Question):
        return item._replace(passage=item.passage[:LONGEST])
    return item[:LONGEST] if isinstance(item, str) else item


def _read(
    chunk: Chunk, source: SplitFile, reading: Reading, groups: Sequence[str]
) -> tuple[dict[int, str], dict[int, tuple[str, str]]]:
    """The texts of the sound rows, and what is wrong with the others (its kind and its words), by place in the chunk."""
    setting, label = reading.label
    role = setting.split()[0].removeprefix("data.")
    others = [("id", source.id)] if source.id else []
    others += [("group", name) for name in groups]
    texts, faults = dict[int, str](), dict[int, tuple[str, str]]()
    for i, error in enumerate(chunk.errors):
        cells = cells_at(chunk, reading, i)
        found = [] if error else [(fault.role, fault.column, fault.words) for fault in reading.faults(cells)]
        if not error and (words := reading.label_fault(chunk.columns[label][i])):
            found.append((role, label, words))
        if not error:
            found += [(key, name, words) for key, name in others if (words := cell_fault(chunk.columns[name][i]))]
        if error:
            faults[i] = ("rows that cannot be read", error)
        elif found:
            faults[i] = _kind(*found[0])
        else:
            texts[i] = flat(reading.item(cells))
    return texts, faults


def _kind(role: str, column: str, words: str) -> tuple[str, str]:
    usable = "" if words.startswith("is empty") else "usable "
    return f"rows without a {usable}{role}", f"{column!r} {words}"


def _count_doubled(names: Sequence[str]) -> int:
    hashes = np.sort(np.fromiter(map(hash, names), np.int64, len(names)))
    return int(np.count_nonzero(hashes[1:] == hashes[:-1]))


def _name(chunk: Chunk, column: str | None, place: int) -> str:
    return label_name(chunk.columns[str(column)][place]) or ""
