"""Scores against figures computed by hand, published intervals and scikit-learn."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tunebench.metrics import classification_scores, confusion_matrix, selection_scores, wilson

GOLD = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
PREDICTED = [0, 0, 0, 1, 1, 1, 1, 1, 0, 0]


def scores(gold: list[int], predicted: list[int], labels: list[str], positive: str | None = None) -> dict[str, Any]:
    return classification_scores(confusion_matrix(gold, predicted, len(labels)), labels, positive)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3: Wilson's score without continuity correction
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_an_interval_is_the_published_one(hits: int, n: int, low: float, high: float) -> None:
    found = wilson(hits, n)
    assert (found.value, found.n) == (hits / n, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_a_proportion_of_nothing_is_known_to_be_unknown() -> None:
    assert wilson(0, 0).as_dict() == {"value": 0.0, "low": 0.0, "high": 1.0, "n": 0}


def test_two_labels_give_the_figures_computed_by_hand() -> None:
    found = scores(GOLD, PREDICTED, ["bad", "good"], "good")
    assert found["confusion"] == {"labels": ["bad", "good"], "rows_gold_columns_predicted": [[3, 1], [2, 4]]}
    assert found["accuracy"]["value"] == 7 / 10
    assert (found["precision"]["value"], found["recall"]["value"]) == (4 / 5, 4 / 6)
    assert found["f1"]["value"] == pytest.approx(8 / 11)
    assert found["f1_macro"]["value"] == pytest.approx((8 / 11 + 6 / 9) / 2)
    assert (found["precision"]["n"], found["recall"]["n"], found["n"]) == (5, 6, 10)


def test_the_other_positive_label_gives_its_own_figures() -> None:
    found = scores(GOLD, PREDICTED, ["bad", "good"], "bad")
    assert (found["precision"]["value"], found["recall"]["value"], found["positive_label"]) == (3 / 5, 3 / 4, "bad")


@pytest.mark.parametrize("num_labels", [2, 3, 7])
def test_the_figures_are_those_of_scikit_learn(num_labels: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(num_labels)
    gold = generator.integers(0, num_labels, 300)
    predicted = np.where(generator.random(300) < 0.6, gold, generator.integers(0, num_labels, 300))
    found = scores(gold.tolist(), predicted.tolist(), [f"l{i}" for i in range(num_labels)])
    precision, recall, f1, support = metrics.precision_recall_fscore_support(gold, predicted)
    for i, label in enumerate(found["per_label"].values()):
        assert [label[key]["value"] for key in ("precision", "recall", "f1")] == pytest.approx([precision[i], recall[i], f1[i]])
        assert label["support"] == support[i]
    macro = metrics.precision_recall_fscore_support(gold, predicted, average="macro")
    assert [found[key]["value"] for key in ("precision", "recall", "f1")] == pytest.approx(macro[:3])
    assert found["accuracy"]["value"] == metrics.accuracy_score(gold, predicted)
    assert found["confusion"]["rows_gold_columns_predicted"] == metrics.confusion_matrix(gold, predicted).tolist()


def test_a_label_without_rows_scores_zero_and_counts_in_the_average() -> None:
    found = scores([0, 0, 1], [0, 0, 1], ["a", "b", "never"])
    assert found["per_label"]["never"]["f1"]["value"] == 0.0
    assert found["per_label"]["never"]["recall"] == {"value": 0.0, "low": 0.0, "high": 1.0, "n": 0}
    assert found["f1_macro"]["value"] == pytest.approx(2 / 3)


def test_no_rows_at_all_give_zeros_and_no_crash() -> None:
    found = scores([], [], ["a", "b"], "b")
    assert (found["n"], found["accuracy"]["value"], found["f1"]["value"]) == (0, 0.0, 0.0)


def test_the_same_counts_always_give_the_same_intervals() -> None:
    assert scores(GOLD, PREDICTED, ["a", "b"]) == scores(GOLD[::-1], PREDICTED[::-1], ["a", "b"])


@pytest.mark.parametrize(
    "matrix",
    [
        np.array([[27, 9], [18, 36]]),
        np.array([[5, 0], [0, 5]]),
        np.array([[0, 5], [5, 0]]),
        np.array([[700, 0], [588, 0]]),
        np.array([[0, 0], [0, 3]]),
        np.diag([1, 1, 0, 400]),
        np.ones((7, 7), dtype=np.int64),
        np.zeros((2, 2), dtype=np.int64),
    ],
)
def test_every_interval_holds_its_figure(matrix: np.ndarray) -> None:
    labels = [f"l{i}" for i in range(len(matrix))]
    found = classification_scores(matrix, labels, labels[-1] if len(labels) == 2 else None)
    figures = [found[key] for key in ("accuracy", "precision", "recall", "f1", "f1_macro")]
    figures += [label[key] for label in found["per_label"].values() for key in ("precision", "recall", "f1")]
    assert all(0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1 for figure in figures)


def test_ten_of_ten_right_do_not_prove_a_perfect_classifier() -> None:
    found = scores([0, 1] * 5, [0, 1] * 5, ["a", "b"], "b")
    assert found["accuracy"]["low"] == pytest.approx(0.722, abs=1e-3)
    for key in ("f1", "f1_macro"):
        assert 0.65 < found[key]["low"] < 0.85
        assert (found[key]["value"], found[key]["high"]) == (1.0, 1.0)


@pytest.mark.parametrize("hits", [1, 5, 50, 1000])
def test_the_interval_of_a_perfect_f1_is_the_one_computed_by_formula(hits: int) -> None:
    beta = pytest.importorskip("scipy.stats").beta
    # Goutte and Gaussier 2005, section 3: F1 = 2(1 - q) / (2 - q), where q ~ Beta(false, true) of the posterior
    q = float(beta.ppf(0.975, 0.5, hits + 0.25))
    found = classification_scores(np.diag([hits, hits]), ["a", "b"], "b")["f1"]
    assert found["low"] == pytest.approx(2 * (1 - q) / (2 - q), rel=0.03)


def test_many_rows_give_the_interval_of_the_plain_bootstrap() -> None:
    matrix = np.array([[505, 135], [161, 487]])
    n = int(matrix.sum())
    drawn = np.random.default_rng(7).multinomial(n, matrix.reshape(-1) / n, size=100_000)
    each = [2 * hits / (2 * hits + drawn[:, 1] + drawn[:, 2]) for hits in (drawn[:, 0], drawn[:, 3])]
    found = classification_scores(matrix, ["a", "b"], "b")
    for key, samples in (("f1", each[1]), ("f1_macro", (each[0] + each[1]) / 2)):
        assert [found[key]["low"], found[key]["high"]] == pytest.approx(np.quantile(samples, [0.025, 0.975]), abs=0.003)


def test_a_label_that_never_occurs_leaves_its_f1_open() -> None:
    never = scores([0, 0, 1], [0, 0, 1], ["a", "b", "never"])["per_label"]["never"]["f1"]
    assert never["low"] == 0.0
    assert never["high"] > 0.9


def test_more_rows_narrow_the_interval() -> None:
    few, many = (scores(GOLD * times, PREDICTED * times, ["a", "b"], "b") for times in (3, 60))
    for key in ("accuracy", "f1", "f1_macro"):
        assert many[key]["high"] - many[key]["low"] < 0.4 * (few[key]["high"] - few[key]["low"])


def test_the_interval_of_f1_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    truth = np.array([[0.35, 0.15], [0.1, 0.4]])
    f1 = 2 * 0.4 / (2 * 0.4 + 0.15 + 0.1)
    matrices = generator.multinomial(200, truth.reshape(-1), size=100).reshape(-1, 2, 2)
    intervals = [classification_scores(matrix, ["a", "b"], "b")["f1"] for matrix in matrices]
    assert 88 <= sum(item["low"] <= f1 <= item["high"] for item in intervals) <= 100


def test_scores_are_plain_json() -> None:
    assert json.loads(json.dumps(scores(GOLD, PREDICTED, ["a", "b"], "a")))["n"] == 10


@pytest.mark.parametrize(("positive", "f1"), [(1, 8 / 11), (0, 6 / 9), (None, (8 / 11 + 6 / 9) / 2)])
def test_a_checkpoint_is_chosen_by_the_figures_that_are_reported(positive: int | None, f1: float) -> None:
    found = selection_scores(GOLD, PREDICTED, 2, positive)
    assert found == pytest.approx({"accuracy": 0.7, "f1": f1, "f1_macro": (8 / 11 + 6 / 9) / 2})
