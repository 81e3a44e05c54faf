"""The starter comparison: what a newcomer's first click trains, and how far each of its trainings is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tunebench.errors import TunebenchError
from tunebench.events import Resumed, Started, Step
from tunebench.runs.run import Run, is_run

KIND: Literal["starter"] = "starter"
"""What its job is called in the queue."""
PRESETS = ("starter-majority", "starter-tfidf", "starter-full", "starter-lora", "starter-ia3", "starter-head")
"""The main job of the project: what `make demo` compares."""


@dataclass(frozen=True)
class Cell:
    """One training: its state as a run's status or ``waiting``, the share that is done, and its accuracy once it is there."""

    run: str
    state: str
    done: float
    accuracy: float | None


def commands(runs: Path) -> list[list[str]]:
    """What is called, one after the other: fetch model and reviews, train and compare into the runs folder."""
    return [["starter"], ["compare", *PRESETS, "--runs", str(runs), "--output", str(runs)]]


def cells(runs: Path, names: Sequence[str] = PRESETS) -> list[Cell]:
    """Where each training is, as far as its folder tells."""
    return [_cell(runs / name, name) for name in names]


def _cell(path: Path, name: str) -> Cell:
    if not is_run(path):
        return Cell(name, "waiting", 0.0, None)
    run = Run(path)
    try:
        state = run.status()
        if state == "finished":
            return Cell(name, state, 1.0, (run.metrics.get("test") or {}).get("accuracy", {}).get("value"))
        return Cell(name, state, _done(run), None)
    except (TunebenchError, OSError):
        return Cell(name, "damaged", 0.0, None)


def _done(run: Run) -> float:
    """The share of the steps that are done."""
    step = total = 0
    for event in run.events(Started, Resumed, Step):
        if isinstance(event, Started | Resumed):
            total = event.total_steps
        if isinstance(event, Step | Resumed):
            step = event.step
    return min(1.0, step / total) if total else 0.0
