"""Ctrl-C and SIGTERM while training: stop at once, but never between a change of the weights and its record."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Asked(BaseException):
    """The user asked to stop, and everything that is kept is whole at this moment."""


class Stopping:
    """Turns SIGINT and SIGTERM into ``Asked``, raised only inside ``interruptible`` blocks.

    A signal that comes elsewhere waits for the next such block; a second one there is a plain KeyboardInterrupt, with
    which nothing more can be kept. Use as a context manager; outside the main thread, where Python delivers no signals, it
    changes nothing.
    """

    def __init__(self) -> None:
        self.asked = False
        self._open = self._deaf = False
        self._earlier: dict[signal.Signals, object] = {}

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            self._earlier = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal itself gave

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block that may be broken off anywhere: it computes, and changes nothing that is kept."""
        if self.asked:
            raise Asked
        self._open = True
        try:
            yield
        finally:
            self._open = False

    def hear_no_more(self) -> None:
        """From here on signals change nothing: the last moment is being kept."""
        self._deaf = True

    def _hear(self, number: int, frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        if self._open:
            self._open = False  # one is enough; the next would break into what follows
            raise Asked
        if again and not self._deaf:
            raise KeyboardInterrupt
