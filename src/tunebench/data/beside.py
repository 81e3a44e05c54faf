"""Which files of a folder are the splits of one data set: told by their names, as ``train.csv`` and ``test.csv``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunebench.data.readers import FORMATS
from tunebench.errors import InputError, listing

NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "development"),
    "test": ("test", "testing"),
}
_EDGE = r"^{0}(?![a-z0-9])|(?<![a-z0-9]){0}$"  # at the beginning or the end: `ab_test_results` is no split


@dataclass(frozen=True)
class Splits:
    """A file or a folder of texts per split; None where there is none."""

    train: Path
    validation: Path | None = None
    test: Path | None = None


def find_splits(path: Path) -> Splits:
    """The splits that belong to a file, or that lie in a folder. A split stands alone: a test file is never validation.

    Raises InputError where nothing can be trained on, or where it is not clear what.
    """
    path = Path(os.path.abspath(path))
    if not path.is_dir():
        _check_role(path)
        return _around(path, _entries(path.parent)) if path.is_file() else Splits(path)
    entries = _entries(path)
    training = [entry for entry in entries if _role(entry.name, ("train",))]
    if len(training) == 1:
        return _around(training[0], entries)
    if len(training) > 1:
        raise InputError(str(path), f"several files may hold the training rows: {_names(training)}; give one of them")
    tables = [entry for entry in entries if entry.is_file() and _role(entry.name, ("validation", "test")) is None]
    if len(tables) == 1:
        return _around(tables[0], entries)
    if len(tables) > 1:
        raise InputError(str(path), f"holds several tables, none of them named train: {_names(tables)}; give one of them")
    if not any(entry.is_dir() for entry in entries):
        expected = f"a file such as train.csv ({', '.join(FORMATS)}), or one folder of .txt files per label"
        raise InputError(str(path), f"expected {expected} in it; found {_names(entries) if entries else 'neither'}")
    _check_role(path)
    return _around(path, _entries(path.parent)) if _role(path.name, ("train",)) else Splits(path)


def _check_role(path: Path) -> None:
    if role := _role(path.name, ("validation", "test")):
        raise InputError(str(path), f"is named as the {role} split; give the training rows, or the folder that holds all splits")


def _around(train: Path, entries: Sequence[Path]) -> Splits:
    """The training file with its siblings: ``imdb_train.csv`` has ``imdb_test.csv``, ``reviews.csv`` has ``reviews-test.csv``.

    Where there is none of that kind, plain ``test.csv`` is one.
    """
    found = []
    for role in ("validation", "test"):
        named = [entry for entry in entries if entry != train and entry.is_dir() == train.is_dir() and _role(entry.name, (role,))]
        own = [entry for entry in named if _rest(entry, role) == _rest(train, "train")]
        siblings = own or [entry for entry in named if not _rest(entry, role)]
        if len(siblings) > 1:
            raise InputError(str(train.parent), f"several may be the {role} split: {_names(siblings)}; move all but one away")
        found.append(siblings[0] if siblings else None)
    return Splits(train, *found)


def _stem(name: str) -> str:
    """A file's name without the ending of a table."""
    return name[: name.rindex(".")].lower() if name.lower().endswith(FORMATS) else name.lower()


def _rest(path: Path, role: str) -> str:
    """A name without the words of a split and without separators."""
    name = _stem(path.name)
    for word in NAMES[role]:
        name = re.sub(_EDGE.format(word), "", name)
    return re.sub(r"[\s._-]+", "", name)


def _role(name: str, roles: Iterable[str]) -> str | None:
    """Which split a name says it is."""
    return next((role for role in roles for word in NAMES[role] if re.search(_EDGE.format(word), _stem(name))), None)


def _entries(folder: Path) -> list[Path]:
    """Tables and folders of texts in a folder."""
    try:
        visible = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
        return sorted(entry for entry in visible if entry.is_dir() or entry.suffix.lower() in FORMATS)
    except OSError as error:
        raise InputError(str(folder), f"cannot be read ({error.strerror})") from None


def _names(entries: Iterable[Path]) -> str:
    return listing(entry.name for entry in entries)
