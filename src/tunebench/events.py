"""The records a job emits. Everything that a terminal, a studio or a tracker shows is a fold over them.

An event is a plain frozen value; the run numbers it and stamps the time when it is recorded. ``as_record``
and ``from_record`` are each other's inverse, so a reader sees exactly what the job said.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from tunebench.errors import TunebenchError


@dataclass(frozen=True)
class Event:
    """Base of all events; never emitted itself."""


@dataclass(frozen=True)
class Staged(Event):
    """A stage of a chain begins, the ``position``-th of ``stages``; told to whoever watches, as it is no run's own."""

    position: int
    stages: int
    name: str
    task: str
    logging_steps: int


@dataclass(frozen=True)
class Started(Event):
    """A job begins: how much there is to do."""

    total_steps: int
    train_rows: int
    trainable_parameters: int
    total_parameters: int
    precision: str = "float32"
    device: str = "cpu"


@dataclass(frozen=True)
class Resumed(Event):
    """An interrupted job goes on after this step, as if nothing had happened."""

    step: int
    total_steps: int


@dataclass(frozen=True)
class Step(Event):
    """One optimizer step. ``loss`` is the mean over the rows of the global step; seconds are since the start."""

    step: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    rows: int
    tokens: int
    padded_tokens: int
    seconds: float


@dataclass(frozen=True)
class Evaluated(Event):
    """A split was scored during training. ``best`` says that the weights of this step are the best so far."""

    step: int
    split: str
    scores: dict[str, float]
    best: bool
    seconds: float


@dataclass(frozen=True)
class Stopped(Event):
    """Training ended; ``reason`` says why: ``finished`` or ``early stopping``."""

    step: int
    best_step: int
    reason: str
    seconds: float


@dataclass(frozen=True)
class Scored(Event):
    """A sealed split was scored. ``look`` counts how often that has happened for this run.

    Tasks without labels have no accuracy, and a perplexity per character in its place.
    """

    split: str
    n: int
    accuracy: float | None
    look: int
    perplexity: float | None = None


@dataclass(frozen=True)
class Looked(Event):
    """Rows of a sealed split were shown to somebody, by the command ``by``; ``look`` goes on counting where scorings left off."""

    split: str
    by: str
    look: int


@dataclass(frozen=True)
class Proved(Event):
    """A saved form of the model was compared with the one that was trained."""

    name: str
    rows: int
    largest_difference: float
    label_flips: int
    tolerance: float
    passed: bool


@dataclass(frozen=True)
class Warned(Event):
    """Something the user should know; the job goes on."""

    message: str


@dataclass(frozen=True)
class Noted(Event):
    """Something the user can make use of; nothing is wrong."""

    message: str


@dataclass(frozen=True)
class Finished(Event):
    """The run is complete: every file named in ``files`` lies in the run directory."""

    files: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Failed(Event):
    """The job ended with an error."""

    message: str


KINDS: dict[str, type[Event]] = {
    kind.__name__.lower(): kind
    for kind in (Staged, Started, Resumed, Step, Evaluated, Stopped, Scored, Looked, Proved, Warned, Noted, Finished, Failed)
}


def as_record(event: Event) -> dict[str, Any]:
    """The event as a JSON object with its ``kind``."""
    return {"kind": type(event).__name__.lower(), **dataclasses.asdict(event)}


def from_record(record: dict[str, Any]) -> Event:
    """The event behind a JSON object; keys that number and date it are ignored."""
    kind = KINDS.get(record.get("kind", ""))
    if kind is None:
        raise TunebenchError(f"event of unknown kind {record.get('kind')!r}; known are {', '.join(KINDS)}")
    names = {item.name for item in dataclasses.fields(kind)}
    return kind(**{key: value for key, value in record.items() if key in names})
