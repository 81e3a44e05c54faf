"""A folder that one job at a time writes into: files appear whole or not at all, and a lock goes with its process."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from tunebench.errors import InputError, TunebenchError, listing
from tunebench.runs.cache import write_atomic
from tunebench.runs.disk import as_os_errors, remedy

LOCK_ATTEMPTS = 5
NO_LOCKS = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK}
"""What a disk without locks says, such as a mounted drive: work goes on there, and nothing tells two processes of each other."""


class Folder:
    """A run directory, or the directory of a chain of runs, as files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file whole or not at all."""
        write_atomic(self.path / name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a text file whole or not at all; folders in ``name`` are made."""
        write_atomic(self.path / name, text)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one process; the lock goes with the process, however it ends."""
        with self.writing():
            file = (self.path / ".lock").open("a")
        with file:
            with self.writing():
                self._take(file)
            yield

    def _take(self, file: IO[str]) -> None:
        for attempt in range(LOCK_ATTEMPTS):  # a reader of the status holds it for an instant
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if attempt + 1 == LOCK_ATTEMPTS:
                    raise TunebenchError(f"{self.path}: another process is at work on this run; wait for it or stop it") from None
                time.sleep(0.02)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                return

    def is_locked(self) -> bool:
        """Say whether a process holds the folder."""
        try:
            with (self.path / ".lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what the disk refuses in this block into a TunebenchError that names the run and a remedy."""
        try:
            with as_os_errors():
                yield
        except OSError as error:
            culprit = f": {error.filename}" if error.filename else ""
            raise TunebenchError(
                f"{self.path}: cannot be written ({error.strerror or error}{culprit}); {remedy(error, 'give --runs')}"
            ) from error

    def make(self) -> None:
        """Make the folder; TunebenchError where that cannot be."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TunebenchError(f"{self.path}: cannot be made ({error.strerror}); {remedy(error, 'give --runs')}") from error

    def _text(self, name: str) -> str:
        try:
            return (self.path / name).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            raise InputError(str(self.path / name), f"not readable ({reason}); the run directory is damaged") from None

    def _read(self, name: str, needed: Sequence[str]) -> dict[str, Any]:
        """A JSON file that is an object with at least the keys ``needed``."""
        path = self.path / name
        try:
            found = json.loads(self._text(name))
        except ValueError as error:
            raise InputError(str(path), f"not readable as JSON ({error}); the run directory is damaged") from None
        lacking = [key for key in needed if not isinstance(found, dict) or key not in found]
        if not isinstance(found, dict) or lacking:
            raise InputError(str(path), f"lacks {listing(lacking) or 'a JSON object'}; the run directory is damaged")
        return found
