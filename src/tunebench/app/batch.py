"""A file of texts and what a run answers to it: answered by a child, kept by what both are, given back as a table."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tunebench.compare.table import harmless
from tunebench.data.readers import open_table
from tunebench.data.tables import columns_like
from tunebench.data.writers import UnixLines
from tunebench.recipe.spec import Recipe
from tunebench.runs.exports import default_backend
from tunebench.runs.run import Run

ANSWERS, TABLE = "answers.jsonl", "answers.csv"
_DIGITS = 20
_COUNTED_BYTES = 20_000_000
"""The rows of larger files are not counted before they are answered."""


def columns_of(path: Path, recipe: Recipe) -> tuple[list[str], str | None]:
    """The columns of a file, and the one that a run takes its text from; None where the file lacks it, or texts are questions."""
    columns = list(open_table(path).types)
    text = None if recipe.task == "multiple-choice" else columns_like(recipe.data, columns, recipe.task).text
    return columns, text if text in columns else None


def count_rows(path: Path) -> int | None:
    """Rows of a file, None of a large one."""
    if path.stat().st_size > _COUNTED_BYTES:
        return None
    return sum(len(chunk) for chunk in open_table(path).chunks())


def batch_folder(batches: Path, run: Run, file: Path, text: str | None, *, calibrated: bool) -> Path:
    """Where the answers of a run to a file lie: another model, file, column or calibration has another place."""
    made = run.manifest.get("end_weights"), default_backend(run), _stamp(run.path / "calibration.json") if calibrated else None
    whole = json.dumps([str(run.path.resolve()), *made, file.parent.name, file.suffix, text])
    return batches / hashlib.sha256(whole.encode()).hexdigest()[:_DIGITS]


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def arguments(run: Run, runs: Path, file: Path, text: str | None, folder: Path, *, calibrated: bool) -> list[str]:
    """The command that answers every row of a file into ``answers.jsonl``, of which each line is a row."""
    command = ["predict", str(run.path.resolve()), str(file.resolve()), "--output", str((folder / ANSWERS).resolve())]
    command += [] if text is None else [f"--text-column={text}"]
    return [*command, *(["--calibrated"] if calibrated else []), "--runs", str(runs), "--json"]


def rows_done(folder: Path) -> int:
    """Rows that are answered so far."""
    newest = max(folder.glob(f".{ANSWERS}.*.part"), key=_stamp, default=folder / ANSWERS)
    try:
        with newest.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    except OSError:
        return 0


def answered(folder: Path, most: int | None = None) -> Iterator[dict[str, Any]]:
    """The rows with their answers, in order."""
    with (folder / ANSWERS).open(encoding="utf-8") as lines:
        for line in islice(lines, most):
            yield json.loads(line)


def table(folder: Path) -> Path:
    """The answered rows as CSV for spreadsheets, made at the first call; no cell of it is run as a formula."""
    path = folder / TABLE
    if path.is_file():
        return path
    part = path.with_name(f".{TABLE}.{os.getpid()}.part")
    with part.open("w", encoding="utf-8-sig", newline="") as file:
        out = csv.writer(UnixLines(file), lineterminator="\r\n")
        for number, row in enumerate(answered(folder)):
            if number == 0:
                out.writerow([harmless(name) for name in row])
            out.writerow([_cell(value) for value in row.values()])
    os.replace(part, path)
    return path


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict | bool):
        value = json.dumps(value, ensure_ascii=False)
    return harmless(value) if isinstance(value, str) else value


def counts(folder: Path) -> dict[str, int]:
    """How many rows got each label; ``""`` for those without an answer."""
    found: dict[str, int] = {}
    for row in answered(folder):
        label = row["predicted"] or ""
        found[label] = found.get(label, 0) + 1
    return found


def shown_columns(rows: Sequence[dict[str, Any]], text: str | None) -> list[str]:
    """The columns of answered rows for the eye: answer, probabilities, text, the rest; marks only where they say something."""
    names = list(rows[0])
    first = ["predicted", *(name for name in names if name.startswith("probability_")), *([text] if text in names else [])]
    silent = [name for name in ("error", "truncated", "abstain") if name in names and not any(row[name] for row in rows)]
    return [*first, *(name for name in names if name not in first and name not in silent)]
