"""What chance may do: tests and intervals against figures worked by hand, brute force, and simulated data of known truth."""

from __future__ import annotations

import time
from fractions import Fraction
from math import comb

import numpy as np
import pytest

from tunebench.compare import statistics
from tunebench.metrics import (
    brier,
    calibration_error,
    classification_scores,
    confusion_matrix,
    reliability,
)


def everything(hits: np.ndarray) -> np.ndarray:
    return np.ones_like(hits, dtype=bool)


def test_mcnemar_is_the_two_sided_binomial_test() -> None:
    for first in range(14):
        for second in range(14):
            n = first + second
            tail = sum(Fraction(comb(n, i), 2**n) for i in range(min(first, second) + 1))
            assert statistics.mcnemar(first, second) == pytest.approx(float(min(Fraction(1), 2 * tail)), rel=1e-12)


@pytest.mark.parametrize(
    ("first", "second"), [(0, 1000), (12, 95), (480, 520), (1500, 1650)], ids=["none", "few", "close", "many"]
)
def test_mcnemar_is_exact_for_many_rows_too(first: int, second: int) -> None:
    n = first + second
    tail = Fraction(sum(comb(n, i) for i in range(min(first, second) + 1)), 2**n)
    assert statistics.mcnemar(first, second) == pytest.approx(float(2 * tail), rel=1e-8)
    assert statistics.mcnemar(second, first) == statistics.mcnemar(first, second)


def test_the_interval_of_a_paired_difference_is_the_published_one() -> None:
    # Fagerland, Lydersen and Laake 2014, airway hyper-responsiveness before and after transplantation: 1, 1, 7, 12 of 21
    assert statistics.paired_interval(1, 7, 21) == pytest.approx((-0.508, -0.013), abs=5e-4)
    low, high = statistics.paired_interval(0, 0, 100)
    assert low == -high < 0, "no row apart does not mean that there is no difference"


def test_holm_is_the_example_worked_by_hand() -> None:
    # 4 * 0.005, 3 * 0.01, 2 * 0.03; 0.04 is not allowed below the one before it
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.5]) == [1.0, 1.0]
    assert statistics.holm([0.02]) == [0.02]
    assert statistics.holm([]) == []


@pytest.mark.parametrize(("seeds", "t"), [([0.5, 0.51], 12.706), ([0.5, 0.51, 0.55], 4.303)], ids=["two", "three"])
def test_the_mean_over_seeds_has_the_t_interval(seeds: list[float], t: float) -> None:
    drawn = statistics.over_seeds(np.tile(seeds, (40_000, 1)), [range(len(seeds)), [0]])
    half = t * np.std(seeds, ddof=1) / np.sqrt(len(seeds))
    assert statistics.percentiles(drawn[:, 0]) == pytest.approx((np.mean(seeds) - half, np.mean(seeds) + half), rel=0.03)
    assert (drawn[:, 1] == seeds[0]).all()


def test_equal_methods_of_few_seeds_are_not_told_apart() -> None:
    generator = np.random.default_rng(0)
    claims = []
    for _ in range(300):
        scores = np.tile(0.85 + 0.008 * generator.standard_normal(6), (1000, 1))
        one, other = statistics.over_seeds(scores, [range(3), range(3, 6)]).T
        claims.append(statistics.two_sided(one - other) < 0.05)
    assert np.mean(claims) <= 0.05


def simulated(generator: np.random.Generator, rows: int, seeds: int, spread: float) -> np.ndarray:
    """Hits ``(rows, seeds)`` of a method: rows differ in difficulty, seeds by ``spread``, and both together."""
    difficulty = generator.normal(1.5, 1.2, (rows, 1)) + generator.normal(0, spread, (1, seeds))
    return generator.random((rows, seeds)) < 1 / (1 + np.exp(-difficulty))


def test_intervals_hold_the_truth_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "DRAWS", 600)
    generator, seeds, times = np.random.default_rng(3), 4, 150
    truth = simulated(generator, 4000, 400, 0.3).mean()
    held, held_without_seeds, false_claims = 0, 0, 0
    for _ in range(times):
        hits = np.hstack([simulated(generator, 250, seeds, 0.3) for _ in range(2)])
        drawn = statistics.accuracy_draws(hits, everything(hits))
        one, other = statistics.over_seeds(drawn, [range(seeds), range(seeds, 2 * seeds)]).T
        low, high = statistics.percentiles(one)
        held += low <= truth <= high
        low, high = statistics.percentiles(drawn[:, :seeds].mean(axis=1) - drawn[:, seeds:].mean(axis=1))
        held_without_seeds += low <= 0 <= high
        false_claims += statistics.two_sided(one - other) < 0.05
    assert held / times >= 0.92, "with four seeds t holds it a little more often than 95 times in 100"
    assert false_claims / times <= 0.07
    assert 1 - held_without_seeds / times > 0.10, "the data must be such that seeds matter"


def test_groups_of_like_rows_widen_the_interval_as_much_as_they_should(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "DRAWS", 3000)
    generator = np.random.default_rng(8)
    groups = np.repeat(np.arange(60), 10)
    hits = np.repeat(generator.random(60) < 0.8, 10)[:, None]  # rows of a group are all right or all wrong
    by_rows, by_groups = (
        np.subtract(*statistics.percentiles(statistics.accuracy_draws(hits, everything(hits), found)[:, 0])[::-1])
        for found in (None, groups)
    )
    assert by_groups / by_rows == pytest.approx(np.sqrt(10), rel=0.12)  # 60 values stand there, not 600


@pytest.mark.parametrize(
    ("hits", "groups", "worth"),
    [
        ([1, 0] * 50, list(range(100)), 99),  # of one row each: one less, as the mean is known from them
        (([1] * 10 + [0] * 10) * 5, [i // 10 for i in range(100)], 9),  # each all right or all wrong: one less than groups
        ([1, 1, 1, 0] * 25, [i // 4 for i in range(100)], 25),  # all alike: nothing is known, a group counts as a row
        ([1] * 100, [i // 50 for i in range(100)], 2),
        ([1, 0] * 50, [0] * 100, 1),
    ],
)
def test_rows_of_groups_are_worth_as_many_as_their_groups_tell(hits: list[int], groups: list[int], worth: int) -> None:
    assert statistics.effective_rows(np.array(hits), np.array(groups)) == worth


def test_the_order_of_the_rows_changes_nothing() -> None:
    generator = np.random.default_rng(1)
    hits, gold = generator.random((500, 3)) < 0.8, generator.integers(0, 3, 500)
    asked, groups = generator.random((500, 3)) < 0.97, generator.integers(0, 50, 500)
    predicted, order = np.where(hits, gold[:, None], (gold[:, None] + 1) % 3), generator.permutation(500)
    for found in (None, groups):
        moved = None if found is None else found[order]
        ours = statistics.accuracy_draws(hits, asked, found)
        assert np.array_equal(ours, statistics.accuracy_draws(hits[order], asked[order], moved))
        ours = statistics.f1_draws(gold, predicted, asked, 3, found)
        assert np.array_equal(ours, statistics.f1_draws(gold[order], predicted[order], asked[order], 3, moved))


def test_the_same_rows_are_drawn_for_all_runs() -> None:
    hits = np.random.default_rng(2).random((400, 1)) < 0.7
    drawn = statistics.accuracy_draws(np.hstack([hits, hits]), everything(np.hstack([hits, hits])))
    assert np.array_equal(drawn[:, 0], drawn[:, 1])
    assert statistics.two_sided(drawn[:, 0] - drawn[:, 1]) == 1.0
    assert drawn[:, 0].std() == pytest.approx(np.sqrt(hits.mean() * (1 - hits.mean()) / 400), rel=0.05)


@pytest.mark.parametrize("kinds", [1, 1000], ids=["in blocks", "by patterns"])
@pytest.mark.parametrize("grouping", [0, 40], ids=["rows", "groups"])
def test_a_resample_of_every_row_once_gives_the_scores_themselves(
    kinds: int, grouping: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def once(units: np.ndarray, times: np.ndarray | None, draws: int) -> np.ndarray:
        return np.tile((units * (1 if times is None else times[:, None])).sum(axis=0), (draws, 1)).astype(float)

    monkeypatch.setattr(statistics, "_resampled", once)
    monkeypatch.setattr(statistics, "MOST_KINDS", kinds)
    generator = np.random.default_rng(5)
    gold = generator.integers(0, 4, 300)
    predicted = np.where(generator.random((300, 2)) < 0.6, gold[:, None], generator.integers(-1, 4, (300, 2)))
    asked = generator.random((300, 2)) < 0.9
    confidence = np.where(predicted >= 0, generator.uniform(0.25, 1, (300, 2)), np.nan)
    groups = np.arange(300) % grouping if grouping else None
    names = [f"l{i}" for i in range(4)]
    f1 = statistics.f1_draws(gold, predicted, asked, 4, groups)[0]
    errors, moved = (drawn[0] for drawn in statistics.calibration_draws(confidence, predicted == gold[:, None], groups))
    accuracies = statistics.accuracy_draws(predicted == gold[:, None], asked, groups)[0]
    assert moved == pytest.approx([0, 0], abs=1e-5)
    for run in range(2):
        answered = asked[:, run] & (predicted[:, run] >= 0)
        lost = np.bincount(gold[asked[:, run] & (predicted[:, run] < 0)], minlength=4)
        scores = classification_scores(confusion_matrix(gold[answered], predicted[answered, run], 4), names, None, lost)
        assert f1[run] == pytest.approx(scores["f1_macro"]["value"], rel=1e-6)
        assert accuracies[run] == pytest.approx(scores["accuracy"]["value"], rel=1e-6)
        assert errors[run] == pytest.approx(calibration_error(confidence[:, run], predicted[:, run] == gold), rel=1e-4)


def test_the_calibration_error_is_the_one_worked_by_hand() -> None:
    # (13/15, 14/15] holds 0.9 four times, with 3 right; (8/15, 9/15] holds 0.6 and 0.55, both right; (6/15, 7/15] holds 7/15
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.6, 0.55, 7 / 15])
    correct = np.array([True, True, True, False, True, True, False])
    assert [(point["low"], point["n"]) for point in reliability(confidence, correct)] == [(6 / 15, 1), (8 / 15, 2), (13 / 15, 4)]
    by_hand = 4 / 7 * (0.9 - 0.75) + 2 / 7 * (1 - 0.575) + 1 / 7 * (7 / 15 - 0)
    assert calibration_error(confidence, correct) == pytest.approx(by_hand)
    assert calibration_error(np.array([0.0, 1.0]), np.array([False, True])) == 0.0


def test_brier_is_the_one_worked_by_hand() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.0, 0.0, 1.0], [np.nan] * 3])
    assert brier(probabilities, np.array([0, 0, 1])) == pytest.approx((0.3**2 + 0.2**2 + 0.1**2 + 1 + 1) / 2)
    assert brier(np.full((5, 4), 0.25), np.zeros(5, dtype=int)) == pytest.approx(1 - 1 / 4)


def test_without_probabilities_there_is_no_calibration_and_not_a_perfect_one() -> None:
    unknown, hits = np.full(4, np.nan), np.array([True, True, False, True])
    assert calibration_error(unknown, hits) is None
    assert brier(np.full((4, 2), np.nan), np.zeros(4, dtype=int)) is None
    assert reliability(unknown, hits) == []
    some = np.array([0.8, np.nan, 0.8, np.nan])
    assert calibration_error(some, hits) == pytest.approx(0.3)


@pytest.mark.parametrize("off", [0.0, 0.03, 0.15], ids=["calibrated", "a little too sure", "too sure"])
def test_the_interval_of_a_calibration_error_holds_the_truth(off: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "SCORE_DRAWS", 300)
    generator, held, errors, highs, times = np.random.default_rng(4), 0, [], [], 100
    for _ in range(times):
        confidence = generator.uniform(0.5, 1, (400, 1))
        hits = generator.random((400, 1)) < confidence - off
        errors.append(value := calibration_error(confidence[:, 0], hits[:, 0]) or 0.0)
        drawn, moved = (found[:, 0] for found in statistics.calibration_draws(confidence, hits))
        low, high = statistics.calibration_interval(value, drawn, moved)
        assert low <= value < high, "by chance alone a figure also comes out below the truth"
        held += low <= off <= high
        highs.append(high)
    assert np.mean(highs) < np.mean(errors) + 0.045, "the bias is not added once more"
    assert np.mean(errors) > off, "the estimate itself is biased upwards"
    assert held / times >= 0.93


def test_many_rows_and_runs_take_seconds() -> None:
    generator, begun = np.random.default_rng(6), time.process_time()
    gold, hits = generator.integers(0, 2, 25_000), generator.random((25_000, 10)) < 0.9
    statistics.over_seeds(statistics.accuracy_draws(hits, everything(hits)), [range(5), range(5, 10)])
    statistics.f1_draws(gold, np.where(hits, gold[:, None], 1 - gold[:, None]), everything(hits), 2, None)
    statistics.calibration_draws(generator.uniform(0.5, 1, hits.shape), hits)
    assert time.process_time() - begun < 12
