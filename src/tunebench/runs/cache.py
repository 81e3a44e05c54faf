"""The content-addressed cache: whatever is imported or derived lies under the digest of what made it.

The root is ``TUNEBENCH_HOME``, else ``$XDG_CACHE_HOME/tunebench``, else ``~/.cache/tunebench``. Everything
in it appears whole or not at all: it is written beside its place, flushed to disk and then renamed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from uuid import uuid4

from tunebench.errors import InputError, TunebenchError, listing
from tunebench.runs.disk import FULL_DISK, as_os_errors, explained

HOME_VARIABLE = "TUNEBENCH_HOME"
_DESCRIPTIONS = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spm.model",
    "tokenizer.model",
)
MODEL_FILES = ("*.safetensors", "*.safetensors.index.json", *_DESCRIPTIONS)
"""What of a saved model decides a prediction."""
BASE_FILES = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json", *_DESCRIPTIONS)
"""The same of a base: repositories hold the same weights in other forms beside the ones that transformers loads."""
_ELSEWHERE = f"set {HOME_VARIABLE} to"


def cache_root() -> Path:
    """Where the cache lies, as the environment says at this moment; the folder need not exist yet.

    Raises TunebenchError where the environment names no such place and the user has no home folder.
    """
    if home := os.environ.get(HOME_VARIABLE):
        return _expanded(home)
    # The XDG rules say that a relative path in the variable is to be ignored.
    if (xdg := os.environ.get("XDG_CACHE_HOME")) and os.path.isabs(xdg):
        return Path(xdg) / "tunebench"
    return _expanded("~/.cache/tunebench")


def cached(kind: str, digest: str, make: Callable[[Path], None]) -> Path:
    """The folder ``<root>/<kind>/<digest>``, made by ``make(folder)`` where it does not exist yet.

    ``make`` fills an empty folder that becomes visible under its name only once it is complete. Of several
    makers at once the first to finish wins and the others take its folder. A ``make`` that fails leaves nothing,
    and its own error passes through. Raises TunebenchError, naming the folder and a remedy, where the folder cannot be written.
    """
    for word in (kind, digest):
        if not word or word.startswith(".") or {"/", "\\", "\0"} & set(word):
            raise ValueError(f"expected a plain folder name for the cache, found {word!r}")
    target = cache_root() / kind / digest
    if target.is_dir():
        return target
    temporary = target.with_name(f".{digest}.{uuid4().hex}")
    try:
        with explained(target, _ELSEWHERE):
            temporary.mkdir(parents=True)
        _fill(temporary, make, target)
        with explained(target, _ELSEWHERE):
            _sync_folder(temporary)
            _publish(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def file_digest(path: Path | str) -> str:
    """The sha256 of a file's bytes as 64 hex digits, read piece by piece.

    Raises TunebenchError where the file cannot be read.
    """
    try:
        with Path(path).open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise TunebenchError(
            f"cannot read {path}: {error.strerror or error}. Check that the file exists and is readable"
        ) from error


def folder_digest(folder: Path | str, patterns: Sequence[str] = MODEL_FILES) -> str:
    """One sha256 for what a model folder holds: the names and contents of its weights, config and tokenizer files.

    Only files directly in the folder whose names match ``patterns`` count, so that a card or a licence
    beside them changes nothing. Raises InputError where the folder is missing or holds none of these files.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(str(folder), "expected a model folder, found " + ("a file" if folder.exists() else "nothing there"))
    files = sorted(p for p in folder.iterdir() if not p.is_dir() and any(fnmatchcase(p.name, pattern) for pattern in patterns))
    if not files:
        raise InputError(str(folder), f"expected a model folder holding {listing(patterns)}, found none of these files")
    whole = hashlib.sha256()
    for path in files:
        whole.update(f"{path.name}\0{file_digest(path)}\n".encode())
    return whole.hexdigest()


def write_atomic(path: Path | str, data: bytes | str) -> None:
    """Replace a file's content whole: a reader sees the old bytes or the new ones, never a part. Text becomes UTF-8.

    Folders on the way are made. Raises TunebenchError, naming the folder and a remedy, where it cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    content = data.encode("utf-8") if isinstance(data, str) else data
    with explained(path, "choose"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise TunebenchError(f"no home folder to keep the cache in; set {HOME_VARIABLE} to a folder you can write to") from error


def _fill(temporary: Path, make: Callable[[Path], None], target: Path) -> None:
    """Run ``make``; of its errors only those about the cache's own disk are explained, as the others are about its source."""
    try:
        with as_os_errors():
            make(temporary)
    except OSError as error:
        inside = isinstance(error.filename, str) and Path(error.filename).is_relative_to(temporary)
        if not inside and error.errno not in FULL_DISK:
            raise
        with explained(target, _ELSEWHERE):
            raise


def _publish(temporary: Path, target: Path) -> None:
    try:
        temporary.rename(target)
    except OSError:
        if not target.is_dir():  # else: another maker was first, and its folder is just as good
            raise


def _sync_folder(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
