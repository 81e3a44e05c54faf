"""Many runs side by side: one table with one fixed header, refused where the test rows are not the same."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from tunebench.data.writers import UnixLines
from tunebench.errors import InputError
from tunebench.recipe.spec import TEXT_TASKS
from tunebench.runs.run import Run

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
)
_BASELINES = {"majority": "constant", "tfidf": "linear", "word-overlap": "rule"}
"""What stands for the architecture of a method without a base."""
Row = dict[str, Any]


def comparison(runs: Sequence[Run]) -> list[Row]:
    """One row per run, best accuracy first. Raises InputError for runs over different test rows or labels, or unfinished ones."""
    faults = [
        f"{run.name}: has no test scores; "
        + ("its recipe has no test split" if status == "finished" else f"it is {status}, finish it with `tunebench train`")
        for run in runs
        if not run.metrics.get("test")
        for status in [run.status()]
    ]
    faults += [
        f"{run.name}: its task is {run.recipe.task}, which has no accuracy; its perplexities stand in {run.path / 'metrics.json'}"
        for run in runs
        if run.recipe.task in TEXT_TASKS
    ]
    for key, what in (("test", "other test rows"), ("labels", "other labels")):
        faults += _differing(runs, key, what) if not faults else []
    if faults:
        raise InputError("comparison", faults)
    return sorted((_row(run) for run in runs), key=lambda row: (-row["accuracy"], row["run"]))


def _differing(runs: Sequence[Run], key: str, what: str) -> list[str]:
    def value(run: Run) -> Any:
        return run.manifest["data"]["test"]["digest"] if key == "test" else run.manifest["labels"]["names"]

    return [
        f"{run.name}: {what} than {runs[0].name} ({value(run)!s:.60} against {value(runs[0])!s:.60}); only like can be compared"
        for run in runs[1:]
        if value(run) != value(runs[0])
    ]


def _row(run: Run) -> Row:
    recipe, manifest, metrics = run.recipe, run.manifest, run.metrics
    test, parameters = metrics["test"], metrics["parameters"]
    return {
        "run": run.name,
        "path": str(run.path),
        "base": recipe.base.model if recipe.base else "-",
        "architecture": (manifest["base"] or {}).get("architecture") or _BASELINES[recipe.method.kind],
        "method": recipe.method.kind,
        "total_parameters": parameters["total"],
        "trainable_parameters": parameters["trainable"],
        "trainable_percent": round(100 * parameters["trainable"] / max(1, parameters["total"]), 4),
        "adapter_bytes": metrics["adapter_bytes"],
        "accuracy": test["accuracy"]["value"],
        "accuracy_low": test["accuracy"]["low"],
        "accuracy_high": test["accuracy"]["high"],
        "f1_macro": test["f1_macro"]["value"],
        "f1_macro_low": test["f1_macro"]["low"],
        "f1_macro_high": test["f1_macro"]["high"],
        "train_seconds": metrics["train_seconds"],
        "peak_memory_bytes": metrics["peak_memory_bytes"],
        "rows_per_second": metrics["rows_per_second"],
    }


def as_csv(rows: Sequence[Row]) -> str:
    """The comparison as CSV under the fixed ``HEADER``."""
    out = io.StringIO(newline="")
    writer = csv.writer(UnixLines(out), lineterminator="\r\n")
    writer.writerow(HEADER)
    writer.writerows([_plain(row[name]) for name in HEADER] for row in rows)
    return out.getvalue()


def _plain(value: Any) -> Any:
    """Figures rounded to what they mean; text that a spreadsheet would run as a formula is quoted."""
    if isinstance(value, float):
        return f"{value:.6g}"
    formula = isinstance(value, str) and (value.startswith(("=", "+", "@", "\t", "\r")) or (value[:1] == "-" and value != "-"))
    return f"'{value}" if formula else value


def as_text(rows: Sequence[Row]) -> str:
    """The comparison for a terminal: aligned columns, intervals beside their figures."""
    head = (
        "run",
        "method",
        "accuracy [95 %]",
        "macro F1 [95 %]",
        "parameters",
        "trainable",
        "%",
        "saved",
        "train",
        "memory",
        "rows/s",
    )
    body = [
        (
            row["run"],
            row["method"],
            _interval(row, "accuracy"),
            _interval(row, "f1_macro"),
            _count(row["total_parameters"]),
            _count(row["trainable_parameters"]),
            f"{row['trainable_percent']:.2f}",
            _bytes(row["adapter_bytes"]),
            f"{row['train_seconds']:.0f} s",
            _bytes(row["peak_memory_bytes"]),
            _rate(row["rows_per_second"]),
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in [head, *body]
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _interval(row: Row, name: str) -> str:
    return f"{row[name]:.4f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"


def _count(number: int) -> str:
    return f"{number:,}"


def _rate(number: float) -> str:
    return f"{number:,.0f}" if number < 1e5 else f"{number / 1e6:,.1f} M"


def _bytes(number: int) -> str:
    if number < 1000:
        return f"{number} B"
    if number < 1_000_000:
        return f"{number / 1000:,.0f} kB"
    return f"{number / 1e6:,.0f} MB" if number < 1e9 else f"{number / 1e9:,.2f} GB"
