"""A recipe's data, bound: rows read and checked, splits cut, labels named, everything digested.

Runs before torch is imported, so that bad input fails within a second, with all faults at once.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from tunebench.data.cleaning import Cleaner, cleaner, text_fault
from tunebench.data.folders import open_folder
from tunebench.data.labels import LabelMap, label_name, make_label_map, unknown_labels
from tunebench.data.readers import Chunk, TableReader, cell_fault, open_table, require_columns
from tunebench.data.splits import cut_fraction, draw
from tunebench.errors import InputError, listing
from tunebench.recipe.sources import Data, Fraction, SplitFile

MOST_FAULTS = 10


@dataclass(frozen=True)
class Rows:
    """Rows of one split, in order. ``ids``, ``texts``, ``labels`` are read out of ``columns``, which keeps every input column.

    ``texts`` are cleaned as the recipe says, ``columns`` are as they stand in the file. ``remark`` is that of its reader.
    """

    ids: list[str]
    texts: list[str]
    labels: list[str]
    columns: dict[str, list[Any]]
    types: dict[str, pa.DataType]
    remark: str | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, places: Sequence[int]) -> Rows:
        """The rows at these places, in this order."""

        def pick(values: list[Any]) -> list[Any]:
            return [values[i] for i in places]

        columns = {name: pick(values) for name, values in self.columns.items()}
        return Rows(pick(self.ids), pick(self.texts), pick(self.labels), columns, self.types, self.remark)

    def digest(self) -> str:
        """sha256 of ids, texts and labels in order; file format and other columns do not matter."""
        state = hashlib.sha256()
        for row in zip(self.ids, self.texts, self.labels, strict=True):
            for cell in row:
                data = cell.encode("utf-8", "surrogatepass")
                state.update(len(data).to_bytes(8, "little") + data)
        return state.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """The bound splits of one recipe. ``test`` is sealed: only the final score may touch its labels."""

    train: Rows
    validation: Rows | None
    test: Rows | None
    labels: LabelMap

    def splits(self) -> dict[str, Rows]:
        """The splits there are, by name."""
        found = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: rows for name, rows in found.items() if rows is not None}

    def digests(self) -> dict[str, str]:
        """sha256 of every split."""
        return {name: rows.digest() for name, rows in self.splits().items()}

    def digest(self) -> str:
        """One sha256 for all splits and the label map's order."""
        parts = [f"{name}={value}" for name, value in self.digests().items()] + list(self.labels.names)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def shared_texts(self) -> dict[str, int]:
        """How many rows of one split stand word for word in another (case and spaces aside)."""
        plain = {name: [" ".join(text.lower().split()) for text in rows.texts] for name, rows in self.splits().items()}
        return {
            f"{later} in {earlier}": sum(text in known for text in plain[later])
            for earlier, later in (("train", "validation"), ("train", "test"), ("validation", "test"))
            if earlier in plain and later in plain
            for known in [set(plain[earlier])]
        }

    def remarks(self) -> list[str]:
        """What a user should know of how the files were read, and of labels that a scored split lacks."""
        found = dict.fromkeys(rows.remark for rows in self.splits().values() if rows.remark)
        lacking = {
            name: set(self.labels.names).difference(rows.labels) for name, rows in self.splits().items() if name != "train"
        }
        return [*found] + [
            f"{name}: no row has the label {listing(map(repr, sorted(labels)))}, which is trained and not scored there"
            for name, labels in lacking.items()
            if labels
        ]


def bind(data: Data, seed: int, locate: Callable[[str], Path]) -> Dataset:
    """Read, split and check a recipe's data. ``locate`` turns a recipe's path (or ``starter:`` name) into a file.

    Raises InputError naming file, rows and remedy: missing columns, empty texts or labels, a label that the
    training rows lack, a split that would be empty.
    """
    parts = _read_files(data, locate)
    train = parts.pop("train")
    for name in ("test", "validation"):
        wanted = getattr(data, name)
        if isinstance(wanted, Fraction):
            kept, cut = cut_fraction(train, wanted, seed, name)
            train, parts[name] = train.take(kept), train.take(cut)
    if data.max_train_samples is not None and data.max_train_samples < len(train):
        train = train.take(draw(train.ids, data.max_train_samples, seed, "max_train_samples"))
    training = data.source("train")
    assert training is not None
    labels = make_label_map(train.labels, data.positive_label, data.label_names, training.file)
    check_labels(parts, labels, cut=[name for name in parts if isinstance(getattr(data, name), Fraction)])
    return Dataset(train, parts.get("validation"), parts.get("test"), labels)


def _read_files(data: Data, locate: Callable[[str], Path]) -> dict[str, Rows]:
    """The rows of every split that has a file; InputError with the faults of all files."""
    read: dict[str, Rows] = {}
    errors: list[InputError] = []
    for name in ("train", "validation", "test"):
        source = data.source(name)
        if source is not None:
            try:
                read[name] = _read_split(locate(source.file), data, source)
            except InputError as error:
                errors += [error] if str(error) not in map(str, errors) else []
    if len(errors) > 1:
        raise InputError("data", [f"{error.subject}: {fault}" for error in errors for fault in error.faults])
    if errors:
        raise errors[0]
    return read


def _read_split(path: Path, data: Data, source: SplitFile) -> Rows:
    """The rows of a split; faults of a hub data set are told by its name, as its files in the cache say nothing to a user."""
    try:
        return read_rows(path, data, source)
    except InputError as error:
        if data.dataset is None or error.subject != str(path):
            raise
        raise InputError(f"{data.dataset} ({source.file})", error.faults) from None


def open_source(path: Path, columns: SplitFile | Data) -> TableReader:
    """The file or folder of a split, opened as ``columns`` says."""
    if not os.path.isdir(path):
        return open_table(path, columns.encoding, columns.delimiter)
    names = {"id": columns.id or "id", "label": columns.label or "label", "text": columns.text or "text"}
    return open_folder(path, **names, encoding=columns.encoding)


def columns_like(data: Data, names: Collection[str], *needed: Literal["text", "label"]) -> SplitFile:
    """Which columns a file has that the recipe does not name: those of the first of its splits whose ``needed`` ones it has.

    Its encoding and delimiter are its own, and it needs no ids.
    """
    shared = SplitFile(file="-", text=data.text, label=data.label, id=data.id)
    own = [source for name in ("train", "validation", "test") if (source := data.source(name)) is not None]
    fitting = next((source for source in (shared, *own) if all(getattr(source, key) in names for key in needed)), shared)
    return fitting.model_copy(update={"id": fitting.id if fitting.id in names else None, "encoding": None, "delimiter": None})


def read_like(path: Path, data: Data) -> Rows:
    """All rows of a labelled file or folder that the recipe does not name, read as the splits are that it names."""
    names = (data.text, data.label) if os.path.isdir(path) else open_table(path).types
    return read_rows(path, data, columns_like(data, names, "text", "label"))


def read_rows(path: Path, data: Data, source: SplitFile | None = None, *, labelled: bool = True) -> Rows:
    """All rows of a labelled file or folder; InputError lists the unsound ones (the first ten, and how many more).

    ``source`` says which columns it has and how it is read, where that is not as ``data`` says for all files.
    """
    told: SplitFile | Data = source or data
    reader, clean = open_source(path, told), cleaner(data.clean)
    text, label = told.text or data.text, told.label or data.label
    key = (told.id or "id") if os.path.isdir(path) else told.id
    wanted = {_setting("text", text, data.text): text} | ({_setting("label", label, data.label): label} if labelled else {})
    require_columns(reader, wanted | ({_setting("id", key, data.id): key} if key else {}))
    columns: dict[str, list[Any]] = {name: [] for name in reader.types}
    named = ([label] if labelled else []) + ([key] if key else [])
    faults: list[str] = []
    for chunk in reader.chunks():
        for name, values in chunk.columns.items():
            columns[name].extend(values)
        faults += _row_faults(chunk, named, text, clean)
    number = len(columns[text])
    ids = [label_name(value) or "" for value in columns[key]] if key else [str(i) for i in range(1, number + 1)]
    faults += [
        f"the id {name!r} stands {count} times; an id belongs to one row" for name, count in Counter(ids).items() if count > 1
    ]
    if not number:
        raise InputError(str(path), "has a header but no rows")
    _raise_first(str(path), faults)
    labels = [label_name(value) or "" for value in columns[label]] if labelled else [""] * number
    return Rows(ids, [clean(str(value)) for value in columns[text]], labels, columns, reader.types, reader.remark)


def _setting(key: str, column: str, shared: str | None) -> str:
    return f"data.{key}" if column == shared else f"{key} of this split"


def _row_faults(chunk: Chunk, named: Sequence[str], text: str | None = None, clean: Cleaner = str) -> list[str]:
    """What is wrong with each row: its own error, else the faults of its text and of the cells in the ``named`` columns."""
    faults = []
    for i, error in enumerate(chunk.errors):
        problems = [error] if error else []
        if not error and text is not None and (fault := text_fault(chunk.columns[text][i], clean)):
            problems.append(f"{text!r} {fault}")
        if not error:
            problems += [f"{name!r} {fault}" for name in named if (fault := cell_fault(chunk.columns[name][i]))]
        faults += [f"row {chunk.first_row + i}: {problem}; correct or remove the row" for problem in problems]
    return faults


def _raise_first(subject: str, faults: Sequence[str]) -> None:
    """InputError with the first faults and how many more there are, if there are any."""
    if faults:
        more = [f"… and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
        raise InputError(subject, [*faults[:MOST_FAULTS], *more])


def join_answers(path: Path, answers: Path, data: Data) -> Rows:
    """Rows of an unlabelled file with labels out of another one, joined by the column ``data.id`` that both share.

    Raises InputError for ids that are doubled in either file or have no answer.
    """
    assert data.id is not None
    columns = columns_like(data, open_table(path).types, "text").model_copy(update={"id": data.id})
    rows, reader = read_rows(path, data, columns, labelled=False), open_table(answers)
    label = columns_like(data, reader.types, "label").label or data.label
    require_columns(reader, {"--id": data.id, "data.label": label})
    known: dict[str, str] = {}
    faults: list[str] = []
    for chunk in reader.chunks():
        faults += _row_faults(chunk, [data.id, label])
        for key, name in zip(map(label_name, chunk.columns[data.id]), map(label_name, chunk.columns[label]), strict=True):
            faults += [f"the id {key!r} stands twice"] if key in known else []
            known |= {key: name} if key and name else {}
    lost = [key for key in rows.ids if key not in known]
    if lost:
        faults.append(f"no label for {len(lost)} of {len(rows)} ids of {path.name}: {listing(lost)}")
    _raise_first(str(answers), faults)
    return replace(rows, labels=[known[key] for key in rows.ids])


def check_labels(parts: Mapping[str, Rows | None], labels: LabelMap, cut: Collection[str] = ()) -> None:
    """InputError where some rows have a label that the training rows have not; the parts ``cut`` were cut from these."""
    faults = []
    for name, rows in parts.items():
        unknown = unknown_labels(rows.labels, labels) if rows is not None else {}
        if unknown:
            counts = listing(f"{label!r} ({count} rows)" for label, count in unknown.items())
            remedy = f"; or set data.{name}.stratify, which leaves a row of every label to train on" if name in cut else ""
            faults.append(
                f"{name}: labels that no training row has: {counts}; "
                f"training labels are {listing(labels.names)}; correct them{remedy}"
            )
    if faults:
        raise InputError("data", faults)
