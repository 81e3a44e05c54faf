"""Predictions as columns beside the input, row for row: the one shape that every file and surface shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tunebench.data.items import Item
from tunebench.data.labels import LabelMap
from tunebench.data.readers import Chunk, TableReader
from tunebench.data.reading import Reading, items_in
from tunebench.metrics import classification_scores, confusion_matrix
from tunebench.predict.scorers import Scorer, Scores


@dataclass(frozen=True)
class Predictions:
    """Answers for N rows: label names, probabilities ``(N, K)``, truncation, and errors where there is no answer.

    ``invalid`` marks rows for which a model wrote something that names no label; the recipe may say what then counts as
    the answer. An answer that was written has no probabilities: they are not numbers. ``abstain``, of calibrated predictions,
    marks answers that are too unsure to be given; a row without an answer has no mark.
    """

    labels: LabelMap
    predicted: list[str | None]
    probabilities: np.ndarray
    truncated: list[bool]
    errors: list[str | None]
    invalid: list[bool]
    abstain: list[bool | None] | None = None

    def probabilities_of(self, row: int) -> dict[str, float]:
        """Probability per label of a row; none where it has no answer, or one that was written."""
        found = self.probabilities[row]
        return {} if np.isnan(found).any() else dict(zip(self.labels.names, found.tolist(), strict=True))

    def columns(self) -> dict[str, list[Any]]:
        """``predicted``, ``probability_<label>`` …, ``abstain`` if known, ``truncated``, ``error``; no answer, empty cells."""
        found: dict[str, list[Any]] = {"predicted": list(self.predicted)}
        for i, name in enumerate(self.labels.names):
            found[f"probability_{name}"] = [None if np.isnan(row[i]) else float(row[i]) for row in self.probabilities]
        found |= {} if self.abstain is None else {"abstain": list(self.abstain)}
        return found | {"truncated": list(self.truncated), "error": list(self.errors)}


def prediction_types(labels: LabelMap, *, abstains: bool = False) -> dict[str, pa.DataType]:
    """Arrow types of ``Predictions.columns()``."""
    probabilities = {f"probability_{name}": pa.float64() for name in labels.names} | ({"abstain": pa.bool_()} if abstains else {})
    return {"predicted": pa.string()} | probabilities | {"truncated": pa.bool_(), "error": pa.string()}


def answer(labels: LabelMap, scores: Scores) -> Predictions:
    """The most probable label of every row, or the one that was written for it."""
    number = len(scores.truncated)
    errors = list(scores.errors or [None] * number)
    if scores.answers is None:
        best = scores.logits.argmax(axis=1).tolist() if number else []
        names = [None if error else labels.names[i] for i, error in zip(best, errors, strict=True)]
        return Predictions(labels, names, scores.probabilities, scores.truncated, errors, [False] * number)
    written = [None if error else place for place, error in zip(scores.answers, errors, strict=True)]
    invalid = scores.invalid or [place is None and error is None for place, error in zip(written, errors, strict=True)]
    for i, text in enumerate(scores.generated or [""] * number):
        if written[i] is None and errors[i] is None:
            errors[i] = f"the generated text {text!r} names no label"
    nothing = np.full((number, len(labels.names)), np.nan)
    found = [None if place is None else labels.names[place] for place in written]
    return Predictions(labels, found, nothing, scores.truncated, errors, list(invalid))


def predict_items(
    scorer: Scorer, labels: LabelMap, items: Sequence[Item | None], errors: Sequence[str | None] | None = None
) -> Predictions:
    """Predict all rows in order; a row that has an error (no text, a broken line) keeps it and is not scored."""
    number, problems = len(items), list(errors or [None] * len(items))
    places = [i for i, problem in enumerate(problems) if problem is None]
    scored = answer(labels, scorer.score([items[i] for i in places]))
    predicted: list[str | None] = [None] * number
    truncated, invalid = [False] * number, [False] * number
    probabilities = np.full((number, len(labels.names)), np.nan)
    for i, place in enumerate(places):
        predicted[place], truncated[place], problems[place] = scored.predicted[i], scored.truncated[i], scored.errors[i]
        probabilities[place], invalid[place] = scored.probabilities[i], scored.invalid[i]
    return Predictions(labels, predicted, probabilities, truncated, problems, invalid)


def score_answers(found: Predictions, gold: Sequence[str]) -> dict[str, Any]:
    """Scores of the answers against the true labels.

    A row that could not be scored is counted as ``unscored``, and apart from all else. One whose generated text names no
    label is ``invalid``: it was asked, so it belongs to ``n`` and is wrong, unless the recipe puts a label in its place.
    """
    labels, answered, missed = found.labels, list[tuple[str, str]](), list[str]()
    for expected, name, invalid in zip(gold, found.predicted, found.invalid, strict=True):
        if name is not None:
            answered.append((expected, name))
        elif invalid:
            missed.append(expected)
    matrix = confusion_matrix(
        labels.ids(expected for expected, _ in answered), labels.ids(name for _, name in answered), len(labels.names)
    )
    lost = np.bincount(labels.ids(missed), minlength=len(labels.names))
    return classification_scores(matrix, labels.names, labels.positive, lost) | {
        "truncated": sum(found.truncated),
        "unscored": len(gold) - len(answered) - len(missed),
        "invalid": sum(found.invalid),
    }


def output_types(types: Mapping[str, pa.DataType], labels: LabelMap, *, abstains: bool = False) -> dict[str, pa.DataType]:
    """Columns of an output table and their Arrow types: the input's first, then the predictions'."""
    names = output_names(list(types), labels, abstains=abstains)
    return {names[key]: kind for key, kind in types.items()} | prediction_types(labels, abstains=abstains)


def output_names(columns: Sequence[str], labels: LabelMap, *, abstains: bool = False) -> dict[str, str]:
    """Input column -> its name in the output: its own, or ``input_…`` where a prediction column has that name."""
    taken = set(prediction_types(labels, abstains=abstains))
    names: dict[str, str] = {}
    for column in columns:
        name = column
        while name in taken or name in names.values() or (name != column and name in columns):
            name = f"input_{name}"
        names[column] = name
    return names


def predict_table(reader: TableReader, reading: Reading, scorer: Scorer, labels: LabelMap) -> Iterator[tuple[Chunk, Predictions]]:
    """Stream a table: per chunk its rows and the predictions. Rows in = rows out, in order."""
    for chunk in reader.chunks():
        yield chunk, predict_items(scorer, labels, *items_in(chunk, reading))


def kept_items(reader: TableReader, reading: Reading, labels: LabelMap) -> list[Item]:
    """The items of a table that ``beside_input`` made, where a column of the input may have another name."""
    names = output_names(list(reading.columns.values()), labels)
    return [
        reading.item({column: chunk.columns[name][i] for column, name in names.items()})
        for chunk in reader.chunks()
        for i in range(len(chunk))
    ]


def beside_input(columns: Mapping[str, list[Any]], predictions: Predictions) -> dict[str, list[Any]]:
    """Input columns under their output names, then the predictions' columns."""
    names = output_names(list(columns), predictions.labels, abstains=predictions.abstain is not None)
    return {names[key]: values for key, values in columns.items()} | predictions.columns()
