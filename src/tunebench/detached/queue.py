"""The queue of a runs folder: jobs are asked for, go on by themselves in order of their numbers, and are stopped. No torch.

Each job is one process in a session of its own, which waits until every older job has let go of its lock. So nothing
is lost with whoever asked, and there is no server of the queue.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from tunebench.detached.job import LIVE, LOG, WANTED, Job, Kind, numbers, read_job
from tunebench.errors import InputError, TunebenchError
from tunebench.runs.folder import NO_LOCKS, Folder
from tunebench.runs.shelf import check_name

__all__ = ["Job", "jobs", "resubmit", "stop", "submit"]

STUDIO = ".studio"
"""The folder of the studio's own files in a runs folder."""


def submit(runs: Path, commands: Sequence[Sequence[str]], *, kind: Kind, run: str | None) -> Job:
    """Ask for ``tunebench`` commands, each without its first word, to be run one after another once it is their turn.

    They go on whatever becomes of this process. Raises InputError where a waiting or running job has the same ``run`` (or,
    without a run, the same commands), and for a ``run`` that is no name of one.
    """
    return _submit(runs, commands, kind, run, os.getcwd())


def jobs(runs: Path) -> list[Job]:
    """The jobs of a runs folder, newest first; a folder that holds no readable job is left out."""
    place = _place(runs)
    found = (read_job(place / str(number)) for number in sorted(numbers(place), reverse=True))
    return [job for job in found if job is not None]


def stop(job: Job) -> None:
    """Ask a job to end: its running command is told as by Ctrl-C, so that a training keeps a checkpoint; no other begins."""
    with Folder(job.path).writing():
        (job.path / WANTED).unlink(missing_ok=True)


def resubmit(job: Job) -> Job:
    """Ask for the same commands again, as a new job; a training that was stopped or interrupted goes on where it was.

    Raises InputError as ``submit`` does, and where the folder that the commands start from is not there any more.
    """
    if not os.path.isdir(job.folder):
        raise InputError(f"job {job.number}", f"was asked for in {job.folder}, which is not there any more")
    return _submit(job.path.parents[2], job.commands, job.kind, job.run, job.folder)


def _submit(runs: Path, commands: Sequence[Sequence[str]], kind: Kind, run: str | None, start: str) -> Job:
    if not commands or not all(commands):
        raise ValueError("expected commands, each of at least one word")
    for part in [] if run is None else run.split("/", 1):  # CHAIN/STAGE
        check_name(part)
    asked = tuple(tuple(map(str, command)) for command in commands)
    place = Folder(_place(runs))
    place.make()
    with place.writing(), _alone(place.path):
        _refuse_double(jobs(runs), asked, run)
        number = max(numbers(place.path), default=0) + 1
        folder, created = place.path / str(number), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        job = Job(folder, number, asked, kind, run, created, start)
        folder.mkdir()
        with (folder / ".lock").open("a") as lock:
            _hold(lock, runs)
            (folder / WANTED).touch()
            Folder(folder).write_json("job.json", job.as_dict())
            _start(job, lock)
    return job


def _place(runs: Path) -> Path:
    return runs / STUDIO / "jobs"


def _refuse_double(known: Sequence[Job], asked: tuple[tuple[str, ...], ...], run: str | None) -> None:
    for job in known:
        if job.run == run and (run is not None or job.commands == asked) and (state := job.state()) in LIVE:
            what = run or " ".join(["tunebench", *asked[0]])
            raise InputError(what, f"job {job.number} works on it and is {state}; wait for it, or stop it first")


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Of those who ask at the same time one after another."""
    with (place / ".lock").open("a") as lock:
        _hold(lock, place)
        yield


def _hold(lock: IO[str], runs: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise TunebenchError(f"{runs}: the disk has no locks, by which jobs wait for each other; choose another --runs") from None


def _start(job: Job, lock: IO[str]) -> None:
    """Start the job's process, which takes the lock over: there is no moment at which nobody holds it."""
    command = [sys.executable, "-P", "-m", "tunebench.detached.process", str(job.path.resolve()), str(lock.fileno())]
    with (job.path / LOG).open("ab") as log:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=job.folder,
            start_new_session=True,
            pass_fds=(lock.fileno(),),
            check=False,
        )
    if done.returncode:
        raise TunebenchError(f"{job.path}: the job's process could not be started; it said: {job.log_tail(3)}")
