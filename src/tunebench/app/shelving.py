"""The runs of a folder as its page needs them: found, ordered, looked into. Plain values, nothing is drawn."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunebench.errors import TunebenchError
from tunebench.runs import exports
from tunebench.runs.chain import Chain, is_chain
from tunebench.runs.run import STAGES, Run, is_run
from tunebench.runs.shelf import Notes, read_notes

ORDERS = ("newest", "name", "accuracy", "status")
SEALED = ("predictions.parquet", "losses.parquet")
"""Files of a run with rows of its test split: taking one is a look at them."""
MOST_FILES, LARGEST_BYTES = 2000, 50_000_000
"""Files that are listed, and the size up to which one can be downloaded."""
_TRACES = ("recipe.yaml", "events.jsonl", "metrics.json", "adapter", "model")
"""What a run directory without its manifest is known by."""


@dataclass(frozen=True)
class Shelved:
    """A run as a line of the list: ``line`` as `tunebench runs` has it, what somebody wrote beside it, when it last changed."""

    line: Mapping[str, Any]
    notes: Notes
    changed: datetime

    @property
    def name(self) -> str:
        """The name that commands take."""
        return str(self.line["run"])

    @property
    def path(self) -> Path:
        """Its directory."""
        return Path(self.line["path"])

    def holds(self, words: Sequence[str]) -> bool:
        """Say whether every word stands somewhere in its line, its tags or its note."""
        told = [self.line[key] for key in ("run", "status", "base", "method")]
        text = " ".join([*map(str, told), *self.notes.tags, self.notes.note]).casefold()
        return all(word.casefold() in text for word in words)


@dataclass(frozen=True)
class Kept:
    """A file of a run: its place in it, its size, when it last changed."""

    name: str
    size: int
    changed: datetime


def shelved(lines: Sequence[Mapping[str, Any]]) -> list[Shelved]:
    """The runs of the lines with what is written beside them; a stage bears the notes of its own folder."""
    return [Shelved(line, read_notes(Run(Path(line["path"]))), _changed(Path(line["path"]))) for line in lines]


def found(runs: Sequence[Shelved], text: str = "", tags: Sequence[str] = (), order: str = "newest") -> list[Shelved]:
    """The runs that hold every word of the text and every tag, in one of the ``ORDERS``; of equal ones by name."""
    kept = [run for run in runs if run.holds(text.split()) and set(tags) <= set(run.notes.tags)]
    kept.sort(key=lambda run: run.name)
    if order == "newest":
        kept.sort(key=lambda run: run.changed, reverse=True)
    elif order == "accuracy":
        kept.sort(key=lambda run: -1.0 if run.line["accuracy"] is None else run.line["accuracy"], reverse=True)
    elif order == "status":
        kept.sort(key=lambda run: str(run.line["status"]))
    return kept


def tags_of(runs: Sequence[Shelved]) -> list[str]:
    """All tags in use, by name."""
    return sorted({tag for run in runs for tag in run.notes.tags}, key=str.casefold)


def half_written(runs: Path) -> list[str]:
    """Folders that hold parts of a run and no manifest, so that no command takes them for one."""
    try:
        places = sorted(path for path in runs.iterdir() if not path.name.startswith(".") and path.is_dir() and not is_run(path))
        return [place.name for place in places if any((place / name).exists() for name in _TRACES)]
    except OSError:
        return []


def opened(name: str, runs: Path) -> Run | Chain | None:
    """The run or chain of a line by its name; None where it is gone."""
    chain, _, stage = name.partition("/")
    path = runs / chain / STAGES / stage if stage else runs / chain
    return None if not is_run(path) else Chain(path) if is_chain(path) else Run(path)


def files_of(path: Path) -> list[Kept]:
    """The files of a run by name, at most ``MOST_FILES``; links, hidden files and what goes meanwhile are left out."""
    kept = []
    for place in _files(path):
        try:
            status = place.stat()
        except OSError:
            continue
        kept.append(Kept(place.relative_to(path).as_posix(), status.st_size, _date(status.st_mtime)))
        if len(kept) == MOST_FILES:
            break
    return sorted(kept, key=lambda file: (file.name.count("/"), file.name))


def is_sealed(name: str) -> bool:
    """Say whether a file of a run holds rows of a test split."""
    return name.rpartition("/")[2] in SEALED


def exported(run: Run) -> dict[str, dict[str, Any]]:
    """What every export that is there says of itself, by format; one that cannot be read says so under ``error``."""
    told: dict[str, dict[str, Any]] = {}
    for name in exports.ENGINES:
        try:
            said = exports.exported(run, name)
        except TunebenchError as error:
            said = {"error": str(error)}
        if said is not None:
            told[name] = said
    return told


def _files(path: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            file = Path(place) / name
            if not name.startswith(".") and not file.is_symlink():
                yield file


def _changed(path: Path) -> datetime:
    for name in ("events.jsonl", "manifest.json"):
        try:
            return _date((path / name).stat().st_mtime)
        except OSError:
            continue
    return _date(0)


def _date(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).astimezone().replace(tzinfo=None)  # a table shows local time only so
