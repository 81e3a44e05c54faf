"""Which test rows to read: those that every method gets wrong, those on which they differ, the most confident mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tunebench.compare.analysis import Answers, TestedRows, read_texts
from tunebench.runs.run import Run

MOST_ROWS = 50
MOST_CHARACTERS = 500


def error_browser(run: Run, rows: TestedRows, labels: Sequence[str], methods: Mapping[str, Sequence[Answers]]) -> dict[str, Any]:
    """At most 50 rows of each kind, with how many there are; texts as ``run`` kept them.

    A method answers with its first cell, and a row is wrong for all only where every cell of every method is wrong. Methods
    that read no text must not be among them. In order: the surest of what all get wrong; of what they differ on, where as
    many are right as wrong; the surest mistakes, each row once, with the ``run`` that made it.
    """
    firsts = {name: cells[0] for name, cells in methods.items()}
    hits = np.column_stack([cell.hits for cell in firsts.values()])
    asked = np.column_stack([cell.asked for cell in firsts.values()])
    answers = np.column_stack([cell.predicted for cell in firsts.values()])
    sure = np.nan_to_num(np.column_stack([cell.confidence for cell in firsts.values()]), nan=-1.0)
    numbers, mean = np.arange(len(hits)), sure.mean(axis=1)

    wrong = np.all([cell.asked & ~cell.hits for cells in methods.values() for cell in cells], axis=0)
    differs = asked.all(axis=1) & (answers != answers[:, :1]).any(axis=1)
    evenly = np.abs(2 * hits.sum(axis=1) - hits.shape[1])
    mistaken = np.where(asked & ~hits, sure, -1.0)
    worst = mistaken.max(axis=1)
    orders = {
        "all_wrong": (wrong, (numbers, -mean)),
        "disagree": (differs, (numbers, -mean, evenly)),
        "confident": (worst > 0, (numbers, -worst)),
    }
    shown = {name: [int(i) for i in np.lexsort(keys) if chosen[i]][:MOST_ROWS] for name, (chosen, keys) in orders.items()}
    texts = read_texts(run, [i for places in shown.values() for i in places])

    def item(i: int) -> dict[str, Any]:
        given = {
            name: [labels[cell.predicted[i]] if cell.predicted[i] >= 0 else None, _known(cell.confidence[i])]
            for name, cell in firsts.items()
        }
        text = texts[i]
        cut = len(text) > MOST_CHARACTERS
        return {"row": rows.ids[i], "text": text[:MOST_CHARACTERS], "cut": cut, "gold": labels[rows.gold[i]], "answers": given}

    found: dict[str, Any] = {"methods": list(firsts)}
    for name, (chosen, _) in orders.items():
        found |= {name: [item(i) for i in shown[name]], f"{name}_total": int(chosen.sum())}
    for i, one in zip(shown["confident"], found["confident"], strict=True):
        one |= {"run": list(firsts)[int(mistaken[i].argmax())], "confidence": float(worst[i])}
    return found


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
