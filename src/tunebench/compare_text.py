"""How a comparison looks on a terminal: the table, the statements with what they rest on, and which one to take."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from tunebench.compare.shown import NONE, form_name, milliseconds, rate, size
from tunebench.compare.table import fastest_export
from tunebench.runs.exports import TORCH, TORCH_MERGED
from tunebench.terminal import clock, columns, printable

Row = dict[str, Any]
WIDTH = 120
HEAD = (
    "run",
    "method",
    "family",
    "accuracy [95 %]",
    "macro F1 [95 %]",
    "ECE [95 %]",
    "seeds",
    "parameters",
    "trainable",
    "%",
    "saved",
    "train",
    "memory",
    "rows/s",
)
FORMS_HEAD = ("run", "form", "rows/s", "p50", "p99", "memory", "lost on validation")


def comparison_text(comparison: dict[str, Any]) -> str:
    """The whole comparison for a terminal; failed rows stand below the table with their errors."""
    rows = [row for row in comparison["rows"] if row["error"] is None]
    failed = [f"{row['run']} failed: {row['error']}" for row in comparison["rows"] if row["error"] is not None]
    parts = [_table([HEAD, *map(_cells, rows)]), _lines(_remarks(rows) + failed)]
    if forms := [line for row in rows for line in _forms(row)]:
        parts += [_table([FORMS_HEAD, *forms]), _lines(comparison["timing_notes"])]
    if comparison["statements"]:
        parts.append(_lines([statement["text"] for statement in comparison["statements"]]))
        parts.append(_lines(comparison["statement_notes"]))
    return "\n\n".join(part for part in [*parts, _choice(comparison["choice"], single=len(comparison["rows"]) == 1)] if part)


def _table(cells: Sequence[Sequence[Any]]) -> str:
    head, *body = columns(cells).split("\n")
    return "\n".join([head, "-" * len(head), *body])


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row["run"],
        row["method"],
        row["family"],
        _interval(row, "accuracy"),
        _interval(row, "f1_macro"),
        _interval(row, "ece"),
        str(row["seeds"]),
        f"{row['total_parameters']:,}",
        f"{row['trainable_parameters']:,}",
        f"{row['trainable_percent']:.2f}",
        size(row["adapter_bytes"]),
        clock(row["train_seconds"]),
        size(row["peak_memory_bytes"]),
        rate(row["rows_per_second"]),
    )


def _forms(row: Row) -> list[tuple[str, ...]]:
    """A line per form that was timed: saved, merged and the fastest export."""
    shown = [name for name in (TORCH, TORCH_MERGED, fastest_export(row)) if name is not None and name in row["forms"]]
    lines: list[tuple[str, ...]] = []
    for name in shown:
        form = row["forms"][name]
        own, saved = form.get("accuracy"), form.get("reference_accuracy")
        lost = NONE if own is None or saved is None else f"{round(100 * (saved - own), 1) + 0.0:.1f} points"
        times = (rate(form.get("rows_per_second")), milliseconds(form.get("p50_ms")), milliseconds(form.get("p99_ms")))
        lines.append((row["run"], form_name(row, name), *times, size(form.get("peak_memory_bytes")), lost))
    return lines


def _remarks(rows: Sequence[Row]) -> list[str]:
    """What the figures of the table leave out."""
    found = []
    for row in rows:
        lost = [cell for cell in row["cells"] if cell["error"] is not None]
        found += [f"{row['run']}: {cell['run']} failed and is not in its figures: {cell['error']}" for cell in lost]
        found += [f"{row['run']}: {row['invalid']:,} answers named no label, and are wrong"] if row["invalid"] else []
        found += [f"{row['run']}: {row['unscored']:,} rows could not be scored, and count nowhere"] if row["unscored"] else []
    return found


def _choice(choice: dict[str, Any], *, single: bool) -> str:
    if single and not any(choice["limits"].values()):
        return ""
    take = f"take {choice['take']}{_as(choice['backend'])}" if choice["take"] is not None else "take none"
    refused = [f"left out: {item['run']}{_as(item['backend'])}: {item['reason']}" for item in choice["refused"]]
    rules = [f"{number}. {rule}" for number, rule in enumerate(choice["rules"], 1)]
    return "\n\n".join(_lines(part) for part in ([take, choice["why"]], refused, rules) if part)


def _as(backend: str | None) -> str:
    return f" as {backend}" if backend else ""


def _lines(texts: Sequence[str]) -> str:
    return "\n".join(
        textwrap.fill(printable(text), WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        for text in texts
    )


def _interval(row: Row, name: str) -> str:
    return NONE if row[name] is None else f"{row[name]:.4f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"
