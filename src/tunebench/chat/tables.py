"""A dropped table: named safely, answered by a child ``tunebench predict``, given back."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunebench.data.readers import FORMATS
from tunebench.errors import TunebenchError
from tunebench.terminal import printable

_ROWS = re.compile(r"\r([\d,]+) rows, ")
_MOST_NAME = 80
_FORMAT_BACK = {".json": ".jsonl"}
"""What is given back for what nothing is written as."""


def plain_name(name: str) -> str:
    """A file's name as its owner knows it: the last part of a path, printable, not too long."""
    last = printable(re.split(r"[/\\]", name)[-1]).strip()
    stem, suffix = os.path.splitext(last)
    return f"{stem[:_MOST_NAME]}{suffix[:10]}" or "table"


def table_suffix(name: str) -> str | None:
    """The ending that tells how a file is read, ``.csv``; None where it is no table's."""
    suffix = os.path.splitext(plain_name(name))[1].lower()
    return suffix if suffix in FORMATS else None


def name_back(name: str, run: str) -> str:
    """What the answered table is called: ``reviews.csv`` by ``films`` becomes ``reviews-films.csv``."""
    stem, suffix = os.path.splitext(plain_name(name))
    by = re.sub(r"[^\w.-]+", "-", run).strip("-")
    return f"{stem}-{by[:_MOST_NAME]}{_FORMAT_BACK.get(suffix.lower(), suffix.lower())}"


class Table:
    """One upload in a folder of its own, which ``remove`` takes away."""

    def __init__(self, folder: Path, uploaded: Path, name: str, run: str, runs: Path) -> None:
        folder.mkdir(parents=True)
        suffix = table_suffix(name) or ".csv"
        self._folder, self._name = folder, plain_name(name)
        self._source, self.output = folder / f"table{suffix}", folder / f"answered{_FORMAT_BACK.get(suffix, suffix)}"
        self._command = [sys.executable, "-P", "-m", "tunebench.cli", "predict", "--runs", str(runs), "--json"]
        self._command += ["--output", str(self.output), "--", run, str(self._source)]
        self._process: subprocess.Popen[str] | None = None
        shutil.copyfile(uploaded, self._source)

    def answer(self, on_rows: Callable[[int], None]) -> dict[str, Any]:
        """Answer every row into ``output``; what `tunebench predict --json` says of it.

        ``on_rows`` hears how many rows are done. Raises TunebenchError in the child's words.
        """
        ours, theirs = os.openpty()  # how far it is, a command tells terminals only
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, text=True, start_new_session=True
            )
        finally:
            os.close(theirs)
        with os.fdopen(ours, "rb", buffering=0) as terminal:
            said = _listen(terminal.fileno(), on_rows)
        result, _ = self._process.communicate()
        if self._process.returncode:
            raise TunebenchError(self._reason(said))
        return dict(json.loads(result))

    def stop(self) -> None:
        """End the child where it is still at work."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    def remove(self) -> None:
        """Take the upload and its answers away."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _reason(self, said: str) -> str:
        """What the child gave as the reason, with the file called what its owner calls it."""
        _, found, reason = said.rpartition("error: ")
        words = " ".join(reason.split()) if found else "the process ended before it was done; is the memory too small?"
        return printable(words.replace(str(self._source), self._name))


def _listen(terminal: int, on_rows: Callable[[int], None]) -> str:
    said = ""
    while True:
        try:
            heard = os.read(terminal, 4096)
        except OSError:  # the other side is closed
            return said
        if not heard:
            return said
        said += heard.decode("utf-8", "replace")
        rows = _ROWS.findall(said)
        if rows:
            on_rows(int(rows[-1].replace(",", "")))
        said = said[-10_000:]
