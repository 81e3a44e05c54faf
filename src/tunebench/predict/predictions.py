"""Predictions as columns beside the input, row for row: the one shape that every file and surface shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tunebench.data.cleaning import Cleaner, text_fault
from tunebench.data.labels import LabelMap
from tunebench.data.readers import TableReader
from tunebench.metrics import classification_scores, confusion_matrix
from tunebench.predict.scorers import Scorer, Scores


@dataclass(frozen=True)
class Predictions:
    """Answers for N rows: label names, probabilities ``(N, K)``, truncation, and errors where there is no answer."""

    labels: LabelMap
    predicted: list[str | None]
    probabilities: np.ndarray
    truncated: list[bool]
    errors: list[str | None]

    def columns(self) -> dict[str, list[Any]]:
        """``predicted``, ``probability_<label>`` …, ``truncated``, ``error``; no answer is an empty cell."""
        sound = [error is None for error in self.errors]
        found: dict[str, list[Any]] = {"predicted": list(self.predicted)}
        for i, name in enumerate(self.labels.names):
            found[f"probability_{name}"] = [
                float(row[i]) if ok else None for row, ok in zip(self.probabilities, sound, strict=True)
            ]
        return found | {"truncated": list(self.truncated), "error": list(self.errors)}


def prediction_types(labels: LabelMap) -> dict[str, pa.DataType]:
    """Arrow types of ``Predictions.columns()``."""
    probabilities = {f"probability_{name}": pa.float64() for name in labels.names}
    return {"predicted": pa.string()} | probabilities | {"truncated": pa.bool_(), "error": pa.string()}


def answer(labels: LabelMap, scores: Scores) -> Predictions:
    """The most probable label of every row."""
    best = scores.logits.argmax(axis=1) if len(scores.logits) else np.zeros(0, dtype=np.int64)
    names: list[str | None] = [labels.names[int(i)] for i in best]
    return Predictions(labels, names, scores.probabilities, scores.truncated, [None] * len(names))


def predict_texts(
    scorer: Scorer, labels: LabelMap, texts: Sequence[Any], clean: Cleaner, errors: Sequence[str | None] | None = None
) -> Predictions:
    """Predict all rows in order; a row that cannot be scored (no text, a broken line) carries its error instead.

    ``texts`` are as they stand in a file; ``clean`` makes of them what the model was trained on.
    """
    problems = [
        error or (f"the text {fault}" if (fault := text_fault(text, clean)) else None)
        for text, error in zip(texts, errors or [None] * len(texts), strict=True)
    ]
    places = [i for i, problem in enumerate(problems) if problem is None]
    scored = answer(labels, scorer.score([clean(str(texts[i])) for i in places]))
    predicted: list[str | None] = [None] * len(texts)
    truncated = [False] * len(texts)
    probabilities = np.full((len(texts), len(labels.names)), np.nan)
    for i, place in enumerate(places):
        predicted[place], truncated[place], probabilities[place] = (
            scored.predicted[i],
            scored.truncated[i],
            scored.probabilities[i],
        )
    return Predictions(labels, predicted, probabilities, truncated, problems)


def score_answers(found: Predictions, gold: Sequence[str]) -> dict[str, Any]:
    """Scores of the answers against the true labels, with the rows that have no answer counted apart."""
    answered = [(expected, name) for expected, name in zip(gold, found.predicted, strict=True) if name is not None]
    labels = found.labels
    matrix = confusion_matrix(
        labels.ids(gold_name for gold_name, _ in answered), labels.ids(name for _, name in answered), len(labels.names)
    )
    return classification_scores(matrix, labels.names, labels.positive) | {
        "truncated": sum(found.truncated),
        "unscored": len(gold) - len(answered),
    }


def output_types(types: Mapping[str, pa.DataType], labels: LabelMap) -> dict[str, pa.DataType]:
    """Columns of an output table and their Arrow types: the input's first, then the predictions'."""
    names = output_names(list(types), labels)
    return {names[key]: kind for key, kind in types.items()} | prediction_types(labels)


def output_names(columns: Sequence[str], labels: LabelMap) -> dict[str, str]:
    """Input column -> its name in the output: its own, or ``input_…`` where a prediction column has that name."""
    taken = set(prediction_types(labels))
    names: dict[str, str] = {}
    for column in columns:
        name = column
        while name in taken or name in names.values() or (name != column and name in columns):
            name = f"input_{name}"
        names[column] = name
    return names


def predict_table(
    reader: TableReader, text: str, scorer: Scorer, labels: LabelMap, clean: Cleaner
) -> Iterator[tuple[dict[str, list[Any]], Predictions]]:
    """Stream a table: per chunk the output columns (input first) and the predictions. Rows in = rows out, in order."""
    for chunk in reader.chunks():
        predictions = predict_texts(scorer, labels, chunk.columns[text], clean, chunk.errors)
        yield beside_input(chunk.columns, predictions), predictions


def beside_input(columns: Mapping[str, list[Any]], predictions: Predictions) -> dict[str, list[Any]]:
    """Input columns under their output names, then the predictions' columns."""
    names = output_names(list(columns), predictions.labels)
    return {names[key]: values for key, values in columns.items()} | predictions.columns()
