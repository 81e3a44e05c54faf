"""Words for what a disk refuses, whoever was writing: Python itself, Arrow or safetensors."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from tunebench.errors import TunebenchError

FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_NOT_A_FOLDER = {errno.ENOTDIR, errno.EEXIST}
_NUMBER = re.compile(r"\(os error (\d+)\)")


@contextmanager
def explained(place: Path, elsewhere: str) -> Iterator[None]:
    """Turn an OSError into a TunebenchError about ``place``; ``elsewhere`` begins the words about another folder."""
    try:
        with as_os_errors():
            yield
    except OSError as error:
        culprit = f" ({error.filename})" if error.filename else ""
        raise TunebenchError(
            f"cannot write {place.name} in {place.parent}: {error.strerror or error}{culprit}; {remedy(error, elsewhere)}"
        ) from error


@contextmanager
def as_os_errors() -> Iterator[None]:
    """safetensors tells what the disk said in an error of its own: it becomes the OSError that it was. Others pass through."""
    try:
        yield
    except SafetensorError as error:
        found = _NUMBER.search(str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from error


def remedy(error: OSError, elsewhere: str) -> str:
    """What to do about it; ``elsewhere`` begins the words about another folder, such as ``choose``."""
    if error.errno in FULL_DISK:
        return f"free some space, or {elsewhere} a folder on another disk"
    if error.errno in _READ_ONLY:
        return f"make the folder writable, or {elsewhere} another one"
    if error.errno in _NOT_A_FOLDER:
        return f"a file stands where a folder is needed: move it away, or {elsewhere} another folder"
    return f"check the disk and run again, or {elsewhere} another folder"
