"""Detached jobs: in order, once, whoever asked for them is gone or not; stopped, killed, continued."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny import World, write_recipe

from tunebench.detached.job import Job, read_job
from tunebench.detached.process import _environment
from tunebench.detached.queue import jobs, resubmit, stop, submit
from tunebench.errors import InputError, TunebenchError
from tunebench.events import Resumed, Step
from tunebench.runs import checkpoints
from tunebench.runs.run import Run

CHEAP = [["--version"]]
SUBMIT = """
import sys, time
from pathlib import Path
from tunebench.detached.queue import submit
from tunebench.errors import InputError
print("ready", flush=True)
sys.stdin.readline()
try:
    print(submit(Path(sys.argv[1]), [["--version"]], kind="train", run="same").number, flush=True)
except InputError as error:
    print(error, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Path]:
    """A runs folder whose jobs end with the test."""
    yield tmp_path / "runs"
    for job in jobs(tmp_path / "runs"):
        stop(job)
    until(lambda: not any(job.is_live() for job in jobs(tmp_path / "runs")))


@contextlib.contextmanager
def turn_taken(runs: Path) -> Iterator[Path]:
    """The oldest job is somebody's, as long as this block lasts; jobs asked for meanwhile wait."""
    folder = runs / ".studio" / "jobs" / "1"
    folder.mkdir(parents=True)
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def until(true: Callable[[], Any], seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.05)


def ended(job: Job) -> str:
    until(lambda: not job.is_live())
    return job.state()


def process_of(job: Job) -> int:
    """The process that works on a job: the only one that bears its folder in its command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode().split("\0")
            if "tunebench.detached.process" in words and str(job.path.resolve()) in words:
                return int(path.parent.name)
    raise AssertionError("no process works on the job")


def asking(runs: Path) -> subprocess.Popen[str]:
    command, pipe = [sys.executable, "-c", SUBMIT, str(runs)], subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_commands_run_one_after_another_and_what_they_said_is_kept(runs: Path) -> None:
    job = submit(runs, [["--version"], ["runs", "--runs", str(runs)]], kind="train", run="a")
    assert ended(job) == "finished"
    assert job.noted()["codes"] == [0, 0]
    said = job.log_tail(10).split("\n")
    assert said[0] == "$ tunebench --version"
    assert said[1].startswith("tunebench, version")
    assert said[3].startswith("no runs in")
    assert job.log_tail(1) == said[3]
    (known,) = jobs(runs)
    assert known == job == read_job(runs / ".studio" / "jobs" / "1")
    assert json.loads((job.path / "job.json").read_text("utf-8")) | {"created": "", "folder": ""} == {
        "format": 1,
        "number": 1,
        "commands": [["--version"], ["runs", "--runs", str(runs)]],
        "run": "a",
        "kind": "train",
        "created": "",
        "folder": "",
    }


def test_a_command_that_fails_is_the_last_one(runs: Path) -> None:
    job = submit(runs, [["train", "nothing.yaml"], ["--version"]], kind="train", run="a")
    assert ended(job) == "failed"
    assert job.noted()["codes"] == [2]
    assert job.log_tail(1).startswith("error: nothing.yaml: no such recipe file")


def test_jobs_take_turns_in_the_order_they_were_asked_for(runs: Path) -> None:
    with turn_taken(runs):
        asked = [submit(runs, CHEAP, kind="train", run=name) for name in ("a", "b", "c")]
        time.sleep(0.5)
        assert [(job.number, job.state()) for job in jobs(runs)] == [(4, "waiting"), (3, "waiting"), (2, "waiting")]
    assert [ended(job) for job in asked] == ["finished"] * 3
    first, second, third = (job.noted() for job in asked)
    assert first["ended"] <= second["begun"] <= second["ended"] <= third["begun"]


def test_of_two_who_ask_for_one_run_at_the_same_moment_one_wins(runs: Path) -> None:
    with turn_taken(runs):
        two = [asking(runs), asking(runs)]
        for process in two:
            tell(process)
        answers = sorted(hear(process) for process in two)
        for process in two:
            process.communicate("\n")
        assert answers == ["2", "same: job 2 works on it and is waiting; wait for it, or stop it first"]
        assert len(jobs(runs)) == 1
    ended(jobs(runs)[0])
    assert submit(runs, CHEAP, kind="train", run="same").number == 3, "what has ended is in nobody's way"


def test_a_job_goes_on_when_the_server_that_asked_is_killed(runs: Path) -> None:
    with turn_taken(runs):
        server = asking(runs)
        tell(server)
        assert hear(server) == "2"
        os.killpg(server.pid, signal.SIGKILL)
        server.communicate()
        (job,) = jobs(runs)
        assert job.state() == "waiting"
    assert ended(job) == "finished"


def test_the_same_commands_are_not_asked_for_twice_at_a_time(runs: Path) -> None:
    with turn_taken(runs):
        submit(runs, CHEAP, kind="starter", run=None)
        with pytest.raises(InputError, match=r"tunebench --version: job 2 works on it and is waiting"):
            submit(runs, CHEAP, kind="starter", run=None)
        submit(runs, [["--help"]], kind="starter", run=None)


def test_a_waiting_job_that_is_stopped_never_begins(runs: Path) -> None:
    with turn_taken(runs):
        job = submit(runs, CHEAP, kind="train", run="a")
        stop(job)
        assert ended(job) == "stopped"
    assert job.noted()["begun"] is None
    assert job.log_tail(5) == ""
    again = resubmit(job)
    assert (again.number, again.commands, again.run, again.kind) == (3, job.commands, "a", "train")
    assert ended(again) == "finished"


def test_a_job_whose_process_is_killed_is_interrupted(runs: Path) -> None:
    with turn_taken(runs):
        job = submit(runs, CHEAP, kind="train", run="a")
        os.kill(process_of(job), signal.SIGKILL)
        assert ended(job) == "interrupted"
        assert resubmit(job).state() == "waiting"


def test_a_folder_that_was_removed_stays_away_and_its_job_ends(runs: Path) -> None:
    with turn_taken(runs):
        job = submit(runs, CHEAP, kind="train", run="a")
        process = process_of(job)
        shutil.rmtree(job.path)
        until(lambda: not Path(f"/proc/{process}").exists())
        assert not job.path.exists()
        assert (job.state(), job.log_tail(3), jobs(runs)) == ("interrupted", "", [])
        stop(job)


@pytest.mark.parametrize("text", ["", '{"format": 1, "comm', "[]", '{"format": 2}', '{"format": 1, "commands": [[]]}', "\xff"])
def test_a_half_written_job_is_left_out_and_its_number_stays_taken(text: str, runs: Path) -> None:
    folder = runs / ".studio" / "jobs" / "7"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(text, "latin-1")
    (folder.parent / "notes").mkdir()
    assert jobs(runs) == []
    assert submit(runs, CHEAP, kind="train", run="a").number == 8


@pytest.mark.parametrize("name", ["../../x", "", "a" * 300, "\U0001f600", "/etc", "a/b/c", "a/..", "a\n"])
def test_a_run_that_is_no_name_is_refused_before_anything_is_made(name: str, runs: Path) -> None:
    with pytest.raises(InputError, match="is no name for a run"):
        submit(runs, CHEAP, kind="train", run=name)
    assert not runs.exists()


def test_commands_start_where_they_were_asked_for(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    job = submit(runs, [["train", "nothing.yaml"]], kind="train", run="a")
    assert job.folder == str(tmp_path / "there")
    assert ended(job) == "failed"
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(tmp_path / "there")
    with pytest.raises(InputError, match=r"was asked for in .*there, which is not there any more"):
        resubmit(job)


@pytest.mark.parametrize(
    ("noted", "state"),
    [
        (None, "interrupted"),
        ("{", "interrupted"),
        ({"begun": 1.0, "codes": [0], "stopped": False, "ended": None}, "interrupted"),
        ({"begun": 1.0, "codes": [0, 0], "stopped": False, "ended": 2.0}, "finished"),
        ({"begun": 1.0, "codes": [0, 0], "stopped": True, "ended": 2.0}, "finished"),
        ({"begun": 1.0, "codes": [0, 3], "stopped": False, "ended": 2.0}, "failed"),
        ({"begun": 1.0, "codes": [0, -9], "stopped": False, "ended": 2.0}, "interrupted"),
        ({"begun": 1.0, "codes": [130], "stopped": True, "ended": 2.0}, "stopped"),
        ({"begun": 1.0, "codes": [0], "stopped": True, "ended": 2.0}, "stopped"),
    ],
)
def test_the_state_of_a_job_is_what_its_process_noted(noted: Any, state: str, tmp_path: Path) -> None:
    job = Job(tmp_path, 1, (("train", "a.yaml"), ("merge", "a")), "train", "a", "", str(tmp_path))
    if noted is not None:
        (tmp_path / "state.json").write_text(noted if isinstance(noted, str) else json.dumps(noted), "utf-8")
    assert job.state() == state


def test_the_tail_of_a_log_is_bounded_and_shows_a_counter_once(tmp_path: Path) -> None:
    job = Job(tmp_path, 1, (("train", "a.yaml"),), "train", "a", "", str(tmp_path))
    (tmp_path / "log.txt").write_bytes(b"\xff" * 300_000 + b"\nrows 1\rrows 2\rrows 3\nend\n")
    assert job.log_tail(2) == "rows 3\nend"
    assert job.log_tail(0) == ""
    assert len(job.log_tail(9)) < 70_000


def test_a_disk_without_locks_is_told(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refusing)
    with pytest.raises(TunebenchError, match="the disk has no locks, by which jobs wait for each other; choose another --runs"):
        submit(runs, CHEAP, kind="train", run="a")


def test_threads_that_wait_let_others_work_unless_the_user_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert _environment()["GOMP_SPINCOUNT"] == "1000"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert "GOMP_SPINCOUNT" not in _environment()


def test_a_training_is_stopped_killed_and_continued_and_loses_nothing(world: World, runs: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "long.yaml", data=world.data, base=world.bases["bert"], train={"max_steps": 3_000})
    job, run = submit(runs, [["train", str(recipe), f"--runs={runs}"]], kind="train", run="long"), Run(runs / "long")

    def steps() -> int:
        return sum(1 for _ in run.events(Step))

    until(lambda: steps() > 3)
    assert (job.state(), run.status()) == ("running", "running")
    os.kill(process_of(job), signal.SIGKILL)  # its command hears of it, keeps a checkpoint and ends
    assert ended(job) == "interrupted"
    assert run.status() == "interrupted"
    kept = checkpoints.newest(run.path)
    assert kept is not None

    again = resubmit(job)
    until(lambda: any(True for _ in run.events(Resumed)) and steps() > kept.step + 3)  # earlier ones after the checkpoint are cut
    stop(again)
    assert ended(again) == "stopped"
    assert again.noted()["codes"] == [130]
    assert [event.step for event in run.events(Resumed) if isinstance(event, Resumed)] == [kept.step]
    last = checkpoints.newest(run.path)
    assert last is not None
    assert last.step > kept.step
    assert "interrupted: " in again.log_tail(5)
