"""One trial as a child process: started, its events followed as they are written, stopped where it is hopeless."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebench.comparing.processes import fault_of, start, tunebench
from tunebench.errors import Interrupted
from tunebench.runs.run import Run
from tunebench.searching.ledger import Trial
from tunebench.searching.study import Judge
from tunebench.train.stopping import Asked, Stopping

PAUSE = 0.1
TAKES = 2
"""A trial that the system killed is taken up once more, from its checkpoint."""
_TOLD = (b'"kind": "started"', b'"kind": "evaluated"', b'"kind": "stopped"')


@dataclass(frozen=True)
class Progress:
    """What a run has told so far: its evaluations in order, and that of the weights that are kept.

    Each is a step, its score, and the seconds of training until then.
    """

    scores: tuple[tuple[int, float, float], ...] = ()
    kept: tuple[int, float, float] | None = None
    total_steps: int = 0
    seconds: float | None = None


def progress_of(run: Run, metric: str) -> Progress:
    """Read what a run has told; a half-written last line is left out."""
    path = run.path / "events.jsonl"
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError:
        return Progress()
    scores: list[tuple[int, float, float]] = []
    best, last, total, seconds = None, None, 0, None
    for line in lines:
        if not any(kind in line for kind in _TOLD):
            continue
        record = json.loads(line)
        if record["kind"] == "started":
            total = record["total_steps"]
        elif record["kind"] == "stopped":
            last, seconds = record["best_step"], record["seconds"]
        elif record["split"] == "validation" and metric in record["scores"]:
            scores.append((record["step"], record["scores"][metric], record["seconds"]))
            best = scores[-1] if record["best"] else best
    kept = next((item for item in scores if item[0] == last), best)
    return Progress(tuple(scores), kept, total, seconds)


def follow(trial: Trial, run: Run, recipe: Path, log: Path, metric: str, judge: Judge, stopping: Stopping) -> Trial:
    """Train a trial to its end, or to where it is hopeless, and say what came of it. It goes on where it was, if it was begun.

    Raises Asked where ``stopping`` was told to, and Interrupted where somebody stopped the child; both leave a checkpoint.
    """
    watched, takes = _Watched(run, metric, judge), 0
    _wait_until_free(run, stopping)
    while not watched.is_hopeless() and not run.is_finished():
        code = _train(run, recipe, log, watched.is_hopeless, stopping)
        if code == Interrupted.exit_code and not watched.found:
            raise Interrupted(f"{run.path} was stopped")
        if code and run.is_locked():  # by the child of a search that was killed
            _wait_until_free(run, stopping)
        elif code and not watched.found:
            takes += 1
            if code > 0 or takes == TAKES:
                return watched.ended(trial, failed=True, error=fault_of(log, code))
    log.unlink(missing_ok=True)
    return watched.ended(trial)


class _Watched:
    """The run of a trial, and what is thought of it so far."""

    def __init__(self, run: Run, metric: str, judge: Judge) -> None:
        self._run, self._metric, self._judge = run, metric, judge
        self._judged: list[float] = []
        self._seen: Any = None
        self.found = False
        """Whether the trial was found to be hopeless."""

    def is_hopeless(self) -> bool:
        """Judge every evaluation that is new, in order; none after the last step, where nothing is left to be saved."""
        if self.found or not self._has_changed():
            return self.found
        told = progress_of(self._run, self._metric)
        for step, score, _ in told.scores[len(self._judged) :]:
            self._judged.append(score)
            if math.isfinite(score) and step < told.total_steps and self._judge.is_hopeless(score):
                self.found = True
                break
        return self.found

    def ended(self, trial: Trial, *, failed: bool = False, error: str | None = None) -> Trial:
        """The trial with what came of it."""
        told = progress_of(self._run, self._metric)
        common = dataclasses.replace(trial, scores=tuple(self._judged), seconds=told.seconds)
        if self.found:
            step, value, seconds = told.scores[len(self._judged) - 1]
            return dataclasses.replace(common, state="pruned", value=value, step=step, seconds=seconds)
        if not failed and told.kept is not None and math.isfinite(told.kept[1]):
            return dataclasses.replace(common, state="finished", value=told.kept[1], step=told.kept[0])
        return dataclasses.replace(common, state="failed", error=error or f"was not evaluated by {self._metric}")

    def _has_changed(self) -> bool:
        with contextlib.suppress(OSError):
            found = (self._run.path / "events.jsonl").stat()
            seen, self._seen = self._seen, (found.st_ino, found.st_size, found.st_mtime_ns)
            return bool(seen != self._seen)
        return False


def _wait_until_free(run: Run, stopping: Stopping) -> None:
    """A search that was killed leaves its child at work: let it end."""
    while run.is_locked():
        with stopping.interruptible():
            time.sleep(PAUSE)


def _train(run: Run, recipe: Path, log: Path, is_hopeless: Callable[[], bool], stopping: Stopping) -> int:
    """``tunebench train`` as a child, with all of its test rows left alone; its exit code."""
    child = start(tunebench("train", str(recipe), "--runs", str(run.path.parent), "--no-test"), log)
    try:
        while child.poll() is None:
            with stopping.interruptible():
                time.sleep(PAUSE)
            if is_hopeless():
                break
    except Asked:
        stopping.hear_no_more()
        _stop(child)
        raise
    else:
        return _stop(child)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def _stop(child: subprocess.Popen[bytes]) -> int:
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
    return child.wait()
