"""What chance may have done to a comparison: tests of two methods on the same rows, and intervals over rows and seeds.

*McNemar's exact test* (McNemar 1947; exact: the two-sided binomial test) compares two single runs by the rows that one of
them gets right and the other wrong. Its interval is that of Bonett and Price (2012, Biometrical Journal 54), which Fagerland,
Lydersen and Laake (2014, Statistics in Medicine 33) recommend: it does not collapse where no such row was seen.

*The bootstrap* draws test rows with replacement, the same for all runs. Where rows come in groups, such as the reviews of one
film, whole groups are drawn instead of rows (cluster bootstrap; Davison and Hinkley 1997, section 3.8): rows of one group are
not independent. Of n units n - 1 are drawn (McCarthy 1969; Rao and Wu 1988): drawing n of few groups would give too small a
variance.

*Seeds* are few, and drawing them with replacement (Sellam et al. 2022, The MultiBERTs) claims too much then: simulated, where
normal seeds decide everything and rows nothing, of two equal methods of 2, 3, 5 seeds each 31, 15, 9 % would be told apart.
In every resample of the rows the mean over seeds is therefore moved by Student's t of their spread: in the same simulation
0, 1, 3 % are told apart, and 94 to 95 % of intervals hold the truth. Two seeds tell only large differences apart.

Everything is computed with a seed of its own, so the same runs give the same figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tunebench.metrics import BINS, SEED, Z95, bin_of

DRAWS = 20_000
"""Of accuracy: a p-value of 0.0001 can then be told, which leaves room for Holm's correction."""
SCORE_DRAWS = 2_000
"""Of scores that have an interval only."""
MOST_BLOCKS = 10_000
"""More rows than these are dealt into so many blocks by chance, for scores that differ in every row; blocks are then drawn."""
MOST_KINDS = 1_000
"""Where rows answer in more ways than these, they are dealt into blocks too."""
MOST_COUNTS, MOST_DRAWN = 4_000_000, 30_000
"""Counts that are held at once, and units that are drawn at once: these few enough to stay in the processor's cache."""


def mcnemar(first_only: int, second_only: int) -> float:
    """Two-sided p-value of McNemar's exact test: so many rows are right in one run only, and so many in the other only.

    Twice the smaller tail of Binomial(first_only + second_only, 1/2), at most 1.
    """
    n, fewest = first_only + second_only, min(first_only, second_only)
    if 2 * fewest >= n - 1:
        return 1.0
    steps = np.arange(1, fewest + 1, dtype=np.float64)
    logs = np.concatenate([[0.0], np.cumsum(np.log((n + 1 - steps) / steps))]) - n * math.log(2)  # log of C(n, i) / 2 ** n
    return min(1.0, 2 * math.exp(logs[-1]) * float(np.exp(logs - logs[-1]).sum()))


def paired_interval(first_only: int, second_only: int, n: int) -> tuple[float, float]:
    """95 % interval of the difference in accuracy of two runs on the same n rows, by Bonett and Price."""
    first, second = (first_only + 1) / (n + 2), (second_only + 1) / (n + 2)
    half = Z95 * math.sqrt((first + second - (first - second) ** 2) / (n + 2))
    return max(-1.0, first - second - half), min(1.0, first - second + half)


def effective_rows(hits: np.ndarray, groups: np.ndarray) -> int:
    """How many independent rows ``(N,)`` are worth that come in groups: their number by the design effect (Kish 1965).

    The variance of the share is that between groups (its linearization); an interval for a share takes so many rows in place of
    N (Korn and Graubard 1998). Never more than N. Where no group differs from the others, nothing is known of the effect, and
    a group counts as one row.
    """
    n, share = len(hits), float(hits.mean())
    places = np.unique(groups, return_inverse=True)[1]
    apart = np.bincount(places, hits - share)
    variance = len(apart) / max(1, len(apart) - 1) * float((apart**2).sum()) / n**2
    if len(apart) < 2 or variance < 1e-12:
        return len(apart)
    return max(1, min(n, round(share * (1 - share) / variance)))


def holm(values: Sequence[float]) -> list[float]:
    """P-values adjusted for being several (Holm 1979): the chance of any false claim among them stays below the level.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        largest = max(largest, min(1.0, values[place] * (len(values) - rank)))
        adjusted[place] = largest
    return adjusted


def accuracy_draws(hits: np.ndarray, asked: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """Accuracy of R runs in every resample ``(DRAWS, R)``; the rows of a resample are the same for all runs.

    ``hits`` and ``asked`` ``(N, R)`` say of every row whether a run got it right, and whether it was asked at all. The order
    of the rows changes nothing. ``groups`` ``(N,)`` are ids from 0 of the group of each row, none left out.
    """
    cells = np.column_stack([hits & asked, asked]).astype(np.int64)
    if groups is None:
        units, times = _patterns(cells)
    else:
        units, times = np.column_stack([_summed(groups, int(groups.max()) + 1, column) for column in cells.T]), None
    sums = _resampled(units, times, DRAWS)
    return _ratio(sums[:, : hits.shape[1]], sums[:, hits.shape[1] :])


def over_seeds(draws: np.ndarray, methods: Sequence[Sequence[int]]) -> np.ndarray:
    """The mean over seeds ``(D, M)`` of scores ``(D, R)`` in D resamples; ``methods`` names the runs of each by their place.

    What other seeds would have given is drawn from Student's t around the mean (as the t interval has it; Gosset 1908).
    """
    generator = np.random.default_rng([SEED, 1])  # not the one that draws rows
    means = []
    for places in methods:
        found, seeds = draws[:, list(places)], len(places)
        mean = found.mean(axis=1)
        if seeds > 1:
            mean += found.std(axis=1, ddof=1) / np.sqrt(seeds) * generator.standard_t(seeds - 1, size=len(draws))
        means.append(mean)
    return np.asarray(np.column_stack(means).clip(0, 1))


def two_sided(draws: np.ndarray) -> float:
    """How often a difference would come out on the other side, twice: the p-value of draws ``(D,)`` against no difference."""
    fewer = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (1 + fewer) / (1 + len(draws)))


def percentiles(draws: np.ndarray) -> tuple[float, float]:
    """95 % interval: from the 2.5 % to the 97.5 % quantile of the draws."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def calibration_interval(value: float, errors: np.ndarray, moved: np.ndarray) -> tuple[float, float]:
    """95 % interval of a calibration error, out of the draws ``(D,)`` that ``calibration_draws`` gives, means over seeds.

    The figure is biased upwards, and resamples once more; so for the lower end their distances from it are laid on its other side
    (the basic bootstrap; Davison and Hinkley 1997, section 5.2). That takes off half of the bias where a model is calibrated; so
    that end is also no higher than the figure less what the bins moved in all, which no error can change by more (the triangle
    inequality): a calibrated model's interval holds 0. The upper end is the figure and as much as draws fall below their own
    mean: so far a figure comes out below its expectation, which the truth does not exceed.
    """
    low, high = percentiles(errors)
    moves = float(np.quantile(moved, 0.975))
    return max(0.0, min(value, 2 * value - high, value - moves)), min(1.0, value + max(0.0, float(errors.mean()) - low))


def f1_draws(gold: np.ndarray, predicted: np.ndarray, asked: np.ndarray, labels: int, groups: np.ndarray | None) -> np.ndarray:
    """Macro F1 of the S runs of one method in every resample ``(SCORE_DRAWS, S)``, on the same rows.

    ``gold`` ``(N,)`` and ``predicted`` ``(N, S)`` are ids, -1 where the answer named no label; ``asked`` and ``groups`` are
    those of ``accuracy_draws``.
    """
    cells = np.column_stack([gold, np.where(asked, predicted, labels)]) + 1
    times = None
    if groups is None:
        kinds, times = _patterns(cells)
        cells, times, groups = (
            (kinds, times, np.arange(len(kinds))) if len(kinds) < MOST_KINDS else (cells, None, _blocks(len(gold)))
        )
    number, true = int(groups.max()) + 1, cells[:, 0] - 1
    sums = []
    for answered in cells[:, 1:].T - 1:
        told, of = (answered >= 0) & (answered < labels), answered < labels
        sums += [
            _summed(groups[rows] * labels + ids[rows], number * labels).reshape(number, labels)
            for rows, ids in ((told & (answered == true), true), (of, true), (told, answered))
        ]
    drawn = _resampled(np.concatenate(sums, axis=1), times, SCORE_DRAWS).reshape(SCORE_DRAWS, predicted.shape[1], 3, labels)
    return np.asarray(_ratio(2 * drawn[:, :, 0], drawn[:, :, 1] + drawn[:, :, 2]).mean(axis=2))


def calibration_draws(
    confidence: np.ndarray, hits: np.ndarray, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Of R runs in every resample ``(SCORE_DRAWS, R)``: the calibration error, and how far its bins moved in all.

    ``confidence`` ``(N, R)`` is no number where none is known.
    """
    known = ~np.isnan(confidence)
    place = bin_of(np.where(known, confidence, 0.0))
    gaps = np.where(known, confidence - hits, 0.0)
    groups = _blocks(len(gaps)) if groups is None else groups
    number, runs = int(groups.max()) + 1, range(confidence.shape[1])
    sums = [_summed(groups * BINS + place[:, run], number * BINS, gaps[:, run]).reshape(number, BINS) for run in runs]
    rows = [_summed(groups, number, known[:, run]).reshape(number, 1) for run in runs]
    units = np.concatenate([*sums, *rows], axis=1)

    def shares(found: np.ndarray) -> np.ndarray:
        """What each bin adds to the difference of confidence and accuracy ``(D, R, BINS)``."""
        binned = found[:, : len(runs) * BINS].reshape(len(found), len(runs), BINS)
        return np.asarray(binned / np.maximum(found[:, len(runs) * BINS :], 1)[:, :, None])

    drawn, here = shares(_resampled(units, None, SCORE_DRAWS)), shares(units.sum(axis=0, keepdims=True))
    return np.abs(drawn).sum(axis=2), np.abs(drawn - here).sum(axis=2)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0))


def _blocks(rows: int) -> np.ndarray:
    """A block for each of so many rows, of itself while there are few: as rows are independent, so are blocks of them."""
    return np.random.default_rng([SEED, 2]).permutation(rows) % MOST_BLOCKS if rows > MOST_BLOCKS else np.arange(rows)


def _patterns(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different rows of ``cells (N, C)``, whole numbers from 0, in their own order, and how often each stands there."""
    code = np.zeros(len(cells), dtype=np.int64)
    for column in cells.T:
        code = np.unique(code * (int(column.max(initial=0)) + 1) + column, return_inverse=True)[1]
    _, first, times = np.unique(code, return_index=True, return_counts=True)
    return cells[first], times


def _summed(place: np.ndarray, number: int, values: np.ndarray | None = None) -> np.ndarray:
    """How many rows stand at each of so many places ``(number,)``, or the sum of their values."""
    return np.bincount(place, values, number)


def _resampled(units: np.ndarray, times: np.ndarray | None, draws: int) -> np.ndarray:
    """Sums ``(draws, C)`` over resampled units ``(U, C)``, each of which is there so many ``times`` (once).

    Of all units one less is drawn than there are. Where few are different they are counted at once, else each draw is counted up.
    """
    generator, kinds = np.random.default_rng(SEED), len(units)
    times = np.ones(kinds, dtype=np.int64) if times is None else times
    n, units, sums = int(times.sum()), units.astype(np.float32), []
    for begin in range(0, draws, size := max(1, MOST_COUNTS // kinds)):
        number = min(size, draws - begin)
        if kinds * 5 < n:
            counts = generator.multinomial(max(1, n - 1), times / n, size=number)
        else:
            counts = _counted_up(generator, np.repeat(np.arange(kinds), times), kinds, number)
        sums.append(counts.astype(np.float32) @ units)
    return np.concatenate(sums).astype(np.float64)


def _counted_up(generator: np.random.Generator, owner: np.ndarray, kinds: int, draws: int) -> np.ndarray:
    """How often each kind is drawn ``(draws, kinds)``, where ``owner`` ``(n,)`` is the kind of every unit."""
    n, found = len(owner), []
    for begin in range(0, draws, size := max(1, MOST_DRAWN // n)):
        number = min(size, draws - begin)
        drawn = owner[generator.integers(0, n, (number, max(1, n - 1)))] + np.arange(number)[:, None] * kinds
        found.append(np.bincount(drawn.ravel(), minlength=number * kinds).reshape(number, kinds))
    return np.concatenate(found)
