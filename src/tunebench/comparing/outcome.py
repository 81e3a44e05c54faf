"""What comes of the cells: runs and failures as the rows of a comparison, their speed, and the files that show all of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunebench.benching.bench import threads_here
from tunebench.benching.contestants import Asked
from tunebench.compare.comparison import Failure, Group, Limits, assemble
from tunebench.compare.pdf import write_pdf
from tunebench.compare.report import write_html
from tunebench.compare.table import as_csv
from tunebench.comparing.cells import Cell, Row
from tunebench.comparing.processes import Task, run_tasks, tunebench
from tunebench.comparing.soundness import Sound
from tunebench.comparing.telling import LOGS, PAGES, Needs, Said, Tell
from tunebench.errors import TunebenchError
from tunebench.runs import environment
from tunebench.runs.cache import write_atomic
from tunebench.runs.exports import BENCH, TORCH_INT8, forms
from tunebench.runs.index import find_run
from tunebench.runs.looks import count_looks, looks_at_test
from tunebench.runs.run import Run

TIMED_ROWS, TIMED_ROUNDS = 64, 2
"""Fewer than `tunebench bench` takes by itself: a comparison of six small models is timed within two minutes."""


def tasks_of(
    rows: Sequence[Row], sound: Sequence[Sound], needs: Mapping[str, Needs | None], runs: Path, output: Path
) -> list[Task]:
    """The trainings that are to be done: every cell that is no finished run."""
    return [
        Task(
            cell.name,
            tunebench("train", cell.source, "--runs", str(runs)),
            output / LOGS / f"{cell.name}.log",
            runs / cell.name,
            needs.get(row.name),
        )
        for row, known in zip(rows, sound, strict=True)
        for cell in row.cells
        if cell.name not in known.finished
    ]


def groups_of(rows: Sequence[Row], errors: Mapping[str, str | None], runs: Path) -> list[Group]:
    """The rows with the runs that their cells became, or with what was wrong."""
    return [Group(row.name, row.origin, _command(row, runs), [_result(cell, errors, runs) for cell in row.cells]) for row in rows]


def _result(cell: Cell, errors: Mapping[str, str | None], runs: Path) -> Run | Failure:
    error = errors.get(cell.name)
    if error is None:
        try:
            return cell.taken or find_run(str(runs / cell.name), runs)
        except TunebenchError as fault:
            error = str(fault)
    return Failure(cell.name, cell.seed, error)


def _command(row: Row, runs: Path) -> str:
    first = row.cells[0]
    source = first.source if first.taken is None else str(first.taken.path / "recipe.yaml")
    return shlex.join(["tunebench", "train", source, "--runs", str(runs)])


def time_runs(groups: Sequence[Group], runs: Path, output: Path, tell: Tell) -> None:
    """Time one run of every row, in turns and in a process of their own, where its figures are not those of this machine."""
    firsts = [next((cell for cell in group.cells if isinstance(cell, Run)), None) for group in groups]
    stale = [run for run in firsts if run is not None and not is_timed(run)]
    if not stale:
        return
    tell(Said(f"timing {len(stale)} of {len(groups)} rows, one run each"))
    paths = [str(run.path) for run in stale]
    asked = ["--rows", str(TIMED_ROWS), "--rounds", str(TIMED_ROUNDS), "--runs", str(runs), "--json"]
    task = Task("bench", tunebench("bench", *paths, *asked), output / LOGS / "bench.log")
    if error := run_tasks([task], 1, {}, lambda told: None)["bench"]:
        tell(Said(f"warning: not timed: {error}"))


def is_timed(run: Run) -> bool:
    """Say whether a run's ``bench.json`` speaks of its present forms on this machine, with the settings of `tunebench bench`."""
    try:
        known, base = json.loads((run.path / BENCH).read_text("utf-8")), run.recipe.base
        wanted = {
            "batch_size": Asked.batch_size,
            "max_length": base.max_length if base else None,
            "threads": threads_here(),
            "hardware": environment.hardware(),
            "weights": run.manifest.get("end_weights"),
        }
        there = set(forms(run)) - {TORCH_INT8}
        return all(known.get(key) == value for key, value in wanted.items()) and there <= set(known["forms"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def assembled(groups: Sequence[Group], limits: Limits, tell: Tell) -> dict[str, Any]:
    """The comparison; that it shows rows of the test split is counted in every run."""
    found, uncounted = _looked_at(groups, "compare", limits)
    for words in uncounted:
        tell(Said(f"warning: {words}"))
    return found


def _looked_at(groups: Sequence[Group], by: str, limits: Limits | None = None) -> tuple[dict[str, Any], list[str]]:
    """The comparison with this look counted, and words about runs that cannot count; unfit runs are refused before."""
    found = assemble(groups, limits)
    uncounted = count_looks([run for group in groups for run in group.runs], by)
    looks = {str(run.path): looks_at_test(run) for group in groups for run in group.runs}
    for cell in (cell for row in found["rows"] for cell in row["cells"]):
        cell["looks"] = looks.get(cell["path"])
    return found, uncounted


def report_of(run: Run, folder: Path) -> dict[str, Any]:
    """The pages of one run."""
    command = shlex.join(["tunebench", "train", str(run.path / "recipe.yaml"), "--runs", str(run.path.parent)])
    found, uncounted = _looked_at([Group(run.name, str(run.path), command, [run])], "report")
    files = [folder / name for name in PAGES[:2]]
    for write, path in zip((write_html, write_pdf), files, strict=True):
        write(found, path)
    return {"run": run.name, "files": [str(path) for path in files], "looks": looks_at_test(run), "remarks": uncounted}


def write_pages(comparison: dict[str, Any], output: Path) -> None:
    """Write the ``PAGES`` of a comparison, each of which is there whole or as it was."""
    write_html(comparison, output / PAGES[0])
    write_pdf(comparison, output / PAGES[1])
    write_atomic(output / PAGES[2], as_csv(comparison["rows"]))
    write_atomic(output / PAGES[3], json.dumps(comparison, indent=2, ensure_ascii=False) + "\n")
