"""One detached job: a folder with what it was asked, what it noted, what it said, and the lock that its process holds.

job.json  state.json  log.txt  wanted  .lock
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tunebench.errors import TunebenchError
from tunebench.runs.cache import write_atomic
from tunebench.runs.folder import Folder

FORMAT_VERSION = 1
LOG, WANTED = "log.txt", "wanted"
"""A job goes on while the file ``wanted`` is there: taking a file away works on a full disk too."""
Kind = Literal["train", "compare", "starter", "export", "search"]
State = Literal["waiting", "running", "finished", "failed", "stopped", "interrupted"]
LIVE: tuple[State, ...] = ("waiting", "running")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_TAIL = 65_536


@dataclass(frozen=True)
class Job:
    """One or more ``tunebench`` commands, each without its first word; ``run`` is the run that they work on.

    Relative paths in them start from ``folder``, where the job was asked for.
    """

    path: Path
    number: int
    commands: tuple[tuple[str, ...], ...]
    kind: Kind
    run: str | None
    created: str
    folder: str

    def state(self) -> State:
        """Where the job is, from its lock and from what its process noted: ``interrupted`` is one that was killed."""
        noted = self.noted()
        if noted.get("ended"):
            return self._ended_as(noted)
        if not Folder(self.path).is_locked():
            noted = self.noted()  # it may have ended between the two looks
            return self._ended_as(noted) if noted.get("ended") else "interrupted"
        return "running" if noted.get("begun") else "waiting"

    def is_live(self) -> bool:
        """Say whether the job is waiting or running."""
        return self.state() in LIVE

    def log_tail(self, lines: int) -> str:
        """The last lines of what its commands said, of at most 64 KiB; empty where they have said nothing yet."""
        try:
            with (self.path / LOG).open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - _TAIL))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        shown = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]  # a counter writes over its own line
        return "\n".join("\n".join(shown).rstrip("\n").split("\n")[-lines:]) if lines > 0 else ""

    def noted(self) -> dict[str, Any]:
        """What the job's process noted: when it was ``begun`` and ``ended`` (seconds since 1970), the exit ``codes`` so
        far, whether it was ``stopped``; empty where there is nothing yet."""
        with contextlib.suppress(OSError, ValueError):
            found = json.loads((self.path / "state.json").read_text("utf-8"))
            return found if isinstance(found, dict) else {}
        return {}

    def note(self, value: Mapping[str, Any]) -> None:
        """Write down where the job is. A folder that was removed meanwhile stays away; a full disk keeps the earlier note."""
        if self.path.is_dir():
            with contextlib.suppress(TunebenchError):
                write_atomic(self.path / "state.json", json.dumps(dict(value)) + "\n")

    def as_dict(self) -> dict[str, Any]:
        """What ``job.json`` holds."""
        asked = {"number": self.number, "commands": [list(command) for command in self.commands], "run": self.run}
        return {"format": FORMAT_VERSION, **asked, "kind": self.kind, "created": self.created, "folder": self.folder}

    def _ended_as(self, noted: Mapping[str, Any]) -> State:
        codes = noted.get("codes") or []
        if codes == [0] * len(self.commands):
            return "finished"
        if noted.get("stopped"):
            return "stopped"
        return "interrupted" if codes and codes[-1] < 0 else "failed"


def read_job(path: Path) -> Job | None:
    """The job in a folder; None where what it was asked is not there, or not readable."""
    try:
        found = json.loads((path / "job.json").read_text("utf-8"))
        commands = tuple(tuple(map(str, command)) for command in found["commands"])
        known = found["format"] == FORMAT_VERSION and commands and all(commands)
        run = found["run"] if isinstance(found["run"], str) else None
        job = Job(path, int(path.name), commands, found["kind"], run, str(found["created"]), str(found["folder"]))
        return job if known else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def numbers(place: Path) -> list[int]:
    """The numbers of the jobs in a folder of jobs."""
    try:
        return [int(name) for name in os.listdir(place) if _NUMBER.fullmatch(name)]
    except OSError:
        return []


def older(job: Job) -> Iterator[Folder]:
    """The folders of the jobs that were asked for before this one."""
    return (Folder(job.path.parent / str(number)) for number in numbers(job.path.parent) if number < job.number)
