"""The files of a corpus: one, all that a pattern such as ``news/*.json`` matches, or the texts in a folder and those below it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from tunebench.data.encoding import known_encoding
from tunebench.data.folders import text_of
from tunebench.data.readers import TableReader, in_chunks
from tunebench.errors import InputError


def files_of(place: Path) -> tuple[Path, list[Path], str | None]:
    """The folder that names of files start from, the files sorted by path, and words about others that are left out.

    Hidden files are skipped, and what lies in hidden folders. Raises InputError where a pattern or folder holds nothing.
    """
    if os.path.isdir(place):
        files = _visible(place, place.rglob("*"))
        texts = [file for file in files if is_text(file)]
        if not texts:
            raise InputError(str(place), f"holds no .txt file; of tables give a pattern such as {place.name}/*.json")
        others = len(files) - len(texts)
        return place, texts, f"{place.name}: left out {others:,} files that are no .txt" if others else None
    if os.path.exists(place) or not any(mark in str(place) for mark in "*?["):
        return place.parent, [place], None
    root = place
    while not os.path.isdir(root):
        root = root.parent
    try:
        files = _visible(root, root.glob(place.relative_to(root).as_posix()))
    except ValueError as error:
        raise InputError(str(place), f"is no pattern: {error}") from None
    if not files:
        raise InputError(str(place), f"matches no file in {root}; in a pattern, `*` is any name and `**` any folders")
    return root, files, None


def is_text(file: Path) -> bool:
    """Whether a file holds one text, and is no table."""
    return file.suffix.lower() == ".txt"


def open_texts(root: Path, files: Sequence[Path], key: str, text: str, told: str | None) -> TableReader:
    """Text files as a table of two columns, whose names are given: the path of each below ``root``, and its text."""
    encoding = known_encoding(told, f"{root}: data.encoding") if told else "utf-8"

    def row(file: Path) -> tuple[list[str], str | None]:
        name = file.relative_to(root).as_posix()
        found, fault = text_of(file, encoding)
        return [name, found], f"{name} {fault}" if fault else None

    return TableReader(root, dict.fromkeys((key, text), pa.string()), lambda: in_chunks(map(row, files), [key, text]))


def _visible(root: Path, entries: Iterable[Path]) -> list[Path]:
    named = {entry.relative_to(root).as_posix(): entry for entry in entries}
    shown = [name for name in sorted(named) if not any(part.startswith(".") for part in name.split("/"))]
    return [named[name] for name in shown if named[name].is_file()]
