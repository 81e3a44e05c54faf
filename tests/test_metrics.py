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


def test_every_interval_holds_its_figure() -> None:
    found = scores(GOLD * 9, PREDICTED * 9, ["a", "b"], "b")
    figures = [found[key] for key in ("accuracy", "precision", "recall", "f1", "f1_macro")]
    assert all(0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1 for figure in figures)


def test_more_rows_narrow_the_interval() -> None:
    few, many = (scores(GOLD * times, PREDICTED * times, ["a", "b"], "b") for times in (3, 60))
    for key in ("accuracy", "f1", "f1_macro"):
        assert many[key]["high"] - many[key]["low"] < 0.4 * (few[key]["high"] - few[key]["low"])


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
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
