"""What a run says while it works, folded: `events.jsonl` is read on from where it was left, and shown as curves and figures."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from tunebench.errors import TunebenchError
from tunebench.events import (
    Evaluated,
    Event,
    Failed,
    Finished,
    Proved,
    Resumed,
    Scored,
    Started,
    Step,
    Stopped,
    Warned,
    from_record,
)

_RECENT = 50
"""Steps from which the pace is taken: what was slow at the start is soon forgotten."""
_REMEMBERED = 200


@dataclass
class Live:
    """The state of a job. ``phase`` is ``preparing``, ``training``, ``scoring``, ``proving``, ``finished`` or ``failed``."""

    phase: str = "preparing"
    total_steps: int = 0
    device: str = ""
    precision: str = ""
    trainable: int = 0
    steps: list[Step] = field(default_factory=list)
    evaluations: list[Evaluated] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    resumed_at: int | None = None
    error: str | None = None

    def add(self, event: Event) -> None:
        """Take one event in."""
        if isinstance(event, Started):
            self.phase, self.total_steps, self.device, self.precision = (
                "training",
                event.total_steps,
                event.device,
                event.precision,
            )
            self.trainable = event.trainable_parameters
        elif isinstance(event, Resumed):
            self.phase, self.total_steps, self.resumed_at = "training", event.total_steps, event.step
        elif isinstance(event, Step):
            self.phase = "training"
            self.steps.append(event)
        elif isinstance(event, Evaluated) and event.split == "validation":
            self.evaluations.append(event)
        elif isinstance(event, Stopped):
            self.phase = "scoring"
        elif isinstance(event, Scored | Proved):
            self.phase = "proving"
        elif isinstance(event, Warned):
            self.warnings.append(event.message)
        elif isinstance(event, Finished):
            self.phase = "finished"
        elif isinstance(event, Failed):
            self.phase, self.error = "failed", event.message

    @property
    def step(self) -> int:
        """The last step that is done."""
        return self.steps[-1].step if self.steps else self.resumed_at or 0

    @property
    def share(self) -> float:
        """How much of the steps is done, from 0 to 1."""
        if self.phase in ("scoring", "proving", "finished"):
            return 1.0
        return min(1.0, self.step / self.total_steps) if self.total_steps else 0.0

    def pace(self) -> float | None:
        """Seconds per step of late, evaluations included; None before the second step."""
        recent = self.steps[-_RECENT:]
        if len(recent) < 2:
            return None
        seconds, steps = recent[-1].seconds - recent[0].seconds, recent[-1].step - recent[0].step
        return seconds / steps if steps > 0 and seconds >= 0 else None

    def seconds_left(self) -> float | None:
        """Until the last step, at the present pace; None where nobody can say."""
        pace = self.pace()
        return None if pace is None or self.phase != "training" else pace * (self.total_steps - self.step)


class Follower:
    """Reads a run's events as they come. A file that was cut, as a run that goes on does, is read anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.live = Live()
        self._offset, self._last, self._file = 0, b"", -1

    def read(self) -> Live:
        """The state by now; of the file only what was appended since."""
        try:
            with self._path.open("rb") as file:
                known = os.fstat(file.fileno())
                if known.st_ino != self._file or known.st_size < self._offset or not self._goes_on(file.fileno()):
                    self._begin_anew()
                self._file = known.st_ino
                file.seek(self._offset)
                content = file.read()
        except OSError:  # not there yet, or deleted meanwhile
            self._begin_anew()
            return self.live
        whole = content[: content.rfind(b"\n") + 1]
        for line in whole.splitlines():
            self._add(line)
        self._offset += len(whole)
        self._last = (self._last + whole)[-_REMEMBERED:]
        return self.live

    def _begin_anew(self) -> None:
        self.live = Live()
        self._offset, self._last = 0, b""

    def _goes_on(self, file: int) -> bool:
        """Whether what was read last still stands there: a file may be replaced by one as long."""
        return bool(os.pread(file, len(self._last), self._offset - len(self._last)) == self._last)

    def _add(self, line: bytes) -> None:
        try:
            self.live.add(from_record(json.loads(line)))
        except (ValueError, TypeError, AttributeError, TunebenchError):
            return  # a damaged line: the page Runs names the run as damaged, here the rest is shown


def thinned(steps: list[Step], most: int = 600) -> list[Step]:
    """At most so many of the steps, the last among them: what a figure can show."""
    stride = max(1, -(-len(steps) // most))
    return steps[::-1][::stride][::-1]


def smoothed(values: list[float], weight: float = 0.9) -> list[float]:
    """A running mean of noisy values, without the lean to zero at its start (Kingma & Ba 2015, bias correction)."""
    found, mean = [], 0.0
    for number, value in enumerate(values, 1):
        mean = weight * mean + (1 - weight) * value
        found.append(mean / (1 - weight**number))
    return found
