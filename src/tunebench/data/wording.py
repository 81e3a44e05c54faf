"""What a check says in words: why training would refuse, which rows stand twice, and how the figures were got."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from itertools import accumulate, islice
from pathlib import Path

from tunebench.data.duplicates import MOST_CANDIDATES, SIMILAR
from tunebench.data.findings import SplitFindings
from tunebench.data.labels import make_label_map
from tunebench.data.leaks import Leak
from tunebench.data.parts import Part
from tunebench.data.scan import LONGEST, Scan
from tunebench.data.shingles import LEAST_WORDS, SHINGLE_WORDS
from tunebench.data.weights import label_weights
from tunebench.errors import InputError, listing
from tunebench.recipe.sources import Data, Fraction
from tunebench.recipe.spec import TEXT_TASKS, Recipe

_SHOWN = 60


def refusals(scans: Mapping[str, Scan], splits: Mapping[str, SplitFindings], recipe: Recipe) -> list[str]:
    """Why `train` would not begin."""
    found = []
    for scanned in scans.values():
        name = Path(scanned.source.file).name
        found += [f"{name}: {kind}: {count:,}" for kind, count in scanned.unsound.items()]
        if scanned.doubled_ids:
            found.append(f"{name}: rows with the {scanned.source.id!r} of an earlier row: {scanned.doubled_ids:,}")
    if recipe.task in TEXT_TASKS or recipe.task == "multiple-choice":  # whose sound rows have the right labels, or none
        return found
    data, train = recipe.data, splits["train"].labels
    try:
        labels = make_label_map(train, data.positive_label, data.label_names, "data")
        label_weights(recipe.settings.class_weight, labels, [name for name, count in train.items() for _ in range(count)])
    except InputError as error:
        found += [fault if fault.startswith("data.") else f"{error.subject}: {fault}" for fault in error.faults]
    for name, part in splits.items():
        if unknown := {label: count for label, count in part.labels.items() if label not in train}:
            counts = listing(f"{label!r} ({count:,} rows)" for label, count in unknown.items())
            found.append(f"{name}: labels that no training row has: {counts}")
    return found


def source(data: Data, name: str) -> str:
    """Where a split's rows come from: ``reviews.csv``, or ``0.1 of train by movie``."""
    wanted = getattr(data, name)
    if not isinstance(wanted, Fraction):
        source = data.source(name)
        return Path(source.file).name if source else ""
    how = ", stratified" if wanted.stratify else f", by {wanted.group_by}" if wanted.group_by else ""
    return f"{wanted.fraction:g} of train{how}"


def examples(
    parts: Mapping[str, Part],
    contradictions: Mapping[str, Sequence[tuple[int, int]]],
    leaks: Sequence[Leak],
    starts: Mapping[str, Mapping[int, str]],
) -> list[str]:
    """A few rows that stand twice, of training and validation only."""
    found = []
    for name, part in parts.items():
        for one, other in contradictions[name] if name != "test" else ():
            labels = f"{part.scan.labels[one]!r} and {part.scan.labels[other]!r}"
            numbers = f"rows {part.scan.numbers[one]} and {part.scan.numbers[other]}"
            found.append(f"{name} {numbers} have one text under {labels}: {_start(starts[name][one])}")
    for leak in (leak for leak in leaks if leak.later.name != "test"):
        later, earlier = leak.later, leak.earlier
        exact = [(one, other, "is", starts[later.name][one]) for one, other in leak.exact_twins()]
        for one, other, how, text in (*exact, *((one, other, "is nearly", text) for one, other, text in leak.near_twins)):
            numbers = f"row {later.scan.numbers[one]} {how} {earlier.name} row {earlier.scan.numbers[other]}"
            found.append(f"{later.name} {numbers}: {_start(text)}")
    return found


def _start(text: str) -> str:
    """As much of a text as fits into ``_SHOWN`` columns of a terminal."""
    words = " ".join(text.split())
    widths = accumulate(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in words)
    fitting = sum(width <= _SHOWN for width in islice(widths, _SHOWN + 1))
    return words if fitting == len(words) else words[:fitting] + "…"


def notes(parts: Mapping[str, Part], splits: Mapping[str, SplitFindings], leaks: Sequence[Leak], boilerplate: int) -> list[str]:
    """How the figures were got: thresholds and samples."""
    found = []
    if leaks:
        found.append(
            f"nearly: at least {SIMILAR:.0%} of all sequences of {SHINGLE_WORDS} words in two texts stand in both; shorter texts "
            f"than {LEAST_WORDS} words are only compared exactly, case and spaces aside"
        )
    sought = {leak.later.name: leak for leak in leaks if len(leak.places) < len(leak.later.places)}
    found += [
        f"{name}: {len(leak.places):,} of {len(leak.later.places):,} rows were drawn, and looked up in all rows of the others"
        for name, leak in sought.items()
    ]
    found += [
        f"{name}: lengths are those of {sum(part.lengths.measured.values()):,} rows drawn of {part.rows:,}"
        for name, part in splits.items()
        if sum(part.lengths.measured.values()) < part.rows
    ]
    if any((part.scan.characters[part.places] == LONGEST).any() for part in parts.values()):
        found.append(f"texts of more than {LONGEST:,} characters are measured and compared by their beginning")
    if boilerplate:
        found.append(
            f"{boilerplate:,} texts share rare word sequences with more than {MOST_CANDIDATES} others and were held against the "
            "likeliest of them only"
        )
    return found
