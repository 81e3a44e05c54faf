"""Commands that a page waits for, each a process of its own: pages may come and go, and two clicks begin one."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from tunebench.comparing.processes import fault_of, tunebench
from tunebench.runs.cache import write_atomic

LOG = "log.txt"
_children: dict[Path, subprocess.Popen[bytes]] = {}
_guard = threading.Lock()


def begin(folder: Path, arguments: Sequence[str]) -> None:
    """Run a tunebench command whose words go to ``log.txt`` in its folder; one that is at work there already goes on instead."""
    with _guard:
        if not is_at_work(folder):
            write_atomic(folder / LOG, "")
            _children[folder] = _start(tunebench(*arguments), folder / LOG)


def _start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """The process. Ctrl-C in the terminal of the studio does not reach it: what is begun is brought to its end.

    Not by ``comparing.processes.start``, whose children end with the thread that started them: here each click has its own.
    """
    with log.open("wb") as file:
        nothing = subprocess.DEVNULL
        return subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=file, process_group=0)


def is_at_work(folder: Path) -> bool:
    """Say whether a command that was begun for this folder has not ended."""
    process = _children.get(folder)
    return process is not None and process.poll() is None


def fault(folder: Path) -> str | None:
    """What went wrong in the last command of a folder, in its own words; None where nothing did, or nothing was begun."""
    process = _children.get(folder)
    if process is None or process.poll() is None or process.returncode in (0, -signal.SIGINT, 130):
        return None
    return fault_of(folder / LOG, process.returncode)


def words(folder: Path, most: int = 12) -> list[str]:
    """The last lines that the command of a folder has said."""
    try:
        return (folder / LOG).read_text("utf-8", errors="replace").splitlines()[-most:]
    except OSError:
        return []


def stop(folder: Path) -> None:
    """End the command of a folder as Ctrl-C would; what was not complete is not there."""
    with _guard:
        process = _children.pop(folder, None)
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGINT)
            threading.Thread(target=process.wait, daemon=True).start()
