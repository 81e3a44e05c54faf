"""The cache: made once, whole or not at all, with words about disks that refuse."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from pathlib import Path

import pytest

from tunebench.errors import InputError, TunebenchError
from tunebench.runs import cache


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("TUNEBENCH_HOME", str(folder))
    return folder


def write_note(folder: Path) -> None:
    (folder / "note.txt").write_text("made", encoding="utf-8")


def every_file(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def refuse(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def mkdir(self: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "mkdir", mkdir)


def test_the_root_is_tunebench_home_as_it_is_at_this_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.cache_root() == tmp_path / "home"
    monkeypatch.setenv("TUNEBENCH_HOME", str(tmp_path / "moved"))
    assert cache.cache_root() == tmp_path / "moved"


def test_without_tunebench_home_the_root_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNEBENCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_root() == tmp_path / "xdg" / "tunebench"


@pytest.mark.parametrize("xdg", ["", "relative/path"])
def test_without_either_the_root_is_below_the_home_folder(xdg: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEBENCH_HOME", "")
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    monkeypatch.setattr(os.path, "expanduser", lambda path: str(path).replace("~", str(tmp_path), 1))
    assert cache.cache_root() == tmp_path / ".cache" / "tunebench"


def test_a_folder_is_made_once_and_then_found() -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        write_note(folder)

    first = cache.cached("tokens", "abc", make)
    assert cache.cached("tokens", "abc", make) == first == cache.cache_root() / "tokens" / "abc"
    assert len(made) == 1
    assert (first / "note.txt").read_text(encoding="utf-8") == "made"


def test_a_folder_is_not_visible_before_it_is_complete() -> None:
    target = cache.cache_root() / "tokens" / "abc"

    def make(folder: Path) -> None:
        write_note(folder)
        assert folder.parent == target.parent
        assert not target.exists()

    assert cache.cached("tokens", "abc", make) == target


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), ValueError("no such model"), ConnectionError("no route")])
def test_a_make_that_fails_leaves_nothing_and_its_own_error(interruption: BaseException, home: Path) -> None:
    def make(folder: Path) -> None:
        write_note(folder)
        raise interruption

    with pytest.raises(type(interruption)) as caught:
        cache.cached("tokens", "abc", make)
    assert caught.value is interruption
    assert list((home / "tokens").iterdir()) == []


def test_a_maker_that_loses_the_race_takes_the_winners_folder(home: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "note.txt").write_text("loser", encoding="utf-8")
        cache.cached("tokens", "abc", write_note)

    found = cache.cached("tokens", "abc", make)
    assert (found / "note.txt").read_text(encoding="utf-8") == "made"
    assert every_file(home) == [os.path.join("tokens", "abc", "note.txt")]


def test_makers_at_the_same_time_all_get_the_same_whole_folder(home: Path) -> None:
    together = threading.Barrier(4)
    found: list[str] = []

    def make(folder: Path) -> None:
        write_note(folder)
        together.wait(timeout=30)

    def work() -> None:
        found.append((cache.cached("tokens", "abc", make) / "note.txt").read_text(encoding="utf-8"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["made"] * 4
    assert every_file(home) == [os.path.join("tokens", "abc", "note.txt")]


@pytest.mark.parametrize("digest", ["", "..", ".hidden", "a/b", "a\\b"])
def test_a_digest_that_is_no_plain_folder_name_is_refused(digest: str) -> None:
    with pytest.raises(ValueError, match="plain folder name"):
        cache.cached("tokens", digest, write_note)


@pytest.mark.parametrize(("number", "remedy"), [(errno.EROFS, "make the folder writable"), (errno.EACCES, "TUNEBENCH_HOME")])
def test_a_read_only_root_is_named_with_a_remedy(number: int, remedy: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(number, monkeypatch)
    with pytest.raises(TunebenchError, match=remedy) as caught:
        cache.cached("tokens", "abc", write_note)
    assert str(home / "tokens") in str(caught.value)


def test_a_disk_that_fills_while_making_is_named_and_leaves_nothing(home: Path) -> None:
    def make(folder: Path) -> None:
        write_note(folder)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(TunebenchError, match="free some space") as caught:
        cache.cached("tokens", "abc", make)
    assert str(home / "tokens") in str(caught.value)
    assert every_file(home) == []


def test_a_file_where_the_root_should_be_is_explained(home: Path) -> None:
    home.write_text("in the way", encoding="utf-8")
    with pytest.raises(TunebenchError, match="a file stands where a folder is needed"):
        cache.cached("tokens", "abc", write_note)


def test_a_file_digest_is_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "weights").write_bytes(content)
    assert cache.file_digest(tmp_path / "weights") == hashlib.sha256(content).hexdigest()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(TunebenchError, match=r"cannot read .*absent"):
        cache.file_digest(tmp_path / "absent")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_a_model_folder_keeps_its_digest_when_it_is_copied_and_a_card_is_added(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("model.safetensors", "config.json"):
        (copy / name).write_bytes((model / name).read_bytes())
    (copy / "README.md").write_text("a card", encoding="utf-8")
    assert cache.folder_digest(copy) == cache.folder_digest(model)


def test_every_byte_of_weights_and_every_tokenizer_file_changes_a_model_folders_digest(model: Path) -> None:
    digests = {cache.folder_digest(model)}
    (model / "model.safetensors").write_bytes(b"weightS")
    digests.add(cache.folder_digest(model))
    (model / "vocab.txt").write_bytes(b"")
    digests.add(cache.folder_digest(model))
    (model / "vocab.txt").rename(model / "tokenizer.json")
    digests.add(cache.folder_digest(model))
    assert len(digests) == 4


def test_a_folder_without_any_model_file_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a model folder holding \*\.safetensors"):
        cache.folder_digest(tmp_path)


def test_weights_that_are_a_dead_link_are_not_passed_over(model: Path) -> None:
    (model / "other.safetensors").symlink_to(model / "absent")
    with pytest.raises(TunebenchError, match="cannot read"):
        cache.folder_digest(model)


def test_a_file_is_written_whole_as_utf_8_with_the_folders_on_the_way(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "metrics.json"
    cache.write_atomic(path, "old")
    cache.write_atomic(path, "台灣\n")
    assert path.read_bytes() == "台灣\n".encode()
    assert every_file(tmp_path) == [str(path.relative_to(tmp_path))]


def test_a_write_that_fails_keeps_the_old_content_and_leaves_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.json"
    path.write_bytes(b"old")

    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(TunebenchError, match="free some space") as caught:
        cache.write_atomic(path, b"new")
    assert str(tmp_path) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert every_file(tmp_path) == ["metrics.json"]
