"""How a comparison under way looks on a terminal."""

from __future__ import annotations

import shutil
import sys
from typing import TextIO

from tunebench.comparing.telling import Begun, Ended, Going, Said, Told
from tunebench.terminal import clock, printable


class CellLines:
    """Progress of a comparison on standard error: a line per cell, and on a terminal where those are that run."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._width = 0

    def __call__(self, told: Told) -> None:
        """Show what is told."""
        if isinstance(told, Going):
            self._show_going(told)
            return
        clear = "\r" + " " * self._width + "\r" if self._width else ""
        self._width = 0
        self._stream.write(f"{clear}{printable(_line(told))}\n")
        self._stream.flush()

    def _show_going(self, told: Going) -> None:
        if not self._stream.isatty():
            return
        text = printable("  ".join(f"{name}: step {step}/{total}" for name, step, total in told.steps))
        text = text[: shutil.get_terminal_size().columns - 1]  # a line that wraps cannot be written over
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)


def _line(told: Begun | Ended | Said) -> str:
    if isinstance(told, Said):
        return told.text
    place = f"[{told.position}/{told.total}] {told.name}"
    if isinstance(told, Begun):
        return place + (": begins" if told.planned is None else f": begins, planned to need {told.planned / 1e9:.2f} GB at most")
    end = f"finished in {clock(told.seconds)}" if told.error is None else f"FAILED after {clock(told.seconds)}: {told.error}"
    left = f", about {clock(told.left)} left" if told.done < told.total else ""
    return f"{place}: {end}; {told.done} of {told.total} done in {clock(told.elapsed)}{left}"
