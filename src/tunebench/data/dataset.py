"""A recipe's data, bound: rows read and checked, splits cut, labels named, everything digested.

Runs before torch is imported, so that bad input fails within a second, with all faults at once.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from tunebench.data.labels import LabelMap, label_name, make_label_map, unknown_labels
from tunebench.data.readers import open_table, require_columns
from tunebench.data.splits import cut_fraction
from tunebench.errors import InputError, listing
from tunebench.recipe.spec import Data, Fraction

MOST_FAULTS = 10


@dataclass(frozen=True)
class Rows:
    """Rows of one split, in order. ``ids``, ``texts``, ``labels`` are read out of ``columns``, which keeps every input column."""

    ids: list[str]
    texts: list[str]
    labels: list[str]
    columns: dict[str, list[Any]]
    types: dict[str, pa.DataType]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, places: Sequence[int]) -> Rows:
        """The rows at these places, in this order."""

        def pick(values: list[Any]) -> list[Any]:
            return [values[i] for i in places]

        columns = {name: pick(values) for name, values in self.columns.items()}
        return Rows(pick(self.ids), pick(self.texts), pick(self.labels), columns, self.types)

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


def bind(data: Data, seed: int, locate: Callable[[str], Path]) -> Dataset:
    """Read, split and check a recipe's data. ``locate`` turns a recipe's path (or ``starter:`` name) into a file.

    Raises InputError naming file, rows and remedy: missing columns, empty texts or labels, a label that the
    training rows lack, a split that would be empty.
    """
    train = read_rows(locate(data.train), data)
    parts: dict[str, Rows | None] = {"test": None, "validation": None}
    for name in ("test", "validation"):
        wanted = getattr(data, name)
        if isinstance(wanted, Fraction):
            kept, cut = cut_fraction(train, wanted, seed, name)
            train, parts[name] = train.take(kept), train.take(cut)
        elif wanted is not None:
            parts[name] = read_rows(locate(wanted), data)
    if data.max_train_samples is not None and data.max_train_samples < len(train):
        drawn = random.Random(f"{seed}-max_train_samples").sample(range(len(train)), data.max_train_samples)
        train = train.take(sorted(drawn))
    labels = make_label_map(train.labels, data.positive_label, data.label_names, data.train)
    check_labels(parts, labels)
    return Dataset(train, parts["validation"], parts["test"], labels)


def read_rows(path: Path, data: Data, *, labelled: bool = True) -> Rows:
    """All rows of a labelled file; InputError lists the unsound ones (the first ten, and how many more)."""
    reader = open_table(path)
    wanted = {"data.text": data.text} | ({"data.label": data.label} if labelled else {})
    require_columns(reader, wanted | ({"data.id": data.id} if data.id else {}))
    columns: dict[str, list[Any]] = {name: [] for name in reader.types}
    faults: list[str] = []
    labels: list[str] = []
    for chunk in reader.chunks():
        for name, values in chunk.columns.items():
            columns[name].extend(values)
        found = [label_name(value) for value in chunk.columns[data.label]] if labelled else [""] * len(chunk)
        labels += [name or "" for name in found]
        faults += _row_faults(chunk.first_row, chunk.errors, chunk.columns[data.text], found, data)
    if not labels:
        raise InputError(str(path), "has a header but no rows")
    if faults:
        more = [f"… and {len(faults) - MOST_FAULTS} more rows"] if len(faults) > MOST_FAULTS else []
        raise InputError(str(path), faults[:MOST_FAULTS] + more)
    ids = [str(value) for value in columns[data.id]] if data.id else [str(i) for i in range(1, len(labels) + 1)]
    return Rows(ids, [str(text) for text in columns[data.text]], labels, columns, reader.types)


def _row_faults(first: int, errors: list[str | None], texts: list[Any], labels: Sequence[str | None], data: Data) -> list[str]:
    faults = []
    for i, (error, text, label) in enumerate(zip(errors, texts, labels, strict=True)):
        problem = (
            error
            or (f"{data.text!r} is empty" if text is None or not str(text).strip() else None)
            or (f"{data.label!r} is empty" if label is None else None)
        )
        if problem:
            faults.append(f"row {first + i}: {problem}; correct or remove the row")
    return faults


def join_answers(path: Path, answers: Path, data: Data) -> Rows:
    """Rows of an unlabelled file with labels out of another one, joined by the column ``data.id`` that both share.

    Raises InputError for ids that are doubled in the answers or have no answer.
    """
    assert data.id is not None
    rows = read_rows(path, data, labelled=False)
    reader = open_table(answers)
    require_columns(reader, {"--id": data.id, "data.label": data.label})
    known: dict[str, str] = {}
    faults: list[str] = []
    for chunk in reader.chunks():
        for key, value in zip(chunk.columns[data.id], chunk.columns[data.label], strict=True):
            faults += [f"the id {str(key)!r} stands twice"] if str(key) in known else []
            known[str(key)] = label_name(value) or ""
    lost = [key for key in rows.ids if not known.get(key)]
    if lost:
        faults.append(f"no label for {len(lost)} of {len(rows)} ids of {path.name}: {listing(lost)}")
    if faults:
        raise InputError(str(answers), faults[:MOST_FAULTS])
    return replace(rows, labels=[known[key] for key in rows.ids])


def check_labels(parts: Mapping[str, Rows | None], labels: LabelMap) -> None:
    """InputError where some rows have a label that the training rows have not."""
    faults = []
    for name, rows in parts.items():
        unknown = unknown_labels(rows.labels, labels) if rows is not None else {}
        if unknown:
            counts = listing(f"{label!r} ({count} rows)" for label, count in unknown.items())
            faults.append(f"{name}: labels that no training row has: {counts}; training labels are {listing(labels.names)}")
    if faults:
        raise InputError("data", faults)
