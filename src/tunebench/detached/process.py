"""The process of a detached job: ``python -m tunebench.detached.process FOLDER LOCK``. It waits for its turn, then works.

``LOCK`` is the open file with the job's lock; its commands hold it too, so that it is free only when all have ended.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from tunebench.detached.job import LOG, WANTED, Job, older, read_job
from tunebench.runs.offspring import end_with_parent

PAUSE = 0.1


class _Work:
    """One job, from its turn to its end."""

    def __init__(self, job: Job, lock: int) -> None:
        self._job, self._lock = job, lock
        self._told = False
        self._noted: dict[str, Any] = {"begun": None, "codes": [], "stopped": False, "ended": None}
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._hear)

    def run(self) -> None:
        """Wait, run the commands until one fails, and note how it ended."""
        while self._is_wanted() and any(folder.is_locked() for folder in older(self._job)):
            time.sleep(PAUSE)
        if self._is_wanted():
            self._note(begun=_now())
        for command in self._job.commands:
            if not self._is_wanted():
                break
            code = self._run_command(command)
            self._note(codes=[*self._noted["codes"], code])
            if code:
                break
        self._note(stopped=not self._is_wanted(), ended=_now())

    def _run_command(self, command: Sequence[str]) -> int:
        with (self._job.path / LOG).open("ab", buffering=0) as log:
            with contextlib.suppress(OSError):  # the disk is full, of which the command itself has words
                log.write(f"$ {shlex.join(['tunebench', *command])}\n".encode("utf-8", "replace"))
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "tunebench.cli", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                pass_fds=(self._lock,),
                preexec_fn=end_with_parent,
            )
        stopped = False
        while child.poll() is None:
            if not stopped and not self._is_wanted():
                child.send_signal(signal.SIGINT)  # once: a second one would cost the checkpoint
                stopped = True
            time.sleep(PAUSE)
        return child.returncode

    def _is_wanted(self) -> bool:
        return not self._told and (self._job.path / WANTED).exists()

    def _note(self, **changes: Any) -> None:
        self._noted |= changes
        self._job.note(self._noted)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._told = True


def _environment() -> dict[str, str]:
    """Threads that wait soon give the processor to others, such as the pages that watch; what the user said stays."""
    spins = not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(os.environ)
    return os.environ | ({"GOMP_SPINCOUNT": "1000"} if spins else {})


def _now() -> float:
    return round(time.time(), 3)


def main() -> None:
    """Detach for good: the process that was started ends at once, and the one that works is nobody's child."""
    job, lock = read_job(Path(sys.argv[1])), int(sys.argv[2])
    if job is None:
        sys.exit("the job cannot be read")
    if os.fork() == 0:
        _Work(job, lock).run()


if __name__ == "__main__":
    main()
