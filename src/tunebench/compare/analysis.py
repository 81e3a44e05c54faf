"""What a run answered on the test rows, read out of its ``predictions.parquet`` into arrays, and what can be counted in them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tunebench.compare import statistics
from tunebench.data.labels import label_name
from tunebench.data.reading import Reading, reading_of
from tunebench.errors import InputError
from tunebench.events import Evaluated, Step
from tunebench.metrics import brier, confusion_matrix, wilson
from tunebench.recipe.sources import Fraction
from tunebench.recipe.spec import Recipe
from tunebench.runs.run import Run

PREDICTIONS = "predictions.parquet"
BATCH = 8192
"""Rows that are read at once."""
LENGTH_BINS = 6
CURVE_POINTS = 400
NO_LABEL = "names no label"
"""How the error of a row ends that was answered with something else than a label: it was asked, and is wrong."""


@dataclass(frozen=True)
class TestedRows:
    """The test rows: ids, true labels ``(N,)`` by their place, characters of the texts, and the group of each where it has one.

    ``groups`` are places from 0 in the names of the groups, by the column ``group_by``.
    """

    ids: list[str]
    gold: np.ndarray
    lengths: np.ndarray
    groups: np.ndarray | None
    group_by: str | None


@dataclass(frozen=True)
class Answers:
    """What one run answered: labels ``(N,)`` by their place, -1 where there is none, and the probability of each.

    ``asked`` is False where a row could not be scored, which counts nowhere; ``hits`` where the answer is right. The confidence
    of an answer that was written is no number; ``brier`` is None where all of them were.
    """

    predicted: np.ndarray
    asked: np.ndarray
    hits: np.ndarray
    confidence: np.ndarray
    brier: float | None


def read_rows(run: Run) -> TestedRows:
    """The test rows as a run kept them. Raises InputError where its file does not hold what its recipe reads."""
    recipe, labels = run.recipe, run.manifest["labels"]["names"]
    reading = _reading(recipe)
    texts, label = [_kept(run, column) for column in reading.columns.values()], _kept(run, reading.label[1])
    group_by = next((name for name in _group_columns(recipe) if _find(run, name)), None)
    grouping = [_kept(run, group_by)] if group_by else []
    gold, lengths, groups = list[np.ndarray](), list[np.ndarray](), list[Any]()
    for batch in batches(run, [*texts, label, *grouping]):
        gold.append(_places(batch[label], labels))
        lengths.append(np.sum([_array(pc.fill_null(pc.utf8_length(as_text(batch[name])), 0)) for name in texts], axis=0))
        groups += as_text(batch[grouping[0]]).to_pylist() if grouping else []
    found = np.concatenate(gold)
    if (found < 0).any():
        raise InputError(
            str(run.path / PREDICTIONS), f"{label!r} holds labels that the run has not; the run directory is damaged"
        )
    names, places = np.unique([str(name) for name in groups], return_inverse=True)
    own, by = (places, group_by) if len(names) > 1 else (None, None)
    return TestedRows(_ids(run, len(found)), found, np.concatenate(lengths), own, by)


def read_answers(run: Run, gold: np.ndarray) -> Answers:
    """What a run answered on rows with the true labels ``gold``. Raises InputError where that is not what was scored."""
    labels = run.manifest["labels"]["names"]
    columns = [f"probability_{name}" for name in labels]
    predicted, asked, confidence, squares, rows, begin = [], [], [], 0.0, 0, 0
    for batch in batches(run, ["predicted", *columns, "error"]):
        answered = _places(batch["predicted"], labels)
        probabilities = np.column_stack([_array(batch[name]).astype(np.float64) for name in columns])
        told = _array(pc.ends_with(pc.fill_null(as_text(batch["error"]), ""), NO_LABEL))
        predicted.append(answered)
        asked.append((answered >= 0) | told)
        confidence.append(np.where(answered >= 0, probabilities[np.arange(len(answered)), answered], np.nan))
        score = brier(probabilities, gold[begin : begin + len(answered)])
        known = int((~np.isnan(probabilities).any(axis=1)).sum())
        squares, rows, begin = squares + (score or 0.0) * known, rows + known, begin + len(answered)
    given = np.concatenate(predicted)
    found = Answers(given, np.concatenate(asked), given == gold, np.concatenate(confidence), squares / rows if rows else None)
    if confusion(gold, [found], len(labels)).tolist() != run.metrics["test"]["confusion"]["rows_gold_columns_predicted"]:
        raise InputError(str(run.path / PREDICTIONS), "holds other answers than the ones that were scored; restore it")
    return found


def confusion(gold: np.ndarray, cells: Sequence[Answers], labels: int) -> np.ndarray:
    """How often each label was answered for each ``(K, K)``, row = true label, summed over the cells."""
    told = [(cell.predicted, cell.predicted >= 0) for cell in cells]
    return np.asarray(np.sum([confusion_matrix(gold[rows], found[rows], labels) for found, rows in told], axis=0))


def missed(gold: np.ndarray, cells: Sequence[Answers], labels: int) -> list[int] | None:
    """Rows per true label whose answer named no label, summed over the cells; None where there are none."""
    found = np.sum([np.bincount(gold[c.asked & (c.predicted < 0)], minlength=labels) for c in cells], axis=0)
    return found.tolist() if found.any() else None


def by_length(tested: TestedRows, cells: Sequence[Answers]) -> list[dict[str, float | int]]:
    """Accuracy by the length of texts in characters: about equally many rows in each of at most six bins, with intervals.

    Of several cells it is their mean; rows that one of them could not score are left out. Intervals are Wilson's, where rows
    come in groups of as many rows as they are worth.
    """
    asked = np.all([cell.asked for cell in cells], axis=0)
    hits, lengths = np.mean([cell.hits for cell in cells], axis=0)[asked], tested.lengths[asked]
    groups = None if tested.groups is None else tested.groups[asked]
    if not len(lengths):
        return []
    inner = np.unique(np.quantile(lengths, np.linspace(0, 1, LENGTH_BINS + 1)[1:-1], method="lower"))
    place, found = np.searchsorted(inner, lengths, side="left"), []
    for number in np.unique(place):
        rows = place == number
        n, share = int(rows.sum()), float(hits[rows].mean())
        worth = n if groups is None else statistics.effective_rows(hits[rows], groups[rows])
        score = wilson(share * worth, worth)
        found.append(
            {
                "low": int(lengths[rows].min()),
                "high": int(lengths[rows].max()),
                "n": n,
                "accuracy": share,
                "accuracy_low": score.low,
                "accuracy_high": score.high,
            }
        )
    return found


def learning_curve(run: Run) -> dict[str, Any]:
    """``train``: [step, examples, seconds, loss], ``validation``: [step, examples, seconds, scores], both of at most 400 points.

    Steps beyond that are put together: their mean loss, where the last of them ended. Points without a finite loss are left
    out; ``end`` is the last [step, examples] all the same.
    """
    steps: list[tuple[int, int, float, float]] = []
    scored: list[tuple[int, int, float, dict[str, float]]] = []
    examples = 0
    for event in run.events():
        if isinstance(event, Step):
            examples += event.rows
            steps.append((event.step, examples, event.seconds, event.loss))
        elif isinstance(event, Evaluated) and event.split == "validation":
            sound = {name: value for name, value in event.scores.items() if math.isfinite(value)}
            scored.append((event.step, examples, event.seconds, sound))
    width = max(1, math.ceil(len(steps) / CURVE_POINTS))
    blocks = [steps[begin : begin + width] for begin in range(0, len(steps), width)]
    train = [[*block[-1][:3], sum(loss for *_, loss in block) / len(block)] for block in blocks]
    kept = sorted({round(i) for i in np.linspace(0, len(scored) - 1, CURVE_POINTS)}) if len(scored) > CURVE_POINTS else None
    shown = scored if kept is None else [scored[i] for i in kept]
    return {
        "run": run.name,
        "end": list(steps[-1][:2]) if steps else None,
        "train": [point for point in train if math.isfinite(point[-1])],
        "validation": [list(point) for point in shown],
    }


def read_texts(run: Run, places: Sequence[int]) -> dict[int, str]:
    """The texts of a few rows by their place; of a question passage, question and options, each on a line."""
    columns = [_kept(run, column) for column in _reading(run.recipe).columns.values()]
    wanted, found, begin = np.unique(np.asarray(places, dtype=np.int64)), dict[int, str](), 0
    for batch in batches(run, columns):
        here = wanted[(wanted >= begin) & (wanted < begin + batch.num_rows)]
        picked = [as_text(batch[name]).take(pa.array(here - begin)).to_pylist() for name in columns]
        found |= {int(place): "\n".join(text or "" for text in cells) for place, *cells in zip(here, *picked, strict=True)}
        begin += batch.num_rows
    return found


def batches(run: Run, columns: Sequence[str]) -> Iterator[Any]:
    """The rows of a run's predictions in parts. Raises InputError where they cannot be read."""
    path = run.path / PREDICTIONS
    try:
        file = pq.ParquetFile(path)
        if lacking := [name for name in columns if name not in file.schema_arrow.names]:
            raise InputError(str(path), f"lacks the columns {', '.join(map(repr, lacking))}; the run directory is damaged")
        yield from file.iter_batches(BATCH, columns=list(dict.fromkeys(columns)))
    except (OSError, pa.ArrowException) as error:
        raise _damaged(run, error) from None


def as_text(column: Any) -> Any:
    """A column as text."""
    return column.cast(pa.large_string())


def _array(column: Any) -> np.ndarray:
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _reading(recipe: Recipe) -> Reading:
    source = recipe.data.source("test") or recipe.data.source("train")
    assert source is not None
    return reading_of(recipe.data, source, recipe.task)


def _group_columns(recipe: Recipe) -> list[str]:
    """The columns by which the recipe keeps rows together, the test split's first."""
    cuts = (recipe.data.test, recipe.data.validation)
    return [cut.group_by for cut in cuts if isinstance(cut, Fraction) and cut.group_by is not None]


def _find(run: Run, column: str) -> str | None:
    """What an input column is called among the predictions, where ``input_`` stands before a name that those need."""
    try:
        own = pq.read_schema(run.path / PREDICTIONS).names
    except (OSError, pa.ArrowException) as error:
        raise _damaged(run, error) from None
    taken = {"predicted", "truncated", "error", *(f"probability_{name}" for name in run.manifest["labels"]["names"])}
    name = column
    while name in taken or (name != column and f"input_{name}" in own):
        name = f"input_{name}"
    return name if name in own else None


def _damaged(run: Run, error: Exception) -> InputError:
    return InputError(str(run.path / PREDICTIONS), f"not readable ({error}); the run directory is damaged")


def _kept(run: Run, column: str) -> str:
    return _find(run, column) or column


def _places(column: Any, labels: Sequence[str]) -> np.ndarray:
    """The place of each cell's label ``(N,)``, -1 where it is empty or none of them."""
    order = {name: place for place, name in enumerate(labels)}
    encoded = column.dictionary_encode()
    places = [order.get(label_name(value) or "", -1) for value in encoded.dictionary.to_pylist()]
    ids = np.asarray([*places, -1], dtype=np.int64)
    return np.asarray(ids[_array(pc.fill_null(encoded.indices, len(places)))])


def _ids(run: Run, rows: int) -> list[str]:
    """The ids of the test rows as the splits say them, or their numbers."""
    try:
        ids = json.loads((run.path / "splits.json").read_text("utf-8"))["test"]
        return [str(name) for name in ids] if len(ids) == rows else list(map(str, range(1, rows + 1)))
    except (OSError, ValueError, KeyError, TypeError):
        return list(map(str, range(1, rows + 1)))
