"""How much memory the process that works on a run has in use, as the system tells it."""

from __future__ import annotations

from pathlib import Path

_LOCKS, _PROCESSES = Path("/proc/locks"), Path("/proc")


def in_use(run: Path) -> int | None:
    """Bytes of the process that holds the lock of a run; None where nobody does, or the system does not tell."""
    try:
        lock = (run / ".lock").stat()
        held = [line.split() for line in _LOCKS.read_text("utf-8").splitlines()]
        # number, FLOCK, ADVISORY, WRITE, process, major:minor:inode, …
        holder = next(
            words[4] for words in held if words[1] == "FLOCK" and words[3] == "WRITE" and words[5].endswith(f":{lock.st_ino}")
        )
        status = (_PROCESSES / holder / "status").read_text("utf-8")
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    except (OSError, StopIteration, IndexError, ValueError):
        return None
