"""The first `data` section of a recipe for a file or folder, and why it says what it says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebench.data.beside import Splits, find_splits
from tunebench.data.guess import Guess, guess_columns
from tunebench.data.tables import open_source
from tunebench.errors import InputError, listing
from tunebench.recipe.draft import relative_path
from tunebench.recipe.sources import SplitFile

FEW_ROWS = 50
LENGTHS = (64, 128, 256, 512)
_TOKENS_PER_WORD = 1.4


@dataclass(frozen=True)
class Draft:
    """Settings of `data`, why each was chosen, and how many tokens most texts have at most."""

    settings: dict[str, Any]
    reasons: dict[str, str]
    max_length: int


def draft_data(path: Path, text: str | None, label: str | None, folder: Path) -> Draft:
    """Guess the `data` section for a file or folder; its paths are relative to ``folder``.

    Raises InputError for what cannot be read, and where columns or splits are not clear.
    """
    splits = find_splits(path)
    reader = open_source(splits.train, SplitFile(file="-"))
    if splits.train.is_dir():
        text, label = text or "text", label or "label"
    guess = guess_columns(reader, text, label)
    settings: dict[str, Any] = {"train": relative_path(splits.train, folder)}
    reasons = {"train": f"{_counted(guess)}{'; ' + reader.remark if reader.remark else ''}"}
    for name in ("validation", "test"):
        settings[name], reasons[name] = _split(splits, name, guess, folder)
    if not splits.train.is_dir():
        files = [own for own in (splits.validation, splits.test) if own and relative_path(own, folder) in settings.values()]
        has_ids = guess.id is not None and all(guess.id in _columns(own) for own in files)
        columns = {"text": guess.text, "label": guess.label} | ({"id": guess.id} if has_ids else {})
        settings, reasons = settings | columns, reasons | {role: guess.reasons[role] for role in columns}
    labels = [f"{name} ({count:,})" if guess.is_whole else name for name, count in guess.labels.items()]
    named = "the names of its folders" if splits.train.is_dir() else guess.reasons["label"]
    reasons["label"] = f"{named}; {len(labels)} labels{'' if guess.is_whole else ' in a sample'}: {listing(labels, 6)}"
    if guess.has_html:
        settings["clean"], reasons["clean"] = {"html": "strip"}, "the texts hold HTML, such as <br /> or &amp;"
    return Draft(settings, reasons, _length(guess.words))


def _split(splits: Splits, name: str, guess: Guess, folder: Path) -> tuple[Any, str]:
    """A split's own file where there is one with the same columns, else a share of the training rows."""
    own, why = getattr(splits, name), "no file is named so"
    if own is not None:
        try:
            lacking = [column for column in (guess.text, guess.label) if column not in _columns(own)]
        except InputError as error:
            why = str(error)
        else:
            if not lacking:
                return relative_path(own, folder), "named so"
            why = f"{own.name} has no column {listing(map(repr, lacking))}"
    fraction = {"fraction": 0.2} if guess.rows < FEW_ROWS else {"fraction": 0.1, "stratify": True}
    return fraction, f"{'a fifth' if guess.rows < FEW_ROWS else 'a tenth'} of the training rows: {why}"


def _columns(path: Path) -> list[str]:
    return list(open_source(path, SplitFile(file="-")).types)


def _counted(guess: Guess) -> str:
    return f"{guess.rows:,} rows" + (f", and {guess.unreadable:,} that cannot be read" if guess.unreadable else "")


def _length(words: list[int]) -> int:
    """The smallest usual length that cuts about one text in twenty."""
    tokens = _TOKENS_PER_WORD * words[int(0.95 * (len(words) - 1))] + 2 if words else 0
    return next((length for length in LENGTHS if tokens <= length), LENGTHS[-1])
