"""The run directory: the only truth about what a job did. Torch-free; everything else is a view of it.

recipe.yaml  manifest.json  events.jsonl  metrics.json  predictions.parquet  splits.json
adapter/ or model/   merged/   checkpoints/   figures/
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from tunebench.errors import InputError, TunebenchError, listing
from tunebench.events import Event, Failed, Finished, Stopped, as_record, from_record
from tunebench.recipe import load, spec
from tunebench.recipe.resolve import differing_keys
from tunebench.runs.cache import cached, file_digest, write_atomic

FORMAT_VERSION = 1
STARTER_RUN = "starter"
_SHIPPED = Path(str(resources.files("tunebench") / "starter_run"))


class Run:
    """One run directory, opened for reading or for writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._numbered = 0

    @property
    def name(self) -> str:
        """The name in its recipe, which is the name of its folder."""
        return self.path.name

    @property
    def manifest(self) -> dict[str, Any]:
        """What was decided before the job began: versions, digests, labels, hardware."""
        return self._read("manifest.json")

    @property
    def metrics(self) -> dict[str, Any]:
        """What was measured at the end; empty while there is nothing."""
        return self._read("metrics.json") if (self.path / "metrics.json").is_file() else {}

    @property
    def recipe(self) -> spec.Recipe:
        """The resolved recipe of this run."""
        path = self.path / "recipe.yaml"
        return load.validate(load.parse_yaml(path.read_text("utf-8"), str(path)), str(path))

    @property
    def weights(self) -> Path:
        """The folder with what was trained: ``adapter/`` or ``model/``."""
        return self.path / ("adapter" if self.recipe.method.kind in ("lora", "ia3") else "model")

    def events(self) -> Iterator[Event]:
        """Everything the job said, in order; a half-written last line is left out."""
        path = self.path / "events.jsonl"
        if not path.is_file():
            return
        with path.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    yield from_record(json.loads(line))

    def status(self) -> str:
        """``finished``, ``failed``, ``running`` or ``interrupted``: a fold over the events and the lock."""
        last: Event | None = None
        for last in self.events():  # noqa: B007 - the last one counts
            pass
        if isinstance(last, Finished) or any(isinstance(event, Finished) for event in self.events()):
            return "finished"
        if isinstance(last, Failed):
            return "failed"
        return "running" if self._is_locked() else "interrupted"

    def record(self, event: Event) -> None:
        """Append an event, numbered and dated, and flush it."""
        record = {"number": self._numbered, "time": round(time.time(), 3), **as_record(event)}
        with self._explained(), (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()
        self._numbered += 1

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file whole or not at all."""
        write_atomic(self.path / name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a text file whole or not at all; folders in ``name`` are made."""
        write_atomic(self.path / name, text)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for one process; the lock goes with the process, however it ends."""
        with self._explained(), (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TunebenchError(f"{self.path}: another process is at work on this run; wait for it or stop it") from None
            yield

    def _is_locked(self) -> bool:
        path = self.path / ".lock"
        if not path.is_file():
            return False
        with path.open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _read(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            found = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(str(path), f"not readable ({error}); the run directory is damaged") from None
        if not isinstance(found, dict):
            raise InputError(str(path), "expected a JSON object; the run directory is damaged")
        return found

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TunebenchError(
                f"{self.path}: cannot be written ({error.strerror}); free some space or choose another --runs folder"
            ) from error


def create_run(runs: Path, recipe: spec.Recipe, manifest: dict[str, Any]) -> Run:
    """A run directory to work in: new, or begun again where an earlier attempt did not finish.

    Raises InputError where a run of this name was made by another recipe, data or base, naming what differs.
    """
    run = Run(runs / recipe.name)
    if (run.path / "manifest.json").is_file():
        differing = differing_keys(run.manifest["identity"], manifest["identity"])
        if differing:
            raise InputError(
                str(run.path),
                [f"a run of this name exists and differs: {key}" for key in differing]
                + ["give the recipe another name, or remove that folder"],
            )
    elif run.path.exists() and any(run.path.iterdir()):
        raise InputError(str(run.path), "exists and is not a run; choose another name or --runs folder")
    try:
        run.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TunebenchError(f"{run.path}: cannot be made ({error.strerror}); choose another --runs folder") from error
    (run.path / "events.jsonl").unlink(missing_ok=True)
    run.write_json("manifest.json", manifest)
    run.write_text("recipe.yaml", load.dump_recipe(recipe))
    return run


def finished_run(runs: Path, name: str, identity: dict[str, Any]) -> Run | None:
    """The run of this name if it is finished and was made from the same recipe, data and base."""
    run = Run(runs / name)
    if not (run.path / "manifest.json").is_file() or run.manifest.get("identity") != identity:
        return None
    return run if run.status() == "finished" else None


def find_run(name: str, runs: Path) -> Run:
    """A run by path, by its name under ``runs``, or the shipped ``starter``; InputError says what there is."""
    for path in (Path(name), runs / name):
        if (path / "manifest.json").is_file():
            return Run(path.resolve())
    if name == STARTER_RUN and (_SHIPPED / "manifest.json").is_file():
        return _unpacked_starter()
    known = [run.name for run in list_runs(runs)] + [STARTER_RUN]
    raise InputError(name, f"no such run here; runs in {runs} are {listing(known)}; `tunebench train RECIPE` makes one")


def _unpacked_starter() -> Run:
    """The shipped run, copied into the cache: what is done with it must not write into the installed package."""

    def copy(folder: Path) -> None:
        shutil.copytree(_SHIPPED, folder / STARTER_RUN)

    return Run(cached("starter-run", file_digest(_SHIPPED / "manifest.json"), copy) / STARTER_RUN)


def list_runs(runs: Path) -> list[Run]:
    """All run directories directly under a folder, by name."""
    if not runs.is_dir():
        return []
    return [Run(path) for path in sorted(runs.iterdir()) if (path / "manifest.json").is_file()]


def summary(run: Run) -> dict[str, Any]:
    """One line about a run for lists; a damaged run says so instead of failing the list."""
    try:
        recipe, metrics = run.recipe, run.metrics
        test = metrics.get("test") or {}
        stopped = next((event for event in run.events() if isinstance(event, Stopped)), None)
        return {
            "run": run.name,
            "status": run.status(),
            "base": recipe.base.model if recipe.base else "-",
            "method": recipe.method.kind,
            "accuracy": test.get("accuracy", {}).get("value"),
            "best_step": stopped.best_step if stopped else None,
            "path": os.path.relpath(run.path),
        }
    except TunebenchError as error:
        return {
            "run": run.name,
            "status": "damaged",
            "base": "-",
            "method": "-",
            "accuracy": None,
            "best_step": None,
            "path": os.path.relpath(run.path),
            "error": str(error),
        }
