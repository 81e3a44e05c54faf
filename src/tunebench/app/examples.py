"""Rows to try a run with: drawn from those that it was trained on, never from its test rows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunebench.binding import unsealed_rows
from tunebench.data.items import Item, flat
from tunebench.runs.run import Run

EACH, SAMPLE = 8, 16
"""Rows kept of every label; rows among which the hard one is looked for."""
MOST_LABELS = 6
MOST_CHARACTERS = 400
"""Longer rows are taken only where a label has no shorter one: an example is to be read."""


@dataclass(frozen=True)
class Examples:
    """Training rows of each label, by its name, the most frequent labels first; and a sample of all of them."""

    by_label: dict[str, list[Item]]
    sample: list[Item]


def examples_of(run: Run) -> Examples:
    """Examples for a run, the same at every call.

    Raises InputError where the files that it was trained on are gone or have changed.
    """
    rows = unsealed_rows(run, "train")
    if rows is None:
        return Examples({}, [])
    texts: dict[str, list[Item]] = {}
    for item, label in zip(rows.texts, rows.labels, strict=True):
        texts.setdefault(label, []).append(item)
    frequent = sorted(texts, key=lambda label: -len(texts[label]))[:MOST_LABELS]
    known = sorted(frequent, key=list(run.manifest["labels"]["names"]).index)
    return Examples({label: _drawn(texts[label], EACH) for label in known}, _drawn(rows.texts, SAMPLE))


def _drawn(items: Sequence[Item], number: int) -> list[Item]:
    legible = [item for item in items if len(flat(item)) <= MOST_CHARACTERS] or sorted(items, key=lambda item: len(flat(item)))[
        :1
    ]
    return random.Random(0).sample(legible, min(number, len(legible)))


def least_sure(answers: Sequence[dict[str, Any]]) -> int | None:
    """The place of the answer whose most probable label is the least probable; None where none has probabilities."""
    tops = {i: max(answer["probabilities"].values()) for i, answer in enumerate(answers) if answer.get("probabilities")}
    return min(tops, key=lambda i: tops[i], default=None)
