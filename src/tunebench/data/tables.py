"""Rows out of files: the splits that a recipe names, and other files that are read as they are."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunebench.data.folders import open_folder
from tunebench.data.labels import label_name
from tunebench.data.readers import Chunk, TableReader, cell_fault, open_table, require_columns
from tunebench.data.reading import Reading, cells_at, reading_of
from tunebench.data.rows import Rows
from tunebench.errors import InputError, listing
from tunebench.recipe.sources import COLUMNS, SPLITS, Data, SplitFile
from tunebench.recipe.spec import Task

MOST_FAULTS = 10
ANSWER = "Answer"
"""The column that an answers file has where it is called nothing the recipe names: as in our own ``answers.csv``."""


def open_source(path: Path, columns: SplitFile | Data) -> TableReader:
    """The file or folder of a split, opened as ``columns`` says."""
    if not os.path.isdir(path):
        return open_table(path, columns.encoding, columns.delimiter)
    names = {"id": columns.id or "id", "label": columns.label or "label", "text": columns.text or "text"}
    return open_folder(path, **names, encoding=columns.encoding)


def columns_like(data: Data, names: Collection[str], task: Task = "text-classification", *, labelled: bool = False) -> SplitFile:
    """Which columns a file has that the recipe does not name: those of the first of its splits of which it has all it needs.

    Of several, the first of which it also has the ids; but it needs none. Its encoding and delimiter are its own.
    """
    candidates = _columns_named(data, task)

    def fits(source: SplitFile) -> bool:
        reading = reading_of(data, source, task)
        return all(column in names for column in [*reading.columns.values(), *([reading.label[1]] if labelled else [])])

    fitting = [source for source in candidates if fits(source)]
    source = next((source for source in fitting if source.id in names), (fitting or candidates)[0])
    return source.model_copy(update={"id": source.id if source.id in names else None, "encoding": None, "delimiter": None})


def _columns_named(data: Data, task: Task) -> list[SplitFile]:
    """The columns of all splits as ``data`` says, then those of each split; of multiple-choice only those that name options."""
    shared = SplitFile(file="-", **{key: getattr(data, key) for key in COLUMNS})
    sources = [shared, *(source for name in SPLITS if (source := data.source(name)) is not None)]
    return [source for source in sources if source.choices is not None or task != "multiple-choice"]


def read_like(path: Path, data: Data, task: Task = "text-classification") -> Rows:
    """All rows of a labelled file or folder that the recipe does not name, read as the splits are that it names."""
    names = (data.text, data.label) if os.path.isdir(path) else open_table(path).types
    return read_rows(path, data, columns_like(data, names, task, labelled=True), task=task)


def read_rows(
    path: Path, data: Data, source: SplitFile | None = None, *, labelled: bool = True, task: Task = "text-classification"
) -> Rows:
    """All rows of a labelled file or folder; InputError lists the unsound ones (the first ten, and how many more).

    ``source`` says which columns it has and how it is read, where that is not as ``data`` says for all files.
    """
    told = source or SplitFile(file=str(path), **{key: getattr(data, key) for key in COLUMNS})
    reader, reading = open_source(path, told), reading_of(data, told, task)
    key = (told.id or "id") if os.path.isdir(path) else told.id
    wanted = reading.columns | (dict([reading.label]) if labelled else {})
    require_columns(reader, wanted | ({"data.id" if key == data.id else "id of this split": key} if key else {}))
    label = reading.label[1] if labelled else None
    columns: dict[str, list[Any]] = {name: [] for name in reader.types}
    rows, faults = Rows([], [], [], columns, reader.types, reader.remark), list[str]()
    for chunk in reader.chunks():
        for name, values in chunk.columns.items():
            columns[name].extend(values)
        faults += _row_faults(chunk, reading, label, key)
        if not faults:
            rows.texts.extend(reading.item(cells_at(chunk, reading, i)) for i in range(len(chunk)))
    number = len(next(iter(columns.values())))
    rows.ids.extend([label_name(value) or "" for value in columns[key]] if key else map(str, range(1, number + 1)))
    rows.labels.extend([label_name(value) or "" for value in columns[label]] if label else [""] * number)
    if not number:
        raise InputError(str(path), "has a header but no rows")
    _raise_first(str(path), faults + _doubled(rows.ids))
    return rows


def _row_faults(chunk: Chunk, reading: Reading, label: str | None, key: str | None, *, items: bool = True) -> list[str]:
    """What is wrong with each row: its own error, else the faults of its item (where the file has ``items``), label and id."""

    def problems(place: int) -> Iterator[str]:
        for fault in reading.faults(cells_at(chunk, reading, place)) if items else ():
            yield f"{fault.column!r} {fault.words}"
        if label and (words := reading.label_fault(chunk.columns[label][place])):
            yield f"{label!r} {words}"
        if key and (words := cell_fault(chunk.columns[key][place])):
            yield f"{key!r} {words}"

    return [
        f"row {chunk.first_row + i}: {problem}; correct or remove the row"
        for i, error in enumerate(chunk.errors)
        for problem in ([error] if error else problems(i))
    ]


def _doubled(ids: Sequence[str]) -> list[str]:
    return [
        f"the id {name!r} stands {count} times; an id belongs to one row" for name, count in Counter(ids).items() if count > 1
    ]


def _raise_first(subject: str, faults: Sequence[str]) -> None:
    """InputError with the first faults and how many more there are, if there are any."""
    if faults:
        more = [f"… and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
        raise InputError(subject, [*faults[:MOST_FAULTS], *more])


def join_answers(path: Path, answers: Path, data: Data, task: Task = "text-classification") -> Rows:
    """Rows of an unlabelled file with labels out of another one, joined by the column ``data.id`` that both share.

    Raises InputError for ids that are doubled in either file or have no answer.
    """
    assert data.id is not None
    columns = columns_like(data, open_table(path).types, task).model_copy(update={"id": data.id})
    rows, reader = read_rows(path, data, columns, labelled=False, task=task), open_table(answers)
    label, reading = _answer_column(reader, data, task), reading_of(data, columns, task)
    known: dict[str, str] = {}
    faults: list[str] = []
    for chunk in reader.chunks():
        faults += _row_faults(chunk, reading, label, data.id, items=False)
        for key, name in zip(map(label_name, chunk.columns[data.id]), map(label_name, chunk.columns[label]), strict=True):
            faults += [f"the id {key!r} stands twice"] if key in known else []
            known |= {key: name} if key and name else {}
    lost = [key for key in rows.ids if key not in known]
    if lost:
        faults.append(f"no label for {len(lost)} of {len(rows)} ids of {path.name}: {listing(lost)}")
    _raise_first(str(answers), faults)
    return replace(rows, labels=[known[key] for key in rows.ids])


def _answer_column(reader: TableReader, data: Data, task: Task) -> str:
    """The column with the labels: as one of the recipe's splits calls it, or ``Answer``; InputError where there is none."""
    assert data.id is not None
    names = dict.fromkeys(reading_of(data, source, task).label[1] for source in _columns_named(data, task))
    require_columns(reader, {"--id": data.id})
    found = next((name for name in [*names, ANSWER] if name in reader.types), None)
    if found is None:
        expected = " or ".join(map(repr, dict.fromkeys([*names, ANSWER])))
        raise InputError(
            str(reader.path),
            f"has no column with the answers; expected {expected}, columns are {listing(reader.types)}; rename it",
        )
    return found
