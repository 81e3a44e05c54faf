"""Finished runs with the answers that they gave: what a comparison reads, without any job. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from shelf import GOLD, finished_run

from tunebench.compare.comparison import Failure, Group
from tunebench.data.labels import LabelMap
from tunebench.data.writers import table_writer
from tunebench.predict.predictions import Predictions, beside_input, output_types, score_answers
from tunebench.runs.run import Run

LABELS = ("negative", "positive")


def answered_run(
    runs: Path,
    name: str = "a",
    *,
    wrong: int | Sequence[int] = 10,
    gold: Sequence[int] = GOLD,
    labels: Sequence[str] = LABELS,
    sure: float | Sequence[float] | np.ndarray = 0.85,
    unasked: Sequence[int] = (),
    invalid: Sequence[int] = (),
    columns: Mapping[str, Sequence[Any]] | None = None,
    test: str = "0" * 64,
    **changes: Any,
) -> Run:
    """A finished run that answered ``wrong`` test rows (so many of the first, or these) with the next label.

    Answers are ``sure`` by so much; rows of ``unasked`` could not be scored, those of ``invalid`` named no label; ``columns``
    stand beside text and label.
    """
    run = finished_run(runs, name, test=test, **changes)
    places, number = range(wrong) if isinstance(wrong, int) else wrong, len(labels)
    told = np.asarray(gold).copy()
    told[list(places)] = (told[list(places)] + 1) % number
    answers: list[str | None] = [labels[place] for place in told]
    confidence = np.broadcast_to(np.asarray(sure, dtype=np.float64), len(told))
    probabilities = np.repeat((1 - confidence)[:, None] / (number - 1), number, axis=1)
    probabilities[np.arange(len(told)), told] = confidence
    errors: list[str | None] = [None] * len(told)
    for i in (*unasked, *invalid):
        answers[i], probabilities[i] = None, np.nan
        errors[i] = "the generated text 'what?' names no label" if i in invalid else "the text is empty"
    known = LabelMap(tuple(labels), labels[1] if number == 2 else None)
    found = Predictions(known, answers, probabilities, [False] * len(told), errors, [i in invalid for i in range(len(told))])
    names = [labels[place] for place in gold]
    kept = {"text": [f"text {i} " + "x" * (i % 40) for i in range(len(gold))], "label": names} | dict(columns or {})
    with table_writer(
        run.path / "predictions.parquet", output_types({key: pa.array(v).type for key, v in kept.items()}, known)
    ) as write:
        write(beside_input({key: list(values) for key, values in kept.items()}, found))
    manifest = run.manifest
    manifest["labels"] = known.as_dict()
    manifest["data"]["test"]["rows"] = len(gold)
    run.write_json("manifest.json", manifest)
    run.write_json("metrics.json", run.metrics | {"test": score_answers(found, names)})
    return run


def group(name: str, *cells: Run | Failure, command: str | None = None) -> Group:
    """A row of these runs and failures."""
    return Group(name, f"{name}.yaml", command, cells)


def alone(*runs: Run) -> list[Group]:
    """A row for each run."""
    return [group(run.name, run) for run in runs]
