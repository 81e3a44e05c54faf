"""A comparison on paper: verdict, table, statements, charts, confusions and provenance as a PDF of A4 pages.

The mistakes stand in the page alone, where they can be searched. Fonts are those that matplotlib brings; Chinese and Japanese
letters come from a font of the machine, and what no font has is a box.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tunebench.compare import contents, shown
from tunebench.compare.charts import charts
from tunebench.compare.paper import LARGE, SMALL, Paper
from tunebench.runs.cache import write_atomic

Row = dict[str, Any]
_PACKAGES = ("tunebench", "python", "torch", "transformers", "peft")


def write_pdf(comparison: dict[str, Any], path: Path) -> None:
    """Write a comparison, as ``assemble`` gives it, as PDF. Raises MissingExtra without fpdf2 or matplotlib."""
    drawn = charts(comparison)
    rows = contents.placed(comparison)
    finished = [row for row in rows if row["error"] is None]
    with closing(Paper(_texts(comparison))) as paper:
        paper.title(contents.title_of(comparison), _about(comparison))
        if len(rows) > 1:
            _verdict(paper, comparison["choice"])
        _table(paper, rows)
        _speed(paper, finished, comparison["timing_notes"])
        _statements(paper, comparison)
        for section, heading in (("pareto", "What accuracy costs"), ("curves", "Learning curves"), ("parameters", "Parameters")):
            paper.charts(heading, drawn[section])
        _ratios(paper, finished)
        _confusions(paper, finished, comparison["test"]["labels"])
        for section, heading in (("reliability", "Can its confidence be believed?"), ("length", "Accuracy by length")):
            paper.charts(heading, drawn[section])
        _provenance(paper, rows, comparison)
        paper.heading("How this was computed")
        paper.points(contents.footnotes(comparison))
        write_atomic(path, paper.bytes(comparison["created"]))


def _about(comparison: dict[str, Any]) -> str:
    test = comparison["test"]
    return (
        f"{shown.count(test['rows'])} test rows, {len(test['labels'])} labels · {comparison['created']} · "
        f"tunebench {comparison['tunebench']} · the page report.html has the mistakes, recipes and every seed"
    )


def _verdict(paper: Paper, choice: dict[str, Any]) -> None:
    paper.heading("Which one to take")
    backend = f" as {choice['backend']}" if choice["backend"] else ""
    paper.text(f"Take {choice['take']}{backend}" if choice["take"] is not None else "None can be recommended", LARGE, bold=True)
    paper.text(choice["why"])
    limits = contents.limits_in_words(choice["limits"])
    paper.text("Limits: " + (", ".join(f"{name} {words}" for name, words in limits) if limits else "none were given") + ".")
    paper.text("By these rules:", bold=True)
    paper.points(choice["rules"])
    if choice["refused"]:
        paper.text("Left out:", bold=True)
        forms = [f" as {item['backend']}" if item.get("backend") else "" for item in choice["refused"]]
        paper.points([f"{item['run']}{form}: {item['reason']}" for item, form in zip(choice["refused"], forms, strict=True)])


def _table(paper: Paper, rows: Sequence[Row]) -> None:
    paper.heading("The table" if len(rows) > 1 else "Scores")
    scores = ("accuracy", "macro F1", "calibration error")
    head = ("run", "family, method", "all / trained", *scores, "saved", "memory", "training, examples")
    body = [_line(row) for row in rows if row["error"] is None]
    paper.table(head, body, (30, 20, 22, 22, 22, 21, 15, 15, 19), "LLRRRRRRR")
    failed = [f"{row['run']} failed: {row['error']}" for row in rows if row["error"] is not None]
    paper.points(failed + contents.remarks([row for row in rows if row["error"] is None]))


def _line(row: Row) -> list[str]:
    scores = [f"{shown.figure(row[name])}\n{shown.interval(row, name)}".strip() for name in ("accuracy", "f1_macro", "ece")]
    return [
        f"{shown.short(row['run'], 40)}",
        f"{row['family']}\n{row['method']}",
        f"{shown.count(row['total_parameters'])}\n{shown.count(row['trainable_parameters'])}",
        *scores,
        shown.size(row["adapter_bytes"]),
        shown.size(row["peak_memory_bytes"]),
        f"{shown.duration(row['train_seconds'])}\n{shown.count(row['train_examples'])}",
    ]


def _speed(paper: Paper, rows: Sequence[Row], notes: Sequence[str]) -> None:
    found = list(contents.forms_of(rows))
    if not found:
        return
    paper.heading("Speed")
    head = ("run", "form", "rows/s", "p50", "p99", "memory", "accuracy (validation)", "proof")
    body = [
        [
            shown.short(row["run"], 40),
            name,
            shown.rate(form["rows_per_second"]),
            shown.milliseconds(form["p50_ms"]),
            shown.milliseconds(form["p99_ms"]),
            shown.size(form["peak_memory_bytes"]),
            shown.figure(form["accuracy"]),
            shown.proof(form["proof"]),
        ]
        for row, name, form in found
    ]
    paper.table(head, body, (32, 22, 15, 17, 17, 16, 20, 47), "LLRRRRRL")
    paper.points(notes)


def _statements(paper: Paper, comparison: dict[str, Any]) -> None:
    if comparison["statements"]:
        paper.heading("Paired statements")
        paper.points([item["text"] for item in comparison["statements"]])
        for note in comparison.get("statement_notes") or []:
            paper.text(note, SMALL, soft=True)


def _ratios(paper: Paper, rows: Sequence[Row]) -> None:
    body = [
        [
            shown.short(row["run"], 40),
            shown.count(row["trainable_parameters"]),
            shown.count(row["head_parameters"]),
            shown.times(fewer),
            shown.times(without),
        ]
        for row, fewer, without in contents.ratios(rows)
    ]
    if body:
        head = ("run", "trained", "of them in the head", "all ÷ trained", "without the head")
        paper.table(head, body, (62, 31, 31, 31, 31), "LRRRR")


def _confusions(paper: Paper, rows: Sequence[Row], labels: Sequence[str]) -> None:
    found = [(row, matrix) for row in rows if (matrix := contents.confusion_of(row, labels)) is not None]
    if not found:
        return
    paper.heading("Confusion matrices")
    paper.text("Rows are gold labels, columns answers, summed over seeds.", SMALL, soft=True)
    for row, matrix in found:
        if matrix.cells:
            body = [[shown.short(label, 24), *(shown.count(number) for number, _ in cells)] for label, cells in matrix.cells]
            heat = [[0, *(share for _, share in cells)] for _, cells in matrix.cells]
            width = min(24.0, 150 / len(matrix.columns))
            head = ("gold", *(shown.short(label, 24) for label in matrix.columns))
            widths, align = (36, *[width] * len(matrix.columns)), "L" + "R" * len(matrix.columns)
            paper.table(head, body, widths, align, heat=heat, name=shown.short(row["run"], 60))
        else:
            paper.subheading(shown.short(row["run"], 60))
            paper.points([f"{gold} taken for {answer}: {shown.count(number)}" for gold, answer, number in matrix.worst])


def _provenance(paper: Paper, rows: Sequence[Row], comparison: dict[str, Any]) -> None:
    paper.heading("Provenance")
    paper.text(f"Test rows: sha256 {comparison['test']['digest']}", SMALL)
    paper.text(f"Made on: {shown.told(comparison['hardware'])}", SMALL)
    for row in rows:
        paper.subheading(shown.short(row["run"], 80))
        found = contents.provenance(row)
        versions = {name: found.versions[name] for name in _PACKAGES if found.versions.get(name)}
        facts = {"command": found.command, **found.facts, "versions": versions, "texts shared between splits": found.shared_texts}
        for name, value in facts.items():
            if value:
                paper.text(f"{name}: {shown.told(value)}", SMALL)


def _texts(comparison: dict[str, Any]) -> str:
    """Everything that may be written, to find the letters that are needed."""

    def strings(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [text for item in value.items() for text in strings(item)]
        if isinstance(value, list | tuple):
            return [text for item in value for text in strings(item)]
        return [value] if isinstance(value, str) else []

    kept = {key: value for key, value in comparison.items() if key != "browser"}
    return "".join(strings(kept))
