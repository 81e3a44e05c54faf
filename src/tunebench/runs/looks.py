"""How often a run's test rows were looked at: by a scoring, or by a page that shows some of them. No torch."""

from __future__ import annotations

from collections.abc import Iterable

from tunebench.errors import TunebenchError
from tunebench.events import Looked, Scored
from tunebench.runs.run import Run

TEST = "test"


def looks_at_test(run: Run) -> int:
    """Looks at the test rows so far; the one that every finished run has is its own score."""
    return sum(isinstance(event, Scored | Looked) and event.split == TEST for event in run.events())


def count_looks(runs: Iterable[Run], by: str) -> list[str]:
    """Record in every run that the command ``by`` shows some of its test rows; words about runs that cannot be written."""
    uncounted = []
    for run in runs:
        try:
            run.record(Looked(TEST, by, looks_at_test(run) + 1))
        except TunebenchError as error:
            uncounted.append(f"{run.name}: its test rows are shown and that look cannot be counted: {error}")
    return uncounted
