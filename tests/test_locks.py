"""The lock of a run directory on disks that have none, or refuse it."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path
from typing import Any

import pytest

from tunebench.errors import TunebenchError
from tunebench.runs.folder import Folder


def refusing(code: int) -> Any:
    def flock(*_: Any) -> None:
        raise OSError(code, "as the disk says")

    return flock


@pytest.mark.parametrize("code", [errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK])
def test_a_disk_without_locks_is_worked_on_all_the_same(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(code))
    folder, worked = Folder(tmp_path), False
    with folder.locked():
        worked = True
    assert worked
    assert not folder.is_locked()


def test_a_disk_that_fails_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(errno.EIO))
    with (
        pytest.raises(TunebenchError, match=r"cannot be written \(as the disk says\); check the disk"),
        Folder(tmp_path).locked(),
    ):
        pytest.fail("the folder is not held")


def test_what_goes_wrong_while_a_folder_is_held_passes_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), Folder(tmp_path).locked():
        (tmp_path / "absent").read_text("utf-8")
