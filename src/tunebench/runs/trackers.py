"""Trackers: copies of a run's curves for TensorBoard, W&B and trackio. Optional readers of events; the run is the truth.

A tracker is opened with the first event that tells of training, and is then shown everything the run has recorded
before it, so after an interruption its copy is whole again and holds no point twice. Whatever fails in a tracker
switches it off and is said once; the run goes on. Nothing of the packages is imported before.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from os import environ
from typing import Any, Protocol

from tunebench.errors import MissingExtra
from tunebench.events import Evaluated, Event, Failed, Finished, Noted, Resumed, Scored, Started, Step, Warned
from tunebench.recipe.load import dump_recipe
from tunebench.recipe.resolve import digest_of
from tunebench.runs.run import Run

PROJECT = "tunebench"
"""Under this name runs stand in W&B (unless WANDB_PROJECT says otherwise) and in trackio."""
GLOBAL_STEP = "train/global_step"
_SECONDS_BETWEEN_WRITES = 2.0


@dataclass(frozen=True)
class Point:
    """Values at a step, under the names that the Hugging Face Trainer logs them; seconds are since training began."""

    step: int
    seconds: float
    values: dict[str, float]


class Tracker(Protocol):
    """What a copy of the curves is kept with."""

    def start(self, run: Run, begun: float) -> str | None:
        """Open the copy of a run that began at ``begun`` (Unix time); returns what the user should know."""

    def log(self, point: Point) -> None:
        """Take one point; they come in order, from the first of the run on."""

    def close(self, *, finished: bool) -> str | None:
        """Write what is left; returns what the user can do with the copy now."""


def require(names: Sequence[str]) -> None:
    """MissingExtra for the first tracker whose package is not installed, named before any training."""
    for name in names:
        if find_spec(name) is None:
            raise MissingExtra(name, name, f"report_to: {name}")


@contextlib.contextmanager
def copying(run: Run, names: Sequence[str], watch: Callable[[Event], None]) -> Iterator[Callable[[Event], None]]:
    """A watcher that passes events on to ``watch`` and copies the curves among them; events are recorded before they come."""
    copies = _Copies(run, names, watch)
    try:
        yield copies
    finally:
        copies.close(finished=False)


class _Copies:
    """The open trackers of one run, by name."""

    def __init__(self, run: Run, names: Sequence[str], watch: Callable[[Event], None]) -> None:
        self._run, self._watch, self._waiting = run, watch, tuple(dict.fromkeys(names))
        self._open: dict[str, Tracker] = {}
        self._last = Point(0, 0.0, {})

    def __call__(self, event: Event) -> None:
        self._watch(event)
        if self._waiting and isinstance(event, Started | Resumed | Step | Evaluated | Scored):
            self._begin()
        else:
            self._copy(event)
        if isinstance(event, Finished | Failed):
            self.close(finished=isinstance(event, Finished))

    def _begin(self) -> None:
        """Open the trackers and show them what is recorded; the event at hand is the last of it."""
        names, self._waiting = self._waiting, ()
        recorded = list(self._run.events())
        begun = time.time() - max((item.seconds for item in recorded if isinstance(item, Step | Evaluated)), default=0.0)
        for name in names:
            with self._off_where_it_fails(name):
                self._open[name] = TRACKERS[name]()
                self._note(name, self._open[name].start(self._run, begun))
        for event in recorded:
            self._copy(event)

    def _copy(self, event: Event) -> None:
        point = _point(event, self._last)
        if point is None:
            return
        self._last = point
        for name, tracker in list(self._open.items()):
            with self._off_where_it_fails(name):
                tracker.log(point)

    def close(self, *, finished: bool) -> None:
        """Close every tracker once, whatever the others do."""
        self._waiting = ()
        for name in list(self._open):
            tracker = self._open.pop(name)
            with self._off_where_it_fails(name):
                self._note(name, tracker.close(finished=finished))

    @contextlib.contextmanager
    def _off_where_it_fails(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever a tracker raises, the run goes on
            with contextlib.suppress(Exception):
                self._open.pop(name).close(finished=False)
            reason = str(error).strip().split("\n")[0]
            self._tell(Warned(f"the tracker {name} is switched off, the run goes on: {type(error).__name__}: {reason}"))

    def _note(self, name: str, text: str | None) -> None:
        if text is not None:
            self._tell(Noted(f"{name}: {text}"))

    def _tell(self, event: Event) -> None:
        self._run.record(event)
        self._watch(event)


def _point(event: Event, last: Point) -> Point | None:
    if isinstance(event, Step):
        values = {name: getattr(event, name) for name in ("loss", "learning_rate", "grad_norm", "epoch")}
        return Point(event.step, event.seconds, {f"train/{name}": value for name, value in values.items()})
    if isinstance(event, Evaluated):
        group = "eval" if event.split == "validation" else event.split.replace(" ", "_")
        return Point(event.step, event.seconds, {f"{group}/{name}": value for name, value in event.scores.items()})
    if isinstance(event, Scored):
        found = {"accuracy": event.accuracy, "perplexity": event.perplexity}
        values = {f"{event.split}/{name}": value for name, value in found.items() if value is not None}
        return Point(last.step, last.seconds, values)
    return None


def _identifier(run: Run) -> str:
    """One name for all attempts at a run, and another as soon as anything that decides its result differs."""
    return f"{run.name}-{digest_of(run.manifest['identity'])[:12]}"


def _config(run: Run) -> dict[str, Any]:
    return run.recipe.model_dump(mode="json", exclude_none=True)


class TensorBoard:
    """``trackers/tensorboard`` of the run, written anew by every attempt at it, each record at once."""

    def start(self, run: Run, begun: float) -> None:
        """Begin a new file in place of an older one; a TensorBoard that shows the older one drops its points."""
        self._events = import_module("tensorboard.compat.proto.event_pb2")
        self._summaries = import_module("tensorboard.compat.proto.summary_pb2")
        folder = run.path / "trackers" / "tensorboard"
        folder.mkdir(parents=True, exist_ok=True)
        for older in folder.glob("events.out.tfevents.*"):
            older.unlink()
        writer = import_module("tensorboard.summary.writer.record_writer").RecordWriter
        # Readers take files in the order of their names; unbuffered, so that a kill loses nothing.
        self._records = writer((folder / f"events.out.tfevents.{time.time_ns()}.{PROJECT}").open("xb", buffering=0))
        self._begun = begun
        start = self._events.SessionLog.START
        self._write(file_version="brain.Event:2")
        self._write(session_log=self._events.SessionLog(status=start))
        indented = "".join(f"    {line}\n" for line in dump_recipe(run.recipe).splitlines())
        self._write(summary=import_module("tensorboard.plugins.text.summary_v2").text_pb("recipe", indented))

    def log(self, point: Point) -> None:
        """One scalar per value."""
        values = [self._summaries.Summary.Value(tag=name, simple_value=value) for name, value in point.values.items()]
        self._write(point.step, point.seconds, summary=self._summaries.Summary(value=values))

    def close(self, *, finished: bool) -> None:
        """Close the file."""
        self._records.close()

    def _write(self, step: int = 0, seconds: float = 0.0, **content: Any) -> None:
        event = self._events.Event(wall_time=self._begun + seconds, step=step, **content)
        self._records.write(event.SerializeToString())


class Wandb:
    """One W&B run, its files in ``trackers/wandb`` of the run; without an API key it stays offline, and nobody is asked.

    Sent are the curves and the recipe: no code, no git state, no console, no figures of the machine, no error reports.
    """

    def start(self, run: Run, begun: float) -> str | None:
        """Go on with the run that earlier attempts made on the server; offline their files are replaced."""
        environ.setdefault("WANDB_ERROR_REPORTING", "false")
        environ.setdefault("WANDB_DISABLE_GIT", "true")
        self._wandb = import_module("wandb")
        settings = self._wandb.Settings(
            silent=True,
            console="off",
            symlink=False,
            save_code=False,
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        mode = self._wandb.setup(settings=settings).settings.mode
        keyless = mode not in ("offline", "dryrun", "disabled") and not self._wandb.login(prompt=False, verify=False)
        folder, name = run.path.resolve() / "trackers", _identifier(run)
        folder.mkdir(exist_ok=True)
        earlier = sorted((folder / "wandb").glob(f"offline-run-*-{name}"))
        self._run = self._wandb.init(
            project=environ.get("WANDB_PROJECT") or PROJECT,
            name=run.name,
            id=name,
            resume="allow",
            dir=str(folder),
            config=_config(run),
            mode="offline" if keyless else None,
            settings=settings,
        )
        self._held = int(self._run.summary.get(GLOBAL_STEP) or 0) if self._run.resumed else 0
        for older in earlier:
            shutil.rmtree(older)
        self._run.define_metric(GLOBAL_STEP)
        self._run.define_metric("*", step_metric=GLOBAL_STEP, step_sync=True)
        return "no API key is found, so the run is kept offline" if keyless else None

    def log(self, point: Point) -> None:
        """Send a point, unless the server has it from an earlier attempt."""
        if point.step > self._held or (point.step == self._held and "train/loss" not in point.values):
            self._run.log({**point.values, GLOBAL_STEP: point.step})

    def close(self, *, finished: bool) -> str | None:
        """Wait for what is on its way, and end the service process."""
        self._run.finish(exit_code=0 if finished else 1)
        offline = self._run.settings.mode in ("offline", "dryrun")
        self._wandb.teardown()
        return f"send the run with `wandb sync {shlex.quote(self._run.settings.sync_dir)}`" if offline else None


class Trackio:
    """One run in trackio's local database (TRACKIO_DIR, or trackio's own folder), replaced by every attempt at it.

    Written through trackio's storage: ``trackio.init`` would ask the hub who is signed in, log the machine and print.
    """

    def start(self, run: Run, begun: float) -> None:
        """Remove what an earlier attempt wrote."""
        self._storage = import_module("trackio.sqlite_storage").SQLiteStorage
        self._name, self._id, self._config, self._begun = run.name, _identifier(run), _config(run), begun
        self._storage.delete_run(PROJECT, self._name, run_id=self._id)
        self._points: list[Point] = []
        self._written = time.monotonic()

    def log(self, point: Point) -> None:
        """Keep the point for the next write, which happens every few seconds."""
        self._points.append(point)
        if time.monotonic() - self._written > _SECONDS_BETWEEN_WRITES:
            self._write()

    def close(self, *, finished: bool) -> str:
        """Write the rest."""
        self._write()
        return f"look at the run with `trackio show --project {PROJECT}`"

    def _write(self) -> None:
        points, self._points, self._written = self._points, [], time.monotonic()
        self._storage.bulk_log(
            PROJECT,
            self._name,
            [point.values for point in points],
            [point.step for point in points],
            [datetime.fromtimestamp(self._begun + point.seconds, UTC).isoformat() for point in points],
            self._config,
            run_id=self._id,
        )


TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "wandb": Wandb, "trackio": Trackio}
"""By the name in ``report_to``, which is also that of the package and of the extra."""
