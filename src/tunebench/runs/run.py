"""The run directory: the only truth about what a job did. Torch-free; everything else is a view of it.

recipe.yaml  manifest.json  events.jsonl  metrics.json  predictions.parquet  splits.json
adapter/ or model/   merged/   checkpoints/   figures/
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tunebench.errors import InputError, TunebenchError
from tunebench.events import KINDS, Event, Failed, Finished, Step, Stopped, as_record, from_record
from tunebench.recipe import load, methods, spec
from tunebench.recipe.resolve import differing_keys
from tunebench.runs import checkpoints
from tunebench.runs.cache import MODEL_FILES, folder_digest, write_atomic
from tunebench.runs.folder import Folder

FORMAT_VERSION = 1
STAGES = "stages"
"""The folder with the runs of a chain, in the directory of the chain."""
NEEDED = {"manifest.json": ("identity", "labels", "base", "data"), "metrics.json": ("test", "proofs")}
"""Keys without which a file of a run is damaged."""
_KIND = re.compile(rb'"kind": "(\w+)"')
_LEFTOVER = re.compile(r"^\..+\.(part|[0-9a-f]{32})$")
"""What write_atomic, the writers of tables, bundles and checkpoints call a file or folder before it is whole."""


class Run(Folder):
    """One run directory, opened for reading or for writing."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._numbered: int | None = None

    @property
    def name(self) -> str:
        """The name in its recipe, which is the name of its folder; of a stage, the name of its chain comes first."""
        path, chain = self.path.resolve(), chain_of(self.path)
        return f"{chain.name}-{path.name}" if chain else path.name

    @property
    def manifest(self) -> dict[str, Any]:
        """What was decided before the job began: versions, digests, labels, hardware."""
        return self._read("manifest.json", NEEDED["manifest.json"])

    @property
    def metrics(self) -> dict[str, Any]:
        """What was measured at the end; empty while there is nothing."""
        return self._read("metrics.json", NEEDED["metrics.json"]) if (self.path / "metrics.json").is_file() else {}

    @property
    def recipe(self) -> spec.Recipe:
        """The resolved recipe of this run; the base of a stage is found beside it, wherever the chain lies by now."""
        path = self.path / "recipe.yaml"
        recipe = load.validate(load.parse_yaml(self._text("recipe.yaml"), str(path)), str(path))
        if recipe.base is None or not recipe.base.model.startswith("../"):
            return recipe
        beside = os.path.abspath(self.path / recipe.base.model)
        return recipe.model_copy(update={"base": recipe.base.model_copy(update={"model": beside})})

    @property
    def weights(self) -> Path:
        """The folder with what was trained: ``adapter/`` or ``model/``."""
        return self.path / ("adapter" if self.recipe.method.kind in methods.ADAPTERS else "model")

    def weights_digest(self) -> str:
        """sha256 over everything in ``weights`` that decides a prediction."""
        return folder_digest(self.weights, (*MODEL_FILES, "adapter_config.json", "tfidf.json", "majority.json", "overlap.json"))

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

    def events(self, *kinds: type[Event]) -> Iterator[Event]:
        """What the job said, in order, everything or only events of ``kinds``; a half-written last line is left out."""
        path = self.path / "events.jsonl"
        if not path.is_file():
            return
        others = {name.encode() for name, kind in KINDS.items() if kinds and not issubclass(kind, kinds)}
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                if others and (found := _KIND.search(line)) and found[1] in others:  # thousands of steps: not even decoded
                    continue
                try:
                    event = from_record(json.loads(line))
                except (ValueError, TypeError, AttributeError, TunebenchError) as error:
                    raise InputError(str(path), f"line {number} is no event ({error}); the run directory is damaged") from None
                if not kinds or isinstance(event, kinds):
                    yield event

    def status(self) -> str:
        """``finished``, ``failed``, ``running`` or ``interrupted``: a fold over the events and the lock."""
        return self.status_after(self.events(Finished, Failed))

    def status_after(self, said: Iterable[Event]) -> str:
        """The same from events that are read already; ``Finished`` and ``Failed`` must be among them."""
        ends = {type(event) for event in said} & {Finished, Failed}
        if Finished in ends:
            return "finished"
        if self.is_locked():
            return "running"
        return "failed" if ends else "interrupted"

    def is_finished(self) -> bool:
        """Say whether the run is complete."""
        return any(True for _ in self.events(Finished))

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


def is_run(path: Path) -> bool:
    """Say whether a run directory, of one stage or of several, is at ``path``."""
    try:
        return (path / "manifest.json").is_file()
    except OSError:  # such as a name that is too long
        return False


def chain_of(path: Path) -> Path | None:
    """The folder of the chain that the run at ``path`` is a stage of; None for a run of its own."""
    stages = path.resolve().parent
    return stages.parent if stages.name == STAGES and is_run(stages.parent) else None


@contextlib.contextmanager
def open_run(path: Path, recipe: spec.Recipe, manifest: dict[str, Any], *, force: bool = False) -> Iterator[Run]:
    """The run directory at ``path`` to work in, locked: new, cut back to its newest
    checkpoint (or begun again) where an earlier attempt did not finish, or finished and untouched.

    Raises InputError where the run there was made by another recipe, data or base, naming what differs; with ``force`` it goes.
    """
    run = Run(path)
    run.make()
    if (path / STAGES).is_dir():
        raise InputError(str(path), "is a chain of stages; give the recipe another name")
    if not (run.path / "manifest.json").is_file() and any(not is_leftover(path.name) for path in run.path.iterdir()):
        raise InputError(str(run.path), "exists and is not a run; choose another name or --runs folder")
    with run.locked():  # nothing is touched while another process is at work here
        if (run.path / "manifest.json").is_file():
            differing = what_differs(run, manifest["identity"])
            if differing and not force:
                raise InputError(
                    str(run.path),
                    [f"a run of this name exists and differs: {key}" for key in differing]
                    + ["give the recipe another name, or train it anew in place of that run with --force"],
                )
            if differing:
                _clear(run.path)
            else:
                _show_labels_as(run, manifest["labels"]["display"])
        if not run.is_finished():
            sweep(run.path)
            point = checkpoints.newest(run.path)
            if point is None:
                run.write_json("manifest.json", manifest)
            run.write_text("recipe.yaml", load.dump_recipe(beside_its_base(recipe, run.path)))
            run.cut_events(point.events if point else 0)
        yield run


def _show_labels_as(run: Run, display: dict[str, Any]) -> None:
    """Display names change display only, so a run that is there already takes the new ones."""
    found = run.manifest
    if found["labels"]["display"] != display:
        run.write_json("manifest.json", found | {"labels": found["labels"] | {"display": display}})


def is_leftover(name: str) -> bool:
    """Say whether a file is what a job that was killed at its very beginning leaves."""
    return name == ".lock" or _LEFTOVER.match(name) is not None


def sweep(folder: Path, *, deep: bool = True) -> None:
    """Remove what a killed attempt was about to rename into place, and nothing else."""
    for place, folders, files in os.walk(folder):
        for name in filter(_LEFTOVER.match, folders):
            shutil.rmtree(Path(place) / name, ignore_errors=True)
        for name in filter(_LEFTOVER.match, files):
            (Path(place) / name).unlink(missing_ok=True)
        folders[:] = [name for name in folders if deep and not name.startswith(".")]


def what_differs(run: Run, identity: dict[str, Any]) -> list[str]:
    """What keeps a run from being the same; nothing of an attempt that failed before its first step: it holds nothing."""
    if not any(isinstance(event, Step | Stopped | Finished) for event in run.events()):
        return []
    return differing_keys(run.manifest["identity"], identity)


def _clear(folder: Path) -> None:
    """Remove a run, its manifest last: until then the folder is a run that this was asked for. Hidden files stay."""
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    for path in sorted(paths, key=lambda path: path.name == "manifest.json"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def beside_its_base(recipe: spec.Recipe, path: Path) -> spec.Recipe:
    """The recipe of the run at ``path``; a base that another stage left is named relative to it, so that the chain can move."""
    if recipe.base is None or not Path(recipe.base.model).is_relative_to(os.path.abspath(path.parent)):
        return recipe
    return recipe.model_copy(update={"base": recipe.base.model_copy(update={"model": os.path.relpath(recipe.base.model, path)})})
