"""What a comparison says while it is under way, to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Needs = Mapping[str, int]
"""Bytes by resource: ``ram``, ``gpu``."""
PAGES = ("report.html", "report.pdf", "comparison.csv", "comparison.json")
"""What of a comparison is shown, best first."""
LOGS = "logs"
"""Folder of a comparison with what every child said."""


@dataclass(frozen=True)
class Begun:
    """A child was started, the ``position``-th of ``total``; ``planned`` is the memory it is to need."""

    name: str
    position: int
    total: int
    planned: int | None


@dataclass(frozen=True)
class Ended:
    """A child has ended, with words where it failed; ``left`` are the seconds that those to come may take."""

    name: str
    position: int
    total: int
    seconds: float
    error: str | None
    done: int
    elapsed: float
    left: float


@dataclass(frozen=True)
class Going:
    """Where the children are: name, step and steps of each that has told."""

    steps: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Said:
    """Words for the user."""

    text: str


Told = Begun | Ended | Going | Said
Tell = Callable[[Told], None]
