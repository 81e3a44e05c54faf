"""A recipe's data, bound: rows read and checked, splits cut, labels named, everything digested.

Runs before torch is imported, so that bad input fails within a second, with all faults at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tunebench.data.conversations import read_conversations
from tunebench.data.corpus import DOCUMENT, read_corpus
from tunebench.data.corpus_audit import Audited
from tunebench.data.items import flat
from tunebench.data.labels import LabelMap, make_label_map, numbered_label_map, unknown_labels
from tunebench.data.rows import Rows
from tunebench.data.splits import cut_fraction, draw
from tunebench.data.tables import read_rows
from tunebench.errors import InputError, listing
from tunebench.recipe.sources import SPLITS, Data, Fraction, SplitFile
from tunebench.recipe.spec import TEXT_TASKS, Task


@dataclass(frozen=True)
class Dataset:
    """The bound splits of one recipe. ``test`` is sealed: only the final score may touch its labels.

    ``predict`` has no labels and decides nothing: it is answered at the end, and no part of ``splits()``. ``audit`` tells what
    the cleaning of a corpus did to its texts.
    """

    train: Rows
    validation: Rows | None
    test: Rows | None
    labels: LabelMap
    predict: Rows | None = None
    task: Task = "text-classification"
    audit: list[Audited] = field(default_factory=list)

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
        plain = {name: [" ".join(flat(item).lower().split()) for item in rows.texts] for name, rows in self.splits().items()}
        return {
            f"{later} in {earlier}": sum(text in known for text in plain[later])
            for earlier, later in (("train", "validation"), ("train", "test"), ("validation", "test"))
            if earlier in plain and later in plain
            for known in [set(plain[earlier])]
        }

    def remarks(self) -> list[str]:
        """What a user should know of how the files were read, and of labels that a scored split lacks."""
        read = [*self.splits().values(), *([self.predict] if self.predict else [])]
        found = dict.fromkeys(rows.remark for rows in read if rows.remark)
        trained = set(self.train.labels)
        lacking = {name: trained.difference(rows.labels) for name, rows in self.splits().items() if name != "train"}
        return [*found] + [
            f"{name}: no row has the label {listing(map(repr, sorted(labels)))}, which is trained and not scored there"
            for name, labels in lacking.items()
            if labels
        ]


def bind(data: Data, seed: int, locate: Callable[[str], Path], *, task: Task = "text-classification") -> Dataset:
    """Read, split and check a recipe's data. ``locate`` turns a recipe's path (or ``starter:`` name) into a file.

    Raises InputError naming file, rows and remedy: missing columns, empty texts or labels, a label that the
    training rows lack, a split that would be empty.
    """
    audit: list[Audited] = []
    parts = _read_files(data, locate, task, audit)
    train, predict = parts.pop("train"), parts.pop("predict", None)
    for name in ("test", "validation"):
        if (wanted := cut_of(data, name, task)) is not None:
            kept, cut = cut_fraction(train, wanted, seed, name)
            train, parts[name] = train.take(kept), train.take(cut)
    if data.max_train_samples is not None and data.max_train_samples < len(train):
        train = train.take(draw(train.ids, data.max_train_samples, seed, "max_train_samples"))
    labels = _labels_of(data, train, task)
    if task not in TEXT_TASKS:
        check_labels(parts, labels, cut=[name for name in parts if isinstance(getattr(data, name), Fraction)])
    return Dataset(train, parts.get("validation"), parts.get("test"), labels, predict, task, audit)


def cut_of(data: Data, split: str, task: Task) -> Fraction | None:
    """How a split is cut out of the training rows, where it is: of a corpus the pieces of one document stay together."""
    wanted = getattr(data, split)
    if not isinstance(wanted, Fraction):
        return None
    if task != "language-modeling" or wanted.group_by is not None:
        return wanted
    return wanted.model_copy(update={"group_by": DOCUMENT, "stratify": False})


def _labels_of(data: Data, train: Rows, task: Task) -> LabelMap:
    """The labels of the training rows; of multiple-choice the options' numbers, whichever are answers there."""
    source = data.source("train")
    assert source is not None
    if task in TEXT_TASKS:
        return LabelMap(())
    if task == "multiple-choice":
        return numbered_label_map(len(source.choices or ()), data.positive_label, data.label_names)
    return make_label_map(train.labels, data.positive_label, data.label_names, source.file)


def _read_files(data: Data, locate: Callable[[str], Path], task: Task, audit: list[Audited]) -> dict[str, Rows]:
    """The rows of every split that has a file; InputError with the faults of all files."""
    read: dict[str, Rows] = {}
    errors: list[InputError] = []
    for name in SPLITS:
        source = data.source(name)
        if source is not None:
            try:
                read[name] = read_split(locate(source.file), data, source, task, name, audit)
            except InputError as error:
                errors += [error] if str(error) not in map(str, errors) else []
    if len(errors) > 1:
        raise InputError("data", [f"{error.subject}: {fault}" for error in errors for fault in error.faults])
    if errors:
        raise errors[0]
    return read


def read_split(path: Path, data: Data, source: SplitFile, task: Task, split: str, audit: list[Audited]) -> Rows:
    """The rows of a split; faults of a hub data set are told by its name, as its files in the cache say nothing to a user."""
    try:
        if task == "language-modeling":
            rows, audited = read_corpus(path, data, source, split)
            audit.extend(audited)
            return rows
        if task == "instruction":
            return read_conversations(path, data, source)
        return read_rows(path, data, source, labelled=split != "predict", task=task)
    except InputError as error:
        if data.dataset is None or error.subject != str(path):
            raise
        raise InputError(f"{data.dataset} ({source.file})", error.faults) from None


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
