"""What can be known of a comparison before hours of training: that every cell can be trained, and compared with the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebench.binding import bind_recipe
from tunebench.compare.comparison import unfit
from tunebench.comparing.cells import Cell, Row, joined
from tunebench.data.dataset import Dataset
from tunebench.data.items import flat
from tunebench.errors import InputError
from tunebench.fitting import need_train_extra
from tunebench.recipe.spec import TEXT_TASKS, Recipe
from tunebench.recipe.stages import StagedRecipe
from tunebench.runs import trackers
from tunebench.runs.run import Run, is_run, what_differs


@dataclass(frozen=True)
class Sound:
    """A row that can be trained and compared.

    ``test`` is the digest of its test rows, ``identity`` what decides its runs (None of a recipe with stages),
    ``characters`` the size of its texts, ``finished`` the names of its cells for which nothing is to be done.
    """

    test: str | None
    labels: Mapping[str, Any]
    identity: dict[str, Any] | None = None
    characters: int = 0
    finished: frozenset[str] = frozenset()


def looked_over(rows: Sequence[Row], runs: Path) -> list[Sound]:
    """Every row with all that it names found, read and digested.

    InputError with the faults of all of them: unsound data, no test rows, other test rows or labels than the first one's, a
    finished run of other settings in the place of a cell.
    """
    if any(cell.taken is None for row in rows for cell in row.cells):
        need_train_extra()
    found: list[Sound] = []
    errors: list[InputError] = []
    for row in rows:
        try:
            found.append(_sound(row, runs))
        except InputError as error:
            errors += [error] if str(error) not in map(str, errors) else []
    if errors:
        raise joined(errors)
    if faults := _unlike(rows, found):
        raise InputError("comparison", faults)
    return found


def _sound(row: Row, runs: Path) -> Sound:
    recipe = row.recipe
    if (run := row.cells[0].taken) is not None:
        return _of_run(row, run)
    if isinstance(recipe, Recipe) and recipe.search is not None:
        raise InputError(row.name, "search: `tunebench search` tries its space; to compare its settings, remove the section")
    trackers.require(recipe.report_to)
    *_, last = [bind_recipe(one) for one in (recipe.recipes() if isinstance(recipe, StagedRecipe) else [recipe])]
    if last.recipe.task in TEXT_TASKS:
        raise InputError(row.name, f"its task is {last.recipe.task}, which has no accuracy")
    if last.data.test is None:
        raise InputError(row.name, "has no test scores; its recipe has no test split")
    labels, size = last.data.labels.as_dict(), _characters(last.data)
    if isinstance(recipe, StagedRecipe):
        return Sound(last.data.test.digest(), labels, None, size)
    differing = [fault for cell in row.cells for fault in _differing(cell, last.identity, runs)]
    if differing:
        raise InputError(row.name, differing)
    finished = frozenset(cell.name for cell in row.cells if _is_done(Run(runs / cell.name), labels))
    return Sound(last.data.test.digest(), labels, last.identity, size, finished)


def _of_run(row: Row, run: Run) -> Sound:
    """Of runs that are there; what was not finished, or not scored, cannot be compared."""
    for one in (cell.taken for cell in row.cells if cell.taken is not None):
        if faults := unfit(one):
            raise InputError("comparison", faults)
    names = frozenset(cell.name for cell in row.cells)
    return Sound(run.manifest["data"]["test"]["digest"], run.manifest["labels"], run.manifest["identity"], finished=names)


def _characters(data: Dataset) -> int:
    return sum(len(flat(item)) for rows in data.splits().values() for item in rows.texts)


def _differing(cell: Cell, identity: Mapping[str, Any], runs: Path) -> list[str]:
    """Why the run that is in a cell's place is not the cell's."""
    if not is_run(runs / cell.name):
        return []
    run = Run(runs / cell.name)
    keys = what_differs(run, {**identity, "seed": cell.seed})
    remedy = "give the recipe another name, or another --runs"
    return [f"{run.path}: a run of this name exists and differs: {key}; {remedy}" for key in keys]


def _is_done(run: Run, labels: Mapping[str, Any]) -> bool:
    """Say whether a run needs no process; one that was not scored, or shows its labels otherwise than it now should, does."""
    if not is_run(run.path) or not run.is_finished() or (run.path / "checkpoints").exists():
        return False
    return bool(run.manifest["labels"] == labels and run.metrics.get("test"))


def _unlike(rows: Sequence[Row], found: Sequence[Sound]) -> list[str]:
    """What keeps rows from being compared with the first one."""
    (first, *others), name = zip(rows, found, strict=True), rows[0].name
    faults = []
    for row, sound in others:
        for what, own, its in (
            ("other test rows", sound.test, first[1].test),
            ("other labels", sound.labels["names"], first[1].labels["names"]),
        ):
            if own != its:
                faults.append(f"{row.name}: {what} than {name} ({own!s:.60} against {its!s:.60}); only like can be compared")
                break
    return faults
