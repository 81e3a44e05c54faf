"""Whether files are still the ones that were read, without reading them again."""

from __future__ import annotations

import os
from pathlib import Path

Stamp = tuple[tuple[str, int, int, int, int], ...]
"""Path, inode, size, times of the last change of content and of anything (nanoseconds), file by file."""


def stamp(*places: Path) -> Stamp:
    """A stamp of files and of the files directly in folders; it differs where one was changed, replaced, added or removed.

    Links are followed. What is not there, or goes while it is looked at, is left out.
    """
    found = []
    for place in places:
        try:
            paths = sorted(place.iterdir()) if place.is_dir() else [place]
        except OSError:
            continue
        for path in paths:
            try:
                status = os.stat(path)
            except OSError:
                continue
            found.append((str(path), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return tuple(found)
