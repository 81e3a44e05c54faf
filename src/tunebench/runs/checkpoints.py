"""The checkpoints of a run as files: which there are, which is the newest, what each says of its moment. No torch.

``checkpoints/checkpoint-<step>/`` holds ``state.safetensors`` (what trains, and the optimizer's memory of it) and
``progress.json``. A folder appears whole or not at all. Two stay: the newest, to resume from, and the best so far.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebench.errors import InputError, TunebenchError
from tunebench.runs.cache import write_atomic
from tunebench.runs.disk import as_os_errors

STATE, PROGRESS = "state.safetensors", "progress.json"
_NAME = re.compile(r"^checkpoint-(\d+)$")


@dataclass(frozen=True)
class Checkpoint:
    """A moment of a run: its folder, how many events had been recorded, and where the job stood."""

    folder: Path
    step: int
    events: int
    progress: dict[str, Any]


def folder_of(run: Path, step: int) -> Path:
    """Where the checkpoint of a step lies, or would."""
    return run / "checkpoints" / f"checkpoint-{step}"


def newest(run: Path) -> Checkpoint | None:
    """The checkpoint a run resumes from; None where it has none.

    Raises InputError where it cannot be read.
    """
    steps = _steps(run)
    if not steps:
        return None
    folder = folder_of(run, max(steps))
    try:
        found = json.loads((folder / PROGRESS).read_text("utf-8"))
        return Checkpoint(folder, max(steps), int(found["events"]), dict(found["progress"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(folder, error) from None


def damaged(folder: Path, error: Exception) -> InputError:
    """The words about a checkpoint that cannot be read."""
    return InputError(str(folder), f"is damaged ({error}); remove that folder, and the run goes on from an earlier moment")


def write(run: Path, step: int, events: int, progress: dict[str, Any], save: Callable[[Path], None]) -> None:
    """Write a checkpoint whole: ``save`` writes the tensors into a file.

    Where the step has one already its tensors are these, and only what was said since is written anew.
    """
    folder = folder_of(run, step)
    told = json.dumps({"events": events, "progress": progress}, indent=2) + "\n"
    if folder.is_dir():
        write_atomic(folder / PROGRESS, told)
        return
    part = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        with as_os_errors():
            save(part / STATE)
        (part / PROGRESS).write_text(told, "utf-8")
        for name in (STATE, PROGRESS):
            with (part / name).open("rb") as file:
                os.fsync(file.fileno())
        part.rename(folder)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise TunebenchError(
            f"{folder}: cannot be written ({error.strerror or error}); free some space, then the same command continues"
        ) from error


def keep_only(run: Path, steps: set[int]) -> None:
    """Remove every other checkpoint."""
    for step in _steps(run) - steps:
        shutil.rmtree(folder_of(run, step), ignore_errors=True)


def _steps(run: Path) -> set[int]:
    folder = run / "checkpoints"
    names = os.listdir(folder) if folder.is_dir() else []
    return {int(found[1]) for name in names if (found := _NAME.match(name))}
