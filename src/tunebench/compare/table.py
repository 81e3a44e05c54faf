"""A comparison as CSV: one line per row under one fixed header, for spreadsheets and programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from tunebench.data.writers import UnixLines
from tunebench.runs.exports import ENGINES, TORCH, TORCH_MERGED

Row = dict[str, Any]
_SPEED = ("rows_per_second", "p50_ms", "p99_ms")
_FORMS = {"saved": TORCH, "merged": TORCH_MERGED, "exported": None}
"""Forms that have columns, and what they are timed as; of the exports it is the fastest one."""
HEADER = (
    "run",
    "base",
    "architecture",
    "method",
    "total_parameters",
    "trainable_parameters",
    "trainable_percent",
    "adapter_bytes",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "f1_macro",
    "train_seconds",
    "peak_memory_bytes",
    "rows_per_second",
    "family",
    "task",
    "seeds",
    "f1_macro_low",
    "f1_macro_high",
    "ece",
    "ece_low",
    "ece_high",
    "brier",
    "intervals",
    "head_parameters",
    "train_examples",
    "steps",
    "best_step",
    "peak_gpu_memory_bytes",
    "invalid",
    "unscored",
    "truncated",
    *(f"{form}_{figure}" for form in _FORMS for figure in _SPEED),
    "exported_as",
    "error",
)
"""New columns are added at the end; none is ever moved or renamed."""
_RUN_BY_SPREADSHEETS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def as_csv(rows: Sequence[Row]) -> str:
    """The rows of a comparison as CSV under the fixed ``HEADER``; what is not known is an empty cell."""
    out = io.StringIO(newline="")
    writer = csv.writer(UnixLines(out), lineterminator="\r\n")
    writer.writerow(HEADER)
    for row in rows:
        cells = row | _speeds(row)
        writer.writerow([_plain(cells[name]) for name in HEADER])
    return out.getvalue()


def fastest_export(row: Row) -> str | None:
    """The export of a row with the most rows per second, of those that were timed and may be used."""
    timed = {
        name: row["forms"][name]["rows_per_second"]
        for name in ENGINES
        if row["forms"].get(name, {}).get("rows_per_second") is not None
        and (row["forms"][name].get("proof") or {}).get("passed") is not False
    }
    return max(timed, key=lambda name: timed[name], default=None)


def _speeds(row: Row) -> Row:
    """How fast the saved, the merged and the fastest exported form are."""
    exported = fastest_export(row)
    found: Row = {"exported_as": exported}
    for form, backend in _FORMS.items():
        figures = row["forms"].get(backend or exported, {})
        found |= {f"{form}_{figure}": figures.get(figure) for figure in _SPEED}
    return found


def _plain(value: Any) -> Any:
    """Figures rounded to what they mean; text that no spreadsheet runs as a formula."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return harmless(value) if isinstance(value, str) else value


def harmless(text: str) -> str:
    """The text of a cell, with an apostrophe before what a spreadsheet would run as a formula."""
    return f"'{text}" if text != "-" and text.startswith(_RUN_BY_SPREADSHEETS) else text
