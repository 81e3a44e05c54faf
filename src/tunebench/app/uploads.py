"""Data files for the studio: what comes in by the browser is kept under the digest of its content, never under a typed name."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from tunebench.compare.shown import size
from tunebench.data import readers
from tunebench.errors import InputError, listing
from tunebench.listening import MOST_UPLOADED_MB
from tunebench.runs.cache import write_atomic

MOST_BYTES = MOST_UPLOADED_MB * 2**20
NAME_FILE = "name.txt"


def keep(folder: Path, name: str, content: bytes) -> Path:
    """Keep an uploaded table as ``<digest>/data.<ext>`` in ``folder``, its own name beside it; the path of the file.

    Raises InputError for what is too large, empty, or no table that can be opened; of such a file nothing stays.
    """
    ending = Path(name.replace("\0", "")).suffix.lower()
    if ending not in readers.FORMATS:
        raise InputError(name, f"expected a file ending in {listing(readers.FORMATS)}, found {ending or 'none'}")
    if len(content) > MOST_BYTES:
        raise InputError(
            name,
            f"holds {size(len(content))}; at most {MOST_UPLOADED_MB} MB are taken here. Give its path on this machine instead: "
            "files there may be of any size",
        )
    if not content:
        raise InputError(name, "is empty: expected a header and rows")
    place = folder / hashlib.sha256(content).hexdigest()
    path = place / f"data{ending}"
    is_known = path.is_file()
    if not is_known:
        write_atomic(path, content)
    write_atomic(place / NAME_FILE, name)
    try:
        readers.open_table(path)
    except InputError as error:
        if not is_known:
            shutil.rmtree(place)
        raise InputError(name, error.faults) from None
    return path


def shown_name(path: Path) -> str:
    """What the user calls a file: of an uploaded one the name it came with."""
    try:
        return (path.parent / NAME_FILE).read_text("utf-8") if path.stem == "data" else path.name
    except OSError:
        return path.name


def local_file(typed: str) -> Path:
    """The file or folder of a path that somebody typed; InputError where there is none."""
    path = Path(os.path.expanduser(typed.strip().strip("\"'")))
    if not os.path.exists(path):
        raise InputError(typed, "no such file or folder on the machine that the studio runs on")
    return Path(os.path.abspath(path))
