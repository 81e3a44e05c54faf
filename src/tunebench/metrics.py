"""Scores of a classifier, each with the n it stands on and a 95 % interval.

Proportions (accuracy, precision, recall) carry Wilson's score interval (Wilson 1927). F1 scores and macro averages,
which are no proportions, carry a posterior interval (Goutte and Gaussier 2005, A Probabilistic Interpretation of
Precision, Recall and F-score): cell probabilities are drawn from a Dirichlet distribution around the counts, the score
of each draw is taken, and the interval runs from the 2.5 % to the 97.5 % quantile. The prior is worth one row, shared
by all cells (Perks 1947); with two labels the share of errors then has Jeffreys' prior. Unlike resampled rows it does
not collapse where no error was seen, and with many rows both give the same interval. The interval is widened to its
figure where that lies at an edge (as Brown, Cai and DasGupta 2001 do for proportions).

All intervals take rows as independent. Rows of one group, such as reviews of one film, are not: there the intervals
are too narrow. Everything follows from the confusion matrix, so scores can be recomputed from ``predictions.parquet``.

Calibration (``reliability``, ``calibration_error``, ``brier``) needs probabilities: where none were given it is None, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Z95 = 1.959963984540054
DRAWS = 2000
SEED = 20260101
BINS = 15
"""Bins of equal width that the calibration error is taken over, those of Guo et al. 2017."""


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


def wilson(hits: float, n: int) -> Score:
    """Proportion ``hits / n`` with Wilson's 95 % score interval; 0 of 0 is 0 within [0, 1]. Hits may be means over seeds."""
    if n == 0:
        return Score(0.0, 0.0, 1.0, 0)
    p = hits / n
    centre = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n**2))
    return Score(p, min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half)), n)  # p: rounding at 0 of n and n of n


def confusion_matrix(gold: Sequence[int] | np.ndarray, predicted: Sequence[int] | np.ndarray, num_labels: int) -> np.ndarray:
    """Counts ``(K, K)``: row = gold label, column = predicted label."""
    matrix: np.ndarray = np.zeros((num_labels, num_labels), dtype=np.int64)
    np.add.at(matrix, (np.asarray(gold, dtype=np.int64), np.asarray(predicted, dtype=np.int64)), 1)
    return matrix


def _f1_per_label(matrices: np.ndarray) -> np.ndarray:
    """F1 of every label, ``(…, K)``, for matrices ``(…, K, K)`` or ``(…, K, K + 1)``; a label without rows scores 0."""
    hits = np.diagonal(matrices, axis1=-2, axis2=-1).astype(np.float64)
    return _ratio(2 * hits, matrices.sum(axis=-1) + _predicted(matrices))


def _predicted(matrices: np.ndarray) -> np.ndarray:
    """How often every label was predicted, ``(…, K)``; a last column of rows without a valid answer is no label."""
    return np.asarray(matrices.sum(axis=-2)[..., : matrices.shape[-2]])


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, and 0 where there is nothing."""
    return np.asarray(np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0))


def _drawn(counts: np.ndarray, cells: int) -> np.ndarray:
    """Cell weights ``(S, …)`` drawn around counts that stand in so many cells; the same counts give the same draws.

    Gamma variates are Dirichlet ones before they are divided by their sum, which no ratio needs.
    """
    return np.random.default_rng(SEED).standard_gamma(counts + 1 / cells, size=(DRAWS, *counts.shape))


def _drawn_f1(matrix: np.ndarray) -> np.ndarray:
    """F1 of every label, ``(S, K)``, each against all others together: four cells, of which the fourth does not count."""
    hits = np.diagonal(matrix)
    cells = _drawn(np.stack([hits, matrix.sum(axis=-1) - hits, _predicted(matrix) - hits]), 4)
    return _ratio(2 * cells[:, 0], 2 * cells[:, 0] + cells[:, 1] + cells[:, 2])


def _percentile(value: float, samples: np.ndarray, n: int) -> Score:
    low, high = np.quantile(samples, [0.025, 0.975])
    return Score(float(value), min(float(value), float(low)), max(float(value), float(high)), n)


def classification_scores(
    matrix: np.ndarray, labels: Sequence[str], positive: str | None, missed: np.ndarray | None = None
) -> dict[str, Any]:
    """Every score of a classifier from its confusion matrix ``(K, K)``, ready for ``metrics.json``.

    With ``positive`` (two labels), precision, recall and F1 are those of that label; without it they are
    macro averages over all labels. ``missed`` ``(K,)`` counts, per gold label, rows whose answer named no label: they
    stand in no cell of the confusion matrix, belong to ``n``, and are wrong in every score.
    """
    counts = matrix if missed is None or not missed.any() else np.column_stack([matrix, missed])
    n = int(counts.sum())
    samples = _drawn(counts, counts.size)
    f1, f1_samples = _f1_per_label(counts), _drawn_f1(counts)
    per_label = {
        label: {
            "precision": wilson(int(matrix[i, i]), int(matrix[:, i].sum())).as_dict(),
            "recall": wilson(int(matrix[i, i]), int(counts[i].sum())).as_dict(),
            "f1": _percentile(f1[i], f1_samples[:, i], n).as_dict(),
            "support": int(counts[i].sum()),
        }
        for i, label in enumerate(labels)
    }
    scores: dict[str, Any] = {
        "n": n,
        "accuracy": wilson(int(np.trace(matrix)), n).as_dict(),
        "f1_macro": _percentile(float(f1.mean()), _f1_per_label(samples).mean(axis=-1), n).as_dict(),
    }
    if positive is not None:
        scores |= {name: per_label[positive][name] for name in ("precision", "recall", "f1")}
    else:
        scores |= _macro(counts, samples, n) | {"f1": scores["f1_macro"]}
    return scores | {
        "positive_label": positive,
        "per_label": per_label,
        "confusion": {"labels": list(labels), "rows_gold_columns_predicted": matrix.tolist()},
    }


def _macro(matrix: np.ndarray, samples: np.ndarray, n: int) -> dict[str, Any]:
    def averages(matrices: np.ndarray, whole: np.ndarray) -> np.ndarray:
        hits = np.diagonal(matrices, axis1=-2, axis2=-1).astype(np.float64)
        return np.asarray(_ratio(hits, whole).mean(axis=-1))

    return {
        "precision": _percentile(
            float(averages(matrix, _predicted(matrix))), averages(samples, _predicted(samples)), n
        ).as_dict(),
        "recall": _percentile(float(averages(matrix, matrix.sum(axis=-1))), averages(samples, samples.sum(axis=-1)), n).as_dict(),
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


def bin_of(confidence: np.ndarray) -> np.ndarray:
    """The bin ``(N,)`` of every confidence: ``(i / BINS, (i + 1) / BINS]``, where 0 belongs to the first."""
    return np.asarray(np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1))


def reliability(confidence: np.ndarray, correct: np.ndarray) -> list[dict[str, float | int]]:
    """The points of a reliability diagram: of every bin that is not empty its edges, rows, mean confidence and accuracy.

    ``confidence (N,)`` is the probability of the label that was predicted. Rows without one (not a number) are left out.
    """
    known = ~np.isnan(confidence)
    confidence, correct = confidence[known], correct[known]
    place = bin_of(confidence)
    rows = np.bincount(place, minlength=BINS)
    sure, right = (np.bincount(place, weights=values, minlength=BINS) for values in (confidence, correct))
    return [
        {
            "low": i / BINS,
            "high": (i + 1) / BINS,
            "n": int(rows[i]),
            "confidence": float(sure[i] / rows[i]),
            "accuracy": float(right[i] / rows[i]),
        }
        for i in np.flatnonzero(rows)
    ]


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float | None:
    """Expected calibration error: the mean distance of confidence and accuracy over the bins, weighted by their rows.

    Of the predicted label, over 15 bins of equal width (Naeini, Cooper and Hauskrecht 2015; Guo et al. 2017). It is biased
    upwards, the more so the fewer rows stand in a bin: chance alone moves a bin's accuracy, and a distance does not cancel
    (Roelofs et al. 2022). So a well calibrated model on n rows has about ``0.8 * sqrt(sum of p (1 - p) over bins / n)``, not 0.
    It is blind to everything that cancels within a bin. None where no row has a probability.
    """
    points = reliability(confidence, correct)
    n = sum(point["n"] for point in points)
    return sum(point["n"] * abs(point["confidence"] - point["accuracy"]) for point in points) / n if n else None


def brier(probabilities: np.ndarray, gold: np.ndarray) -> float | None:
    """Brier's score (1950), summed over the labels: 0 is perfect, 2 is sure and wrong; always 1 / K gives ``1 - 1 / K``.

    Of probabilities ``(N, K)`` and true ids ``(N,)``; rows without probabilities are left out. None where no row has any.
    """
    known = ~np.isnan(probabilities).any(axis=1)
    if not known.any():
        return None
    truth = np.eye(probabilities.shape[1])[gold[known]]
    return float(((probabilities[known] - truth) ** 2).sum(axis=1).mean())
