"""A comparison: methods as rows, each with its runs, put together into the one value that table, report and PDF are made from."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunebench import __version__
from tunebench.compare.analysis import PREDICTIONS, Answers, TestedRows, read_answers, read_rows
from tunebench.compare.browser import error_browser
from tunebench.compare.choice import Limits, candidates, choose
from tunebench.compare.rows import Row, failed_row, intervals, row_of
from tunebench.compare.statements import Evidence, mean_accuracy, notes, pairs, statements
from tunebench.compare.timings import timing_notes
from tunebench.data.labels import LabelMap
from tunebench.errors import InputError, TunebenchError
from tunebench.recipe.matrix import UNSEEDED
from tunebench.recipe.spec import TEXT_TASKS
from tunebench.runs import environment
from tunebench.runs.run import Run

__all__ = ["Failure", "Group", "Limits", "assemble"]
FORMAT = 1


@dataclass(frozen=True)
class Failure:
    """A run that did not come about: its name, its seed, and what went wrong."""

    name: str
    seed: int | None
    error: str


@dataclass(frozen=True)
class Group:
    """A row of the table: a method under its seeds, the recipe or run it came from, and the command behind it."""

    name: str
    source: str
    command: str | None
    cells: Sequence[Run | Failure]

    @property
    def runs(self) -> list[Run]:
        """The runs that are there."""
        return [cell for cell in self.cells if isinstance(cell, Run)]


def assemble(groups: Sequence[Group], limits: Limits | None = None) -> dict[str, Any]:
    """The comparison of all groups, best accuracy first and failed ones last, as a value that JSON can hold.

    Raises InputError, naming all of it, where runs cannot be compared: other test rows or labels, no scores, no kept
    predictions, two rows of one name; TunebenchError where no run is there at all. A single group is a comparison without
    statements.
    """
    limits = limits or Limits()
    _check(groups)
    finished = [group for group in groups if group.runs]
    first = finished[0].runs[0]
    labels, tested = LabelMap.from_dict(first.manifest["labels"]), _tested(finished)
    answers = {group.name: [read_answers(run, tested.gold) for run in group.runs] for group in finished}
    finished.sort(key=lambda group: (-mean_accuracy(answers[group.name]), group.name))
    unseeded = frozenset(group.name for group in finished if group.runs[0].recipe.method.kind in UNSEEDED)
    evidence = Evidence(tested, {group.name: answers[group.name] for group in finished}, unseeded)
    draws = evidence.draws() if evidence.resampled else {}
    rows = [_row(group, answers[group.name], tested, draws.get(group.name)) for group in finished]
    rows += [failed_row(rows[0], group.name, group.source, group.command, _failures(group)) for group in groups if not group.runs]
    able, refused = candidates(rows, limits)
    wanted = pairs(list(evidence.methods), _references(rows, able[0].name if able else None))
    made = statements(evidence, wanted, draws)
    reading = {row["run"]: answers[row["run"]] for row in rows if row["error"] is None and row["family"] != "constant"}
    return {
        "format": FORMAT,
        "tunebench": __version__,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "hardware": environment.hardware(),
        "test": {
            "rows": len(tested.gold),
            "digest": first.manifest["data"]["test"]["digest"],
            "labels": list(labels.names),
            "positive": labels.positive,
            "display": labels.display,
            "groups": tested.group_by,
            "groups_total": None if tested.groups is None else int(tested.groups.max()) + 1,
        },
        "rows": rows,
        "statements": made,
        "statement_notes": notes(evidence, len(made)),
        "timing_notes": timing_notes([row for row in rows if row["error"] is None]),
        "choice": choose(able, refused, made, limits),
        "browser": error_browser(first, tested, labels.names, reading or evidence.methods),
    }


def _tested(finished: Sequence[Group]) -> TestedRows:
    """The test rows, as a run that kept their groups has them, where there is one."""
    found = None
    for group in finished:
        rows = read_rows(group.runs[0])
        if rows.groups is not None:
            return rows
        found = found or rows
    assert found is not None
    return found


def _row(group: Group, answers: Sequence[Answers], tested: TestedRows, drawn: np.ndarray | None) -> Row:
    row = row_of(group.name, group.source, group.command, group.runs, answers, tested)
    row |= intervals(row, group.runs[0].metrics["test"], answers, tested, drawn)
    cells, failed = iter(row["cells"]), iter(_failures(group))
    return row | {"cells": [next(cells) if isinstance(cell, Run) else next(failed) for cell in group.cells]}


def _failures(group: Group) -> list[dict[str, Any]]:
    """The cells of a group that failed, under the keys of all cells."""
    nothing = dict.fromkeys(("path", "accuracy", "f1_macro", "ece", "looks"))
    failed = [cell for cell in group.cells if isinstance(cell, Failure)]
    return [{"run": cell.name, "seed": cell.seed, **nothing, "error": cell.error} for cell in failed]


def _references(rows: Sequence[Row], leader: str | None) -> list[str | None]:
    """What every row is set against: the best, the best within the limits, the best TF-IDF."""
    bar = next((row["run"] for row in rows if row["method"] == "tfidf"), None)
    return [rows[0]["run"], leader, bar]


def _check(groups: Sequence[Group]) -> None:
    """InputError with everything that stands against comparing these groups."""
    names, runs = [group.name for group in groups], [run for group in groups for run in group.runs]
    doubled = sorted({name for name in names if names.count(name) > 1})
    faults = [f"several rows are named {name!r}; give each recipe a name of its own" for name in doubled]
    if not runs and not faults:
        told = [f"{cell['run']}: {cell['error']}" for group in groups for cell in _failures(group)]
        raise TunebenchError("comparison: no run is there to be compared\n" + "\n".join(f"  - {line}" for line in told))
    for run in runs:
        faults += unfit(run)
    if not faults:
        faults += [fault for run in runs[1:] for fault in _differing(run, runs[0])]
    if faults:
        raise InputError("comparison", faults)


def unfit(run: Run) -> list[str]:
    """Why a run can stand in no comparison."""
    if run.recipe.task in TEXT_TASKS:
        place = run.path / "metrics.json"
        return [f"{run.name}: its task is {run.recipe.task}, which has no accuracy; its perplexities stand in {place}"]
    if not run.metrics.get("test"):
        status = run.status()
        why = "its recipe has no test split" if status == "finished" else f"it is {status}, finish it with `tunebench train`"
        return [f"{run.name}: has no test scores; {why}"]
    if not (run.path / PREDICTIONS).is_file():
        return [
            f"{run.name}: has no {PREDICTIONS}, and only answers to the same rows can be compared; restore it, or train again"
        ]
    return []


def _differing(run: Run, first: Run) -> list[str]:
    """What of a run's test rows and labels is not as in the first one."""
    ours, theirs = run.manifest, first.manifest
    rows, other = ours["data"]["test"], theirs["data"]["test"]
    faults = []
    if rows["digest"] != other["digest"]:
        count = f"{rows['rows']:,} against {other['rows']:,}" if rows["rows"] != other["rows"] else f"{rows['rows']:,} others"
        faults.append(
            f"{run.name}: other test rows than {first.name} ({count}; {rows['digest']:.12} against {other['digest']:.12}); "
            "only like can be compared"
        )
    names, known = ours["labels"]["names"], theirs["labels"]["names"]
    if names != known:
        faults.append(
            f"{run.name}: other labels than {first.name} ({names!s:.60} against {known!s:.60}); only like can be compared"
        )
    return faults
