"""The run directory: the only truth about what a job did. Torch-free; everything else is a view of it.

recipe.yaml  manifest.json  events.jsonl  metrics.json  predictions.parquet  splits.json
adapter/ or model/   merged/   checkpoints/   figures/
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from tunebench.errors import InputError, TunebenchError, listing, nearest
from tunebench.events import Event, Failed, Finished, Step, Stopped, as_record, from_record
from tunebench.recipe import load, methods, spec
from tunebench.recipe.resolve import differing_keys
from tunebench.runs import checkpoints
from tunebench.runs.cache import MODEL_FILES, cached, file_digest, folder_digest, write_atomic
from tunebench.runs.disk import as_os_errors, remedy

FORMAT_VERSION = 1
STARTER_RUN = "starter"
NEEDED = {"manifest.json": ("identity", "labels", "base", "data"), "metrics.json": ("test", "proofs")}
"""Keys without which a file of a run is damaged."""
LOCK_ATTEMPTS = 5
_LEFTOVER = re.compile(r"^\..+\.(part|[0-9a-f]{32})$")
"""What write_atomic, the writers of tables, bundles and checkpoints call a file or folder before it is whole."""
_SHIPPED = Path(str(resources.files("tunebench") / "starter_run"))


class Run:
    """One run directory, opened for reading or for writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._numbered: int | None = None

    @property
    def name(self) -> str:
        """The name in its recipe, which is the name of its folder."""
        return self.path.resolve().name

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
        return load.validate(load.parse_yaml(self._text("recipe.yaml"), str(path)), str(path))

    @property
    def weights(self) -> Path:
        """The folder with what was trained: ``adapter/`` or ``model/``."""
        return self.path / ("adapter" if self.recipe.method.kind in methods.ADAPTERS else "model")

    def weights_digest(self) -> str:
        """sha256 over everything in ``weights`` that decides a prediction."""
        return folder_digest(self.weights, (*MODEL_FILES, "adapter_config.json", "tfidf.json", "majority.json"))

    def check_weights(self) -> None:
        """InputError where the saved weights are not, byte for byte, the ones that were scored and proved."""
        if not self.weights.is_dir():
            raise InputError(
                str(self.path), f"has no {self.weights.name}/ (status: {self.status()}); finish it with `tunebench train`"
            )
        if self.manifest.get("end_weights") != self.weights_digest():
            raise InputError(
                str(self.weights), "holds other files than the ones that were scored; restore them, or train the run again"
            )

    def events(self) -> Iterator[Event]:
        """Everything the job said, in order; a half-written last line is left out."""
        path = self.path / "events.jsonl"
        if not path.is_file():
            return
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield from_record(json.loads(line))
                except (ValueError, TypeError, AttributeError, TunebenchError) as error:
                    raise InputError(str(path), f"line {number} is no event ({error}); the run directory is damaged") from None

    def status(self) -> str:
        """``finished``, ``failed``, ``running`` or ``interrupted``: a fold over the events and the lock."""
        said = [type(event) for event in self.events() if isinstance(event, Finished | Failed)]
        if Finished in said:
            return "finished"
        if self._is_locked():
            return "running"
        return "failed" if said else "interrupted"

    def is_finished(self) -> bool:
        """Say whether the run is complete."""
        return any(isinstance(event, Finished) for event in self.events())

    def record(self, event: Event) -> None:
        """Append an event, numbered and dated, and flush it."""
        with self.writing(), (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            number = self._continued() if self._numbered is None else self._numbered
            self._numbered = None  # until the line is whole: on a full disk it is not, and the next one cuts it off
            record = {"number": number, "time": round(time.time(), 3), **as_record(event)}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()
        self._numbered = number + 1

    def recorded(self) -> int:
        """How many events have been recorded so far."""
        return sum(1 for _ in self.events()) if self._numbered is None else self._numbered

    def cut_events(self, number: int) -> None:
        """Keep the first ``number`` events and forget the later ones: what they told is about to be done again."""
        path = self.path / "events.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)[:number] if path.is_file() else []
        write_atomic(path, b"".join(lines))
        self._numbered = None

    def _continued(self) -> int:
        """How many events there are; what stands behind the last whole one is cut off."""
        path = self.path / "events.jsonl"
        content = path.read_bytes()
        os.truncate(path, content.rfind(b"\n") + 1)
        return content.count(b"\n")

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file whole or not at all."""
        write_atomic(self.path / name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a text file whole or not at all; folders in ``name`` are made."""
        write_atomic(self.path / name, text)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for one process; the lock goes with the process, however it ends."""
        with self.writing():
            file = (self.path / ".lock").open("a")
        with file:
            for attempt in range(LOCK_ATTEMPTS):  # a reader of the status holds it for an instant
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if attempt + 1 == LOCK_ATTEMPTS:
                        raise TunebenchError(
                            f"{self.path}: another process is at work on this run; wait for it or stop it"
                        ) from None
                    time.sleep(0.02)
            yield

    def _is_locked(self) -> bool:
        try:
            with (self.path / ".lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def _text(self, name: str) -> str:
        try:
            return (self.path / name).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            raise InputError(str(self.path / name), f"not readable ({reason}); the run directory is damaged") from None

    def _read(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            found = json.loads(self._text(name))
        except ValueError as error:
            raise InputError(str(path), f"not readable as JSON ({error}); the run directory is damaged") from None
        lacking = [key for key in NEEDED.get(name, ()) if not isinstance(found, dict) or key not in found]
        if not isinstance(found, dict) or lacking:
            raise InputError(str(path), f"lacks {listing(lacking) or 'a JSON object'}; the run directory is damaged")
        return found

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what the disk refuses in this block into a TunebenchError that names the run and a remedy."""
        try:
            with as_os_errors():
                yield
        except OSError as error:
            culprit = f": {error.filename}" if error.filename else ""
            raise TunebenchError(
                f"{self.path}: cannot be written ({error.strerror or error}{culprit}); {remedy(error, 'give --runs')}"
            ) from error


@contextlib.contextmanager
def open_run(runs: Path, recipe: spec.Recipe, manifest: dict[str, Any]) -> Iterator[Run]:
    """A run directory to work in, locked: new, cut back to its newest
    checkpoint (or begun again) where an earlier attempt did not finish, or finished and untouched.

    Raises InputError where a run of this name was made by another recipe, data or base, naming what differs.
    """
    run = Run(runs / recipe.name)
    try:
        run.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TunebenchError(f"{run.path}: cannot be made ({error.strerror}); {remedy(error, 'give --runs')}") from error
    if not (run.path / "manifest.json").is_file() and any(not _is_ours(path.name) for path in run.path.iterdir()):
        raise InputError(str(run.path), "exists and is not a run; choose another name or --runs folder")
    with run.locked():  # nothing is touched while another process is at work here
        if (run.path / "manifest.json").is_file():
            _refuse_other(run, manifest["identity"])
            _show_labels_as(run, manifest["labels"]["display"])
        if not run.is_finished():
            _sweep(run.path)
            point = checkpoints.newest(run.path)
            if point is None:
                run.write_json("manifest.json", manifest)
            run.write_text("recipe.yaml", load.dump_recipe(recipe))
            run.cut_events(point.events if point else 0)
        yield run


def _show_labels_as(run: Run, display: dict[str, Any]) -> None:
    """Display names change display only, so a run that is there already takes the new ones."""
    found = run.manifest
    if found["labels"]["display"] != display:
        run.write_json("manifest.json", found | {"labels": found["labels"] | {"display": display}})


def _is_ours(name: str) -> bool:
    return name == ".lock" or _LEFTOVER.match(name) is not None


def _sweep(folder: Path) -> None:
    """Remove what a killed attempt was about to rename into place, and nothing else."""
    for place, folders, files in os.walk(folder):
        for name in filter(_LEFTOVER.match, folders):
            shutil.rmtree(Path(place) / name, ignore_errors=True)
        for name in filter(_LEFTOVER.match, files):
            (Path(place) / name).unlink(missing_ok=True)
        folders[:] = [name for name in folders if not name.startswith(".")]


def _refuse_other(run: Run, identity: dict[str, Any]) -> None:
    """Only an attempt that failed before its first step may be replaced by another recipe: it holds nothing."""
    differing = differing_keys(run.manifest["identity"], identity)
    if differing and any(isinstance(event, Step | Stopped | Finished) for event in run.events()):
        raise InputError(
            str(run.path),
            [f"a run of this name exists and differs: {key}" for key in differing]
            + ["give the recipe another name, or remove that folder"],
        )


def find_run(name: str, runs: Path) -> Run:
    """A run by path, by its name under ``runs``, or the shipped ``starter``; InputError says what there is."""
    for path in (Path(name), runs / name):
        if _is_run(path):
            return Run(path)
    if name == STARTER_RUN and _is_run(_SHIPPED):
        return _unpacked_starter()
    known = [run.name for run in list_runs(runs)]
    there = f"runs in {runs} are {listing(known)}" if known else f"there is none in {runs}"
    shipped = f", and {STARTER_RUN!r} comes with tunebench" if _is_run(_SHIPPED) else ""
    raise InputError(name, f"no such run{nearest(name, known)}; {there}{shipped}; `tunebench train RECIPE` makes one")


def _is_run(path: Path) -> bool:
    try:
        return (path / "manifest.json").is_file()
    except OSError:  # such as a name that is too long
        return False


def _unpacked_starter() -> Run:
    """The shipped run, copied into the cache: what is done with it must not write into the installed package."""

    def copy(folder: Path) -> None:
        shutil.copytree(_SHIPPED, folder / STARTER_RUN)

    return Run(cached("starter-run", file_digest(_SHIPPED / "manifest.json"), copy) / STARTER_RUN)


def list_runs(runs: Path) -> list[Run]:
    """All run directories directly under a folder, by name."""
    if not runs.is_dir():
        return []
    return [Run(path) for path in sorted(runs.iterdir()) if _is_run(path)]


def summary(run: Run) -> dict[str, Any]:
    """One line about a run for lists; a damaged run says so instead of failing the list."""
    try:
        recipe, metrics, _ = run.recipe, run.metrics, run.manifest
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
