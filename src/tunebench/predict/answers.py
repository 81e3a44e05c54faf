"""Answers as graders take them: ``ID,Answer``, a row for every row that was asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tunebench.data.rows import Rows
from tunebench.data.writers import table_writer
from tunebench.predict.predictions import Predictions, beside_input, output_types

TYPES = {"ID": pa.string(), "Answer": pa.string()}


def id_and_answer(ids: Sequence[Any], found: Predictions) -> dict[str, list[Any]]:
    """The two columns, in the order of the rows; a row without an answer has an empty one."""
    return {"ID": list(ids), "Answer": list(found.predicted)}


def write_answers(folder: Path, rows: Rows, found: Predictions) -> dict[str, Any]:
    """Write ``answers.csv``, and ``answers.parquet`` with all columns and probabilities; returns what is to be told of them.

    ``digest`` is that of the rows that were asked: others need other answers.
    """
    with table_writer(folder / "answers.csv", TYPES) as write:
        write(id_and_answer(rows.ids, found))
    with table_writer(folder / "answers.parquet", output_types(rows.types, found.labels)) as write:
        write(beside_input(rows.columns, found))
    return {
        "rows": len(rows),
        "unanswered": found.predicted.count(None),
        "invalid": sum(found.invalid),
        "truncated": sum(found.truncated),
        "digest": rows.digest(),
    }
