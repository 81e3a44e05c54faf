"""How sure a classifier may say it is: a temperature for its probabilities, and below which of them it had better not answer.

Temperature scaling (Guo, Pleiss, Sun and Weinberger 2017, On Calibration of Modern Neural Networks): logits are divided by
one number, the one under which the true labels of some rows are most probable. The order of the logits stays, so no label
changes. ``-log p`` is convex in the inverse of the temperature, so there is one best, and bisection of the slope finds it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tunebench.metrics import brier, calibration_error

COLDEST, HOTTEST = 0.01, 100.0
"""Temperatures that are looked at. Where every row is right there is no best one: the colder, the better."""
SHARES = 20
"""Thresholds are tried that answer 5 %, 10 %, … of the rows."""
ERROR = 0.05
"""How probable it may be that the accuracy promised for the threshold is not reached."""
MOST_POINTS = 101
"""A coverage curve has no more points."""


def tempered(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities ``(N, K)`` of logits ``(N, K)`` at a temperature; float64."""
    return np.asarray(np.exp(_log_probabilities(logits, 1 / temperature)))


def fit_temperature(logits: np.ndarray, gold: np.ndarray) -> float | None:
    """The temperature under which the true labels ``gold (N,)`` are most probable.

    None where these rows determine none: all of them are right, or the logits are worse than none.
    """
    rows, values = np.arange(len(gold)), logits.astype(np.float64)

    def slope(inverse: float) -> float:
        """Of the mean ``-log p`` over the inverse temperature: the expected logit less that of the true label."""
        expected = (np.exp(_log_probabilities(values, inverse)) * values).sum(axis=1)
        return float((expected - values[rows, gold]).mean())

    low, high = 1 / HOTTEST, 1 / COLDEST
    if slope(low) >= 0 or slope(high) <= 0:
        return None
    for _ in range(60):  # halves the interval down to the last bit
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return 2 / (low + high)


def negative_log_likelihood(logits: np.ndarray, gold: np.ndarray, temperature: float) -> float:
    """Mean ``-log p`` of the true labels at a temperature."""
    return float(-_log_probabilities(logits, 1 / temperature)[np.arange(len(gold)), gold].mean())


def calibrate(logits: np.ndarray, gold: np.ndarray, target_accuracy: float) -> dict[str, Any]:
    """Temperature, scores before and after, coverage curve and threshold, ready for ``calibration.json``.

    ``logits (N, K)`` are those of rows whose true ids ``gold (N,)`` are known, and that nothing was trained on.
    """
    fitted = fit_temperature(logits, gold)
    temperature = 1.0 if fitted is None else fitted
    confidence = tempered(logits, temperature).max(axis=1)
    correct = logits.argmax(axis=1) == gold
    threshold, best = threshold_for(confidence, correct, target_accuracy)
    return {
        "temperature": temperature,
        "determined": fitted is not None,
        "rows": len(gold),
        "accuracy": float(correct.mean()),
        "before": _figures(logits, gold, 1.0),
        "after": _figures(logits, gold, temperature),
        "target_accuracy": target_accuracy,
        "threshold": threshold,
        "best_bound": best,
        "rows_needed": rows_needed(target_accuracy),
        "curve": coverage_curve(confidence, correct),
    }


def _figures(logits: np.ndarray, gold: np.ndarray, temperature: float) -> dict[str, float | None]:
    probabilities = tempered(logits, temperature)
    return {
        "nll": negative_log_likelihood(logits, gold, temperature),
        "ece": calibration_error(probabilities.max(axis=1), logits.argmax(axis=1) == gold),
        "brier": brier(probabilities, gold),
    }


def _log_probabilities(logits: np.ndarray, inverse: float) -> np.ndarray:
    values = logits.astype(np.float64) * inverse
    shifted = values - values.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def coverage_curve(confidence: np.ndarray, correct: np.ndarray) -> list[dict[str, float | int]]:
    """Accuracy against the share of rows that are answered, surest first; of many rows ``MOST_POINTS``, evenly, with both ends.

    ``threshold`` is the confidence from which on a row is answered at this point. Rows that are equally sure come together.
    """
    order = np.argsort(-confidence, kind="stable")
    sure, right = confidence[order], np.cumsum(correct[order])
    ends = np.flatnonzero(np.append(sure[1:] != sure[:-1], [True]))  # the last of each run of equals
    kept = ends[np.unique(np.round(np.linspace(0, len(ends) - 1, min(MOST_POINTS, len(ends)))).astype(np.int64))]
    number = len(confidence)
    return [
        {
            "threshold": float(sure[place]),
            "n": int(place + 1),
            "coverage": (int(place) + 1) / number,
            "accuracy": float(right[place] / (place + 1)),
        }
        for place in kept
    ]


def threshold_for(
    confidence: np.ndarray, correct: np.ndarray, target: float
) -> tuple[dict[str, float | int] | None, dict[str, float | int]]:
    """The smallest threshold whose accuracy is proven to reach the target, None where none is; and the best that is proven.

    ``SHARES`` thresholds are tried, so each must hold with an error of ``ERROR / SHARES`` (Bonferroni): then the one that is
    chosen holds with 95 %, although it was chosen on these rows (as in Geifman and El-Yaniv 2017, Selective Classification
    for Deep Neural Networks). A threshold that answers every row is 0.
    """
    number, sure = len(confidence), np.sort(confidence)[::-1]
    points = []
    for share in range(1, SHARES + 1):
        value = sure[math.ceil(share * number / SHARES) - 1]
        answered = confidence >= value
        n, hits = int(answered.sum()), int(correct[answered].sum())
        points.append(
            {
                "value": 0.0 if n == number else float(value),
                "n": n,
                "coverage": n / number,
                "accuracy": hits / n,
                "accuracy_low": proven_accuracy(hits, n),
            }
        )
    reached = [point for point in points if point["accuracy_low"] >= target]
    chosen = max(reached, key=lambda point: point["n"], default=None)
    return chosen, max(points, key=lambda point: point["accuracy_low"])


def proven_accuracy(hits: int, n: int, error: float = ERROR / SHARES) -> float:
    """The accuracy that ``hits`` of ``n`` rows prove but for an error: Clopper and Pearson's exact lower bound (1934)."""
    if hits == 0:
        return 0.0
    misses = np.arange(n - hits + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    ways = logs[n] - logs[misses] - logs[n - misses]
    low, high = 0.0, hits / n
    for _ in range(40):
        middle = (low + high) / 2
        with np.errstate(under="ignore"):
            so_many_right = np.exp(ways + misses * math.log1p(-middle) + (n - misses) * math.log(middle)).sum()
        low, high = (low, middle) if so_many_right > error else (middle, high)
    return low


def rows_needed(target: float) -> int:
    """How many rows prove an accuracy if every one of them is right."""
    return math.ceil(math.log(ERROR / SHARES) / math.log(target))
