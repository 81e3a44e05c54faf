"""A folder as a table: one sub-folder per label, one text in every ``.txt`` file in it, as in ``pos/`` and ``neg/``.

Rows are sorted by path. Hidden files are skipped. A folder named ``unsup`` is left out: that is how the archive of the
IMDb reviews calls the texts that have no label. What else is left out is said in the reader's ``remark``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from tunebench.data.encoding import known_encoding, without_mark
from tunebench.data.readers import LONGEST_TEXT, TableReader, in_chunks
from tunebench.errors import InputError, listing

UNLABELLED = "unsup"
_MOST_BYTES = 4 * LONGEST_TEXT


def open_folder(path: Path, *, id: str, label: str, text: str, encoding: str | None = None) -> TableReader:
    """The folder as a reader with three columns, whose names are given; the id of a row is the path of its file.

    Raises InputError for a folder without a sub-folder per label, for sub-folders without texts, and for names of
    files that are no text.
    """
    names = [id, label, text]
    if len(set(names)) < 3:
        raise InputError(str(path), f"a folder has three columns, to be called {listing(names)}; give each a name of its own")
    told = known_encoding(encoding, f"{path}: data.encoding") if encoding else "utf-8"
    try:
        labels, left_out = _labels(path)
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror})") from None
    _check(path, labels)
    files = [file for found in labels.values() for file in found]
    return TableReader(
        path,
        dict.fromkeys(names, pa.string()),
        lambda: in_chunks((_row(file, told) for file in files), names),
        told,
        remark=f"{path.name} is read as a folder of texts; left out: {'; '.join(left_out)}" if left_out else None,
    )


def _labels(path: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """The texts of every label, sorted; and words about what is left out."""
    found = {entry.name: _visible(entry) for entry in _visible(path) if entry.is_dir()}
    unlabelled = len(found.pop(UNLABELLED, []))
    labels = {name: [file for file in files if file.suffix.lower() == ".txt" and file.is_file()] for name, files in found.items()}
    others = sum(not entry.is_dir() for entry in _visible(path)) + sum(len(found[name]) - len(labels[name]) for name in found)
    left_out = [f"{unlabelled:,} files in {UNLABELLED!r}, which have no label"] if unlabelled else []
    return labels, left_out + ([f"{others:,} files that are no .txt of a label"] if others else [])


def _visible(folder: Path) -> list[Path]:
    return sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _check(path: Path, labels: dict[str, list[Path]]) -> None:
    if not labels:
        raise InputError(str(path), "expected one folder of .txt files per label in it, such as pos/ and neg/; found none")
    faults = [f"the folder {name!r} holds no .txt file; add texts, or remove it" for name, files in labels.items() if not files]
    names = [name for label, files in labels.items() for name in (label, *(file.name for file in files))]
    odd = [name for name in names if any("\ud800" <= char <= "\udfff" for char in name)]
    faults += [f"{name!r} is a name that is not UTF-8; rename it" for name in odd[:3]]
    if faults:
        raise InputError(str(path), faults)


def _row(file: Path, encoding: str) -> tuple[list[Any], str | None]:
    """Id, label and text of a file, and what is wrong with it."""
    name = f"{file.parent.name}/{file.name}"
    text, fault = text_of(file, encoding)
    if fault is None and not text.strip():
        fault = "is empty"
    return [name, file.parent.name, text or None], f"{name} {fault}" if fault else None


def text_of(file: Path, encoding: str) -> tuple[str, str | None]:
    """The text in a file, and words about one that cannot be read."""
    try:
        if (size := file.stat().st_size) > _MOST_BYTES:
            return "", f"holds {size:,} bytes; at most {_MOST_BYTES:,} are read"
        return without_mark(file.read_bytes().decode(encoding)), None
    except UnicodeError:
        return "", f"is not {encoding} text (save it as UTF-8, or name its encoding in data.encoding)"
    except OSError as error:
        return "", f"cannot be read ({error.strerror})"
