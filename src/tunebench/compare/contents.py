"""What a report says beyond the figures themselves: ratios, confusions to show, limits in words, remarks, footnotes.

The page and the PDF say the same, each in its own form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tunebench.compare.charts import is_adapter
from tunebench.compare.shown import count, form_name, short, size

Row = dict[str, Any]
MOST_LABELS = 12
"""A confusion matrix of more labels is told by its worst confusions."""
WORST = 10
NO_ANSWER = "(no answer)"


@dataclass(frozen=True)
class Confusion:
    """Either the whole matrix, each count with its tenth of the gold label (0 to 9), or the worst confusions."""

    columns: list[str]
    cells: list[tuple[str, list[tuple[int, int]]]]
    worst: list[tuple[str, str, int]]


@dataclass(frozen=True)
class Provenance:
    """Where a row comes from; empty where nothing is known, as of a cell that failed."""

    command: str | None
    recipe: str | None
    facts: dict[str, Any]
    versions: dict[str, Any]
    hardware: dict[str, Any]
    shared_texts: dict[str, int]


def placed(comparison: dict[str, Any]) -> list[Row]:
    """The rows, each with its ``place`` in the table, which decides its colour."""
    return [{**row, "place": place} for place, row in enumerate(comparison["rows"])]


def title_of(comparison: dict[str, Any]) -> str:
    """``Comparison of 5 rows``, or the name of the only one."""
    rows = comparison["rows"]
    return str(rows[0]["run"]) if len(rows) == 1 else f"Comparison of {len(rows)} methods"


def confusion_of(row: Row, labels: Sequence[str]) -> Confusion | None:
    """The confusions of a row; answers that name no label stand in a column of their own."""
    if not row["confusion"]:
        return None
    missed = row["missed"] or [0] * len(labels)
    whole = [[*numbers[: len(labels)], lost] for numbers, lost in zip(row["confusion"], missed, strict=True)]
    columns = [*labels, NO_ANSWER] if any(missed) else list(labels)
    if len(labels) <= MOST_LABELS:
        cells = [
            (label, [(number, min(9, 10 * number // max(1, sum(numbers)))) for number in numbers[: len(columns)]])
            for label, numbers in zip(labels, whole, strict=True)
        ]
        return Confusion(columns, cells, [])
    off = [
        (labels[i], columns[k], number)
        for i, numbers in enumerate(whole)
        for k, number in enumerate(numbers[: len(columns)])
        if i != k and number
    ]
    return Confusion([], [], sorted(off, key=lambda item: -item[2])[:WORST])


def provenance(row: Row) -> Provenance:
    """What is known of where a row comes from."""
    found = row["provenance"] or {}
    digests = {f"sha256 of {name.replace('_', ' ')}": digest for name, digest in (found.get("digests") or {}).items() if digest}
    facts = {"created": found.get("created"), "base": row["base"], "identity": found.get("identity")}
    known = {name: value for name, value in facts.items() if value}
    parts = (found.get(name) or {} for name in ("versions", "hardware", "shared_texts"))
    return Provenance(found.get("command"), found.get("recipe"), known | digests, *parts)


def ratios(rows: Sequence[Row]) -> list[tuple[Row, float, float | None]]:
    """Of every adapter how many times fewer parameters were trained than there are, with and without the trained head."""
    found: list[tuple[Row, float, float | None]] = []
    for row in rows:
        if row["error"] is None and is_adapter(row):
            total, trained, head = row["total_parameters"], row["trainable_parameters"], row["head_parameters"]
            without = (total - head) / (trained - head) if head and trained > head else None
            found.append((row, total / trained, without))
    return found


def forms_of(rows: Sequence[Row]) -> Iterator[tuple[Row, str, dict[str, Any]]]:
    """Every form of every row that was measured or scored."""
    keys = ("rows_per_second", "p50_ms", "p99_ms", "peak_memory_bytes", "accuracy", "reference_accuracy", "proof")
    for row in rows:
        for name, form in (row["forms"] or {}).items():
            yield row, form_name(row, name), {key: form.get(key) for key in keys}


def limits_in_words(limits: dict[str, Any]) -> list[tuple[str, str]]:
    """The limits that were set, by what they limit."""
    words: dict[str, tuple[str, Callable[[Any], str]]] = {
        "min_accuracy": ("accuracy", lambda value: f"at least {value:g}"),
        "max_latency_ms": ("p50 latency", lambda value: f"at most {value:g} ms"),
        "max_memory_bytes": ("memory", lambda value: f"at most {size(value)}"),
        "no_gpu": ("GPU", lambda value: "must run without one"),
    }
    given = {key: value for key, value in limits.items() if value is not None and value is not False}
    return [(name, say(value)) for key, value in given.items() for name, say in [words.get(key, (key.replace("_", " "), str))]]


def remarks(rows: Sequence[Row]) -> list[str]:
    """What was not scored as the others were: cut texts, answers that name no label, rows without one."""
    told = (
        ("truncated", "texts were cut at its max_length"),
        ("invalid", "generated answers name no label and count as wrong"),
        ("unscored", "rows could not be scored"),
    )
    found: dict[str, list[str]] = {}
    for row in rows:
        words = ", ".join(f"{count(row[key])} {words}" for key, words in told if row[key])
        found.setdefault(words, []).append(short(row["run"], 80))
    return [f"{', '.join(names)}: {words}" for words, names in found.items() if words]


def footnotes(comparison: dict[str, Any]) -> list[str]:
    """How intervals and tests were computed, and what the words of the table mean."""
    ways = sorted({row["intervals"] for row in comparison["rows"] if row.get("intervals")})
    return [
        *(f"Intervals: {way}." for way in ways),
        "Of one run over single rows they are Wilson's for accuracy and posterior ones for macro F1 (Goutte and Gaussier 2005); "
        "of several seeds, or of rows in groups, percentiles of a bootstrap over what is named. By length they are Wilson's, for "
        "as many rows as rows in groups are worth (Korn and Graubard 1998).",
        "Calibration error (ECE): the mean distance of confidence and accuracy over 15 bins of confidence, weighted by their "
        "rows (Guo et al. 2017). With few rows it is above zero also where confidence is right.",
        "Macro F1: the F1 scores of all labels, each label with the same weight.",
        "Parameters and bytes are counted in the saved files; with 4- and 8-bit bases, as the model has them unquantized.",
        "Training time is that of the training loop with its evaluations, without loading and without the final score.",
        "– stands where there is no figure, never for zero.",
    ]
