"""Scores of a classifier, each with the n it stands on and a 95 % interval.

Proportions (accuracy, precision, recall) carry Wilson's score interval (Wilson 1927); F1 scores, which are
no proportions, carry a percentile bootstrap over the confusion matrix. Everything follows from that
matrix, so scores can be recomputed from ``predictions.parquet`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Z95 = 1.959963984540054
BOOTSTRAP_SAMPLES = 1000
BOOTSTRAP_SEED = 20260101


@dataclass(frozen=True)
class Score:
    """One figure with its 95 % interval and the number of rows it stands on."""

    value: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, float | int]:
        """The figure as ``metrics.json`` holds it."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


def wilson(hits: int, n: int) -> Score:
    """Proportion ``hits / n`` with Wilson's 95 % score interval; 0 of 0 is 0 within [0, 1]."""
    if n == 0:
        return Score(0.0, 0.0, 1.0, 0)
    p = hits / n
    centre = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n**2))
    return Score(p, max(0.0, centre - half), min(1.0, centre + half), n)


def confusion_matrix(gold: Sequence[int], predicted: Sequence[int], num_labels: int) -> np.ndarray:
    """Counts ``(K, K)``: row = gold label, column = predicted label."""
    matrix: np.ndarray = np.zeros((num_labels, num_labels), dtype=np.int64)
    np.add.at(matrix, (np.asarray(gold, dtype=np.int64), np.asarray(predicted, dtype=np.int64)), 1)
    return matrix


def _f1_per_label(matrices: np.ndarray) -> np.ndarray:
    """F1 of every label, ``(…, K)``, for matrices ``(…, K, K)``; a label without rows scores 0."""
    hits = np.diagonal(matrices, axis1=-2, axis2=-1).astype(np.float64)
    total = matrices.sum(axis=-1) + matrices.sum(axis=-2)
    return np.asarray(np.divide(2 * hits, total, out=np.zeros_like(hits), where=total > 0))


def _bootstrap(matrix: np.ndarray) -> np.ndarray:
    """Resampled confusion matrices ``(S, K, K)``; the same matrix always gives the same samples."""
    n, k = int(matrix.sum()), matrix.shape[0]
    if n == 0:
        return np.zeros((1, k, k), dtype=np.int64)
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    samples = generator.multinomial(n, matrix.reshape(-1) / n, size=BOOTSTRAP_SAMPLES)
    return np.asarray(samples.reshape(-1, k, k))


def _percentile(value: float, samples: np.ndarray, n: int) -> Score:
    low, high = np.quantile(samples, [0.025, 0.975])
    return Score(float(value), float(low), float(high), n)


def classification_scores(matrix: np.ndarray, labels: Sequence[str], positive: str | None) -> dict[str, Any]:
    """Every score of a classifier from its confusion matrix ``(K, K)``, ready for ``metrics.json``.

    With ``positive`` (two labels), precision, recall and F1 are those of that label; without it they are
    macro averages over all labels, whose precision and recall carry bootstrap intervals.
    """
    n = int(matrix.sum())
    samples = _bootstrap(matrix)
    f1, f1_samples = _f1_per_label(matrix), _f1_per_label(samples)
    per_label = {
        label: {
            "precision": wilson(int(matrix[i, i]), int(matrix[:, i].sum())).as_dict(),
            "recall": wilson(int(matrix[i, i]), int(matrix[i].sum())).as_dict(),
            "f1": _percentile(f1[i], f1_samples[:, i], n).as_dict(),
            "support": int(matrix[i].sum()),
        }
        for i, label in enumerate(labels)
    }
    scores: dict[str, Any] = {
        "n": n,
        "accuracy": wilson(int(np.trace(matrix)), n).as_dict(),
        "f1_macro": _percentile(float(f1.mean()), f1_samples.mean(axis=1), n).as_dict(),
    }
    if positive is not None:
        scores |= {name: per_label[positive][name] for name in ("precision", "recall", "f1")}
    else:
        scores |= _macro(matrix, samples, n) | {"f1": scores["f1_macro"]}
    return scores | {
        "positive_label": positive,
        "per_label": per_label,
        "confusion": {"labels": list(labels), "rows_gold_columns_predicted": matrix.tolist()},
    }


def _macro(matrix: np.ndarray, samples: np.ndarray, n: int) -> dict[str, Any]:
    def averages(matrices: np.ndarray, axis: int) -> np.ndarray:
        hits = np.diagonal(matrices, axis1=-2, axis2=-1).astype(np.float64)
        total = matrices.sum(axis=axis)
        return np.asarray(np.divide(hits, total, out=np.zeros_like(hits), where=total > 0).mean(axis=-1))

    return {
        name: _percentile(float(averages(matrix, axis)), averages(samples, axis), n).as_dict()
        for name, axis in (("precision", -2), ("recall", -1))
    }


def selection_scores(gold: Sequence[int], predicted: Sequence[int], num_labels: int, positive: int | None) -> dict[str, float]:
    """The plain figures that choose a checkpoint: accuracy, f1 (of ``positive``, else macro), f1_macro."""
    matrix = confusion_matrix(gold, predicted, num_labels)
    f1 = _f1_per_label(matrix)
    return {
        "accuracy": float(np.trace(matrix)) / max(1, int(matrix.sum())),
        "f1": float(f1[positive]) if positive is not None else float(f1.mean()),
        "f1_macro": float(f1.mean()),
    }
