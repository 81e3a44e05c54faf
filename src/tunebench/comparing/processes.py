"""Children, several at once within memory: started, watched, stopped. Each is one command with a log of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tunebench.comparing.telling import Begun, Ended, Going, Needs, Said, Tell
from tunebench.errors import Interrupted
from tunebench.events import Warned
from tunebench.runs.cache import write_atomic
from tunebench.runs.offspring import end_with_parent
from tunebench.runs.run import Run
from tunebench.train.stopping import Asked, Stopping

PAUSE = 0.05
GLANCE_SECONDS = 1.0
"""How often it is told where the children are."""
_TAIL = 65_536


@dataclass(frozen=True)
class Task:
    """One child. ``run`` is the directory it fills, ``needs`` None where nobody knows."""

    name: str
    command: tuple[str, ...]
    log: Path
    run: Path | None = None
    needs: Needs | None = None


def tunebench(*arguments: str) -> tuple[str, ...]:
    """The command line of this program in a process of its own, which runs no code of the user's folder."""
    return (sys.executable, "-P", "-m", "tunebench.cli", *arguments)


def run_tasks(tasks: Sequence[Task], jobs: int, room: Needs, tell: Tell) -> dict[str, str | None]:
    """Run every task, at most ``jobs`` at once and only as many as fit into ``room``; what was wrong by name, None where nothing.

    Raises Interrupted on Ctrl-C or SIGTERM, once the children have heard of it and ended.
    """
    crew = _Crew(list(tasks), jobs, room, tell)
    with Stopping() as stopping:
        try:
            while crew.is_busy():
                crew.start()
                with stopping.interruptible():
                    time.sleep(PAUSE)
                crew.collect()
        except Asked:
            crew.stop()
            raise Interrupted("the comparison was stopped; what is finished is kept, and the same command goes on") from None
        finally:
            crew.kill()
    return crew.errors


@dataclass
class _Child:
    task: Task
    position: int
    process: subprocess.Popen[bytes]
    begun: float = field(default_factory=time.monotonic)


class _Crew:
    def __init__(self, tasks: list[Task], jobs: int, room: Needs, tell: Tell) -> None:
        self.errors: dict[str, str | None] = {}
        self._waiting = list(enumerate(tasks, 1))
        self._running: list[_Child] = []
        self._total, self._room, self._tell = len(tasks), room, tell
        self._jobs = max(1, min(jobs, len(tasks)))
        self._took: list[float] = []
        self._begun = self._glanced = time.monotonic()

    def is_busy(self) -> bool:
        return bool(self._waiting or self._running)

    def start(self) -> None:
        """Start what fits, in order; alone, anything does."""
        for position, task in list(self._waiting):
            if len(self._running) >= self._jobs:
                return
            if self._running and not fits(task.needs, [child.task.needs for child in self._running], self._room):
                continue
            self._waiting.remove((position, task))
            self._tell(Begun(task.name, position, self._total, None if task.needs is None else task.needs.get("ram")))
            self._running.append(_Child(task, position, start(task.command, task.log, self._jobs)))

    def collect(self) -> None:
        """Take leave of those that have ended, and tell where the others are."""
        for child in [child for child in self._running if child.process.poll() is not None]:
            self._running.remove(child)
            now = time.monotonic()
            self._took.append(now - child.begun)
            error = self.errors[child.task.name] = fault_of(child.task.log, child.process.returncode)
            mean, open_ = sum(self._took) / len(self._took), self._total - len(self._took)
            left = mean * open_ / self._jobs
            done = len(self._took)
            told = Ended(child.task.name, child.position, self._total, self._took[-1], error, done, now - self._begun, left)
            self._tell(told)
            for words in _warnings(child.task.run) if error is None else ():
                self._tell(Said(f"{child.task.name}: warning: {words}"))
        if self._running and time.monotonic() - self._glanced > GLANCE_SECONDS:
            self._glanced = time.monotonic()
            found = [(child.task.name, steps_of(child.task.run)) for child in self._running]
            self._tell(Going(tuple((name, *steps) for name, steps in found if steps is not None)))

    def stop(self) -> None:
        """Tell every child once, as Ctrl-C would, and wait until each has kept what it has."""
        for child in self._running:
            child.process.send_signal(signal.SIGINT)
        with contextlib.suppress(KeyboardInterrupt):  # asked again: `kill` waits no more
            for child in self._running:
                child.process.wait()

    def kill(self) -> None:
        """Leave no child behind."""
        for child in self._running:
            if child.process.poll() is None:
                child.process.kill()
                child.process.wait()


def fits(needs: Needs | None, others: Sequence[Needs | None], room: Needs) -> bool:
    """Say whether there is room for one more beside others; beside something of unknown size there is none."""
    known = [one for one in (needs, *others) if one is not None]
    if len(known) <= len(others):
        return False
    return all(sum(one.get(name, 0) for one in known) <= size for name, size in room.items())


def _warnings(run: Path | None) -> list[str]:
    """What a training that has ended warned of; a chain's stages keep their own."""
    return [event.message for event in Run(run).events() if isinstance(event, Warned)] if run is not None else []


def start(command: Sequence[str], log: Path, jobs: int = 1) -> subprocess.Popen[bytes]:
    """A child in a process group of its own: a Ctrl-C of the terminal reaches it through this process, and once; it ends with it.

    What it says goes to ``log``; of the processor it gets the share of one of ``jobs``.
    """
    write_atomic(log, "")
    with log.open("wb") as file:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
            env=os.environ | threads(jobs),
            process_group=0,
            preexec_fn=end_with_parent,
        )


def threads(jobs: int) -> dict[str, str]:
    """The processor shared among children; one child alone, or what the user said, is left as it is."""
    if jobs == 1:
        return {}
    each = str(max(1, len(os.sched_getaffinity(0)) // jobs))
    return {name: each for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS") if name not in os.environ}


def fault_of(log: Path, code: int) -> str | None:
    """What went wrong in a child, out of the last words in its log; None where nothing did."""
    if code == 0:
        return None
    if code < 0:
        name = signal.Signals(-code).name
        return f"ended by {name}" + (", as the system does where memory runs out" if name == "SIGKILL" else "")
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL))
        lines = [line.rstrip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    begins = [i for i, line in enumerate(lines) if line.startswith(("error: ", "interrupted: "))]
    words = lines[begins[-1] :] if begins else lines[-1:]
    return "; ".join(line.strip().removeprefix("error: ") for line in words) or f"ended with exit code {code}"


def steps_of(run: Path | None) -> tuple[int, int] | None:
    """The step that a training has come to, and how many there are, out of the two ends of its events."""
    path = run and run / "events.jsonl"
    if not path or not path.is_file():
        return None
    with path.open("rb") as file:
        head = file.readlines(_TAIL)
        file.seek(max(0, path.stat().st_size - _TAIL))
        tail = file.readlines()
    total = _last(head, "total_steps", ("started", "resumed"))
    step = _last(tail, "step", ("step", "resumed"))
    return None if total is None or step is None else (step, total)


def _last(lines: Sequence[bytes], key: str, kinds: Sequence[str]) -> int | None:
    for line in reversed(lines):
        with contextlib.suppress(ValueError):
            record: Mapping[str, object] = json.loads(line)
            if record.get("kind") in kinds and isinstance(value := record.get(key), int):
                return value
    return None
