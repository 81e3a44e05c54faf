"""The directory of a search: one file that says all of it, and a run per trial beside it.

``search.json`` is rewritten whole at every change, so a search that is killed at any instant goes on from what stands there.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tunebench.errors import InputError, listing
from tunebench.recipe.load import dump_recipe
from tunebench.recipe.resolve import differing_keys
from tunebench.recipe.spec import Recipe
from tunebench.runs.folder import Folder
from tunebench.runs.run import Run, is_leftover

FORMAT = 1
FILE, TRIALS, BEST = "search.json", "trials", "best.yaml"
NEEDED = ("format", "identity", "trials")
State = Literal["begun", "finished", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """One trial, the ``number``-th from 1 on: what was tried, and what came of it.

    ``scores`` are those of its evaluations, in order, as far as they were judged; ``value`` is the score of the weights that
    were kept at ``step``, of a pruned trial its last one. ``seconds`` are those of training.
    """

    number: int
    settings: dict[str, Any]
    state: State = "begun"
    value: float | None = None
    step: int | None = None
    scores: tuple[float, ...] = ()
    seconds: float | None = None
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For files and programs."""
        return dataclasses.asdict(self) | {"scores": list(self.scores)}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Trial:
        """The trial behind ``as_dict``."""
        return cls(**{**found, "scores": tuple(found["scores"])})


class Ledger(Folder):
    """The directory of a search, ``<name>-search`` beside the runs."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path)
        self.name = name
        self.trials: list[Trial] = []
        self._said: dict[str, Any] = {}

    def open(self, said: Mapping[str, Any], *, force: bool) -> None:
        """Take up what is there, or begin. ``said`` is what decides the search: its ``identity``, and what only describes it.

        InputError where something else stands there, or another search, naming what differs; with ``force`` that one goes.
        """
        if not (self.path / FILE).is_file():
            if any(not is_leftover(path.name) for path in self.path.iterdir()):
                raise InputError(str(self.path), "exists and is not a search; choose another name or --runs folder")
        else:
            found = self._read(FILE, NEEDED)
            differing = differing_keys(found["identity"], said["identity"])
            if differing and not force:
                raise InputError(
                    str(self.path),
                    [f"a search of this name exists and differs: {key}" for key in differing]
                    + ["give the recipe another name, or search anew in place of that one with --force"],
                )
            if differing:
                self._clear()
            else:
                self.trials = [Trial.from_dict(item) for item in found["trials"]]
        self._said = {"format": FORMAT, **said}
        self._write()
        for trial in self.trials:
            if trial.state in ("pruned", "failed"):
                self.tidy(trial)  # where the last attempt was killed just before

    def put(self, trial: Trial) -> None:
        """Write a trial down, in place of what was known of it."""
        self.trials = [*self.trials[: trial.number - 1], trial]
        self._write()

    def run(self, number: int) -> Run:
        """The run of a trial."""
        return Run(self.path / TRIALS / self.trial_name(number))

    def trial_name(self, number: int) -> str:
        """What the run of a trial is called."""
        return f"{self.name}-{number:03}"

    def recipe_of(self, number: int, recipe: Recipe) -> Path:
        """The recipe of a trial as a file."""
        name = f"{TRIALS}/{self.trial_name(number)}.yaml"
        self.write_text(name, dump_recipe(recipe.model_copy(update={"name": self.trial_name(number)})))
        return self.path / name

    def tidy(self, trial: Trial) -> None:
        """Give back the room of a trial that nothing is kept of but its figures."""
        run = self.run(trial.number).path
        shutil.rmtree(run if trial.state == "pruned" else run / "checkpoints", ignore_errors=True)

    def check_known(self, names: list[str]) -> None:
        """InputError where a trial that is written down has other settings than a search tries."""
        odd = [str(trial.number) for trial in self.trials if list(trial.settings) != names]
        if odd:
            raise InputError(str(self.path / FILE), f"trials {listing(odd)} have other settings; the file is damaged")

    def _write(self) -> None:
        with self.writing():
            self.write_json(FILE, self._said | {"trials": [trial.as_dict() for trial in self.trials]})

    def _clear(self) -> None:
        """Remove what a search left, its file last: until then the folder is one."""
        shutil.rmtree(self.path / TRIALS, ignore_errors=True)
        for name in (BEST, FILE):
            (self.path / name).unlink(missing_ok=True)
