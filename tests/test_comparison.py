"""What a comparison claims: figures out of the answers that runs kept, tested on the same rows, refused on others."""

from __future__ import annotations

import json
import math
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from answered import LABELS, alone, answered_run, group

from tunebench.compare import statistics
from tunebench.compare.analysis import CURVE_POINTS, learning_curve, read_answers, read_rows
from tunebench.compare.comparison import Failure, Group, assemble
from tunebench.compare.statements import Evidence, statements, told_p
from tunebench.compare_text import comparison_text
from tunebench.errors import InputError, TunebenchError
from tunebench.events import Step
from tunebench.metrics import wilson
from tunebench.runs.run import Run

GOLD = [0, 1] * 200


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "DRAWS", 2000)
    monkeypatch.setattr(statistics, "SCORE_DRAWS", 200)


def test_the_comparison_is_json_and_has_its_shape(tmp_path: Path) -> None:
    found = assemble(
        [*alone(answered_run(tmp_path, "one"), answered_run(tmp_path, "two", wrong=20)), group("bad", Failure("bad", 1, "x"))]
    )
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert [(row["run"], row["error"]) for row in found["rows"]] == [("one", None), ("two", None), ("bad", "x")]
    assert {tuple(row) for row in found["rows"]} == {tuple(found["rows"][0])}, "failed rows have the same keys"
    assert found["test"] | {"digest": ""} == {
        "rows": 100,
        "digest": "",
        "labels": list(LABELS),
        "positive": "positive",
        "display": {},
        "groups": None,
        "groups_total": None,
    }
    row, failed = found["rows"][0], found["rows"][2]
    assert row["confusion"] == [[45, 5], [5, 45]]
    assert (row["family"], row["missed"], row["steps"], row["train_examples"]) == ("encoder", None, 40, 320)
    assert row["cells"] == [
        {
            "run": "one",
            "path": str(tmp_path / "one"),
            "seed": 42,
            "accuracy": 0.9,
            "f1_macro": 0.9,
            "ece": pytest.approx(0.05),
            "looks": 1,
            "error": None,
        }
    ]
    assert row["provenance"]["recipe"] == (tmp_path / "one" / "recipe.yaml").read_text()
    assert failed["cells"][0] == {"run": "bad", "seed": 1, "error": "x"} | dict.fromkeys(
        ("path", "accuracy", "f1_macro", "ece", "looks")
    )


def test_a_single_run_keeps_the_intervals_of_its_own_scores(tmp_path: Path) -> None:
    run = answered_run(tmp_path, wrong=13)
    (row,) = assemble(alone(run))["rows"]
    test = run.metrics["test"]
    assert (row["accuracy"], row["accuracy_low"], row["accuracy_high"]) == (
        wilson(87, 100).value,
        wilson(87, 100).low,
        wilson(87, 100).high,
    )
    assert (row["f1_macro_low"], row["f1_macro_high"]) == (test["f1_macro"]["low"], test["f1_macro"]["high"])
    assert row["intervals"] == "95 %, over rows"


def test_single_runs_are_compared_by_mcnemar(tmp_path: Path) -> None:
    found = assemble(alone(answered_run(tmp_path, "good", wrong=range(2)), answered_run(tmp_path, "poor", wrong=range(1, 20))))
    (statement,) = found["statements"]
    assert statement | {"low": 0, "high": 0, "text": ""} == {
        "better": "good",
        "worse": "poor",
        "difference": 0.17,
        "low": 0,
        "high": 0,
        "p": statistics.mcnemar(18, 1),
        "test": "McNemar exact",
        "n": 100,
        "p_holm": statistics.mcnemar(18, 1),
        "distinguishable": True,
        "text": "",
    }
    assert (statement["low"], statement["high"]) == statistics.paired_interval(18, 1, 100)
    assert statement["text"] == "good beats poor by 17.0 points [8.5, 24.9], p < 0.001"
    assert "needs no adjusting" in found["statement_notes"][0]


def test_the_better_one_of_a_pair_stands_first_with_its_interval_turned(tmp_path: Path) -> None:
    runs = [answered_run(tmp_path, "good", wrong=range(2)), answered_run(tmp_path, "poor", wrong=range(1, 20))]
    rows = read_rows(runs[0])
    evidence = Evidence(rows, {run.name: [read_answers(run, rows.gold)] for run in runs})
    assert statements(evidence, [("poor", "good")], {}) == statements(evidence, [("good", "poor")], {})


def test_what_cannot_be_told_apart_is_said_so_with_its_n(tmp_path: Path) -> None:
    (statement,) = assemble(alone(answered_run(tmp_path, "a", wrong=9), answered_run(tmp_path, "b", wrong=range(5, 15))))[
        "statements"
    ]
    assert statement["text"] == "a and b are not distinguishable with n = 100 (1.0 points [-5.9, 7.9], p = 1.00)"
    assert not statement["distinguishable"]


def test_all_stand_against_the_best_and_against_tfidf_and_holm_counts_exactly_these(tmp_path: Path) -> None:
    runs = [
        answered_run(tmp_path, name, wrong=range(i, i + wrong))
        for i, (name, wrong) in enumerate((("a", 5), ("b", 12), ("d", 30)))
    ]
    runs.append(answered_run(tmp_path, "c", wrong=20, method={"kind": "tfidf"}, base=None))
    found = assemble(alone(*runs))
    claims = [(item["better"], item["worse"]) for item in found["statements"]]
    assert claims == [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("c", "d")]
    assert [item["p_holm"] for item in found["statements"]] == statistics.holm([item["p"] for item in found["statements"]])
    assert "the 5 statements" in found["statement_notes"][0]
    assert "the winner's curse" in found["statement_notes"][2]


def seeds_of(tmp_path: Path, name: str, wrong: list[int], **more: Any) -> Group:
    """A method of several seeds that get so many rows wrong, partly the same ones."""
    return group(
        name, *(answered_run(tmp_path, f"{name}-s{i}", wrong=range(i, i + n), seed=i, **more) for i, n in enumerate(wrong))
    )


def test_several_seeds_are_compared_by_a_bootstrap_over_seeds_and_rows(tmp_path: Path) -> None:
    groups = [seeds_of(tmp_path, "good", [10, 11, 12]), seeds_of(tmp_path, "poor", [28, 30, 32])]
    found = assemble(groups)
    row, (statement,) = found["rows"][0], found["statements"]
    assert (row["accuracy"], row["seeds"], row["intervals"]) == (pytest.approx(0.89), 3, "95 %, over seeds and rows")
    assert row["accuracy_low"] < 0.86 < 0.92 < row["accuracy_high"]
    assert (statement["test"], statement["distinguishable"], statement["difference"]) == (
        "paired bootstrap",
        True,
        pytest.approx(0.19),
    )
    assert statement["low"] < 0.15 < 0.23 < statement["high"]
    assert (
        row["confusion"]
        == np.sum([run.metrics["test"]["confusion"]["rows_gold_columns_predicted"] for run in groups[0].runs], axis=0).tolist()
    )
    assert [cell["seed"] for cell in row["cells"]] == [0, 1, 2]
    assert "curse" not in " ".join(found["statement_notes"]), "of two methods none is picked out"
    assert "by Student's t" in found["statement_notes"][2]


def test_what_seeds_do_not_tell_is_said_of_methods_that_have_seeds(tmp_path: Path) -> None:
    baseline = {"method": {"kind": "tfidf"}, "base": None}
    tfidf, single = answered_run(tmp_path, "tfidf", wrong=40, **baseline), answered_run(tmp_path, "single", wrong=30)
    told = " ".join(assemble([seeds_of(tmp_path, "three", [10, 11, 12]), *alone(tfidf, single)])["statement_notes"])
    assert "Of one seed only: single;" in told
    assert "Of few seeds: three (3). " in told
    many = assemble([seeds_of(tmp_path, "five", [10, 11, 12, 13, 14]), *alone(tfidf)])["statement_notes"]
    assert not any("few seeds" in note or "one seed" in note for note in many)
    runs = [tfidf, answered_run(tmp_path, "other", wrong=50, **baseline)]
    assert "--seeds" not in " ".join(assemble(alone(*runs))["statement_notes"])
    assert "--seeds" in " ".join(assemble(alone(tfidf, single))["statement_notes"])


def test_seeds_that_differ_widen_the_interval(tmp_path: Path) -> None:
    like, unlike = seeds_of(tmp_path, "like", [20, 20, 20]), seeds_of(tmp_path, "unlike", [2, 20, 38])
    width = {row["run"]: row["accuracy_high"] - row["accuracy_low"] for row in assemble([like, unlike])["rows"]}
    assert width["unlike"] > 1.5 * width["like"]


def test_a_seed_that_failed_is_not_in_the_figures_and_stands_beside_them(tmp_path: Path) -> None:
    cells = seeds_of(tmp_path, "some", [10, 12]).runs
    row = assemble([group("some", cells[0], Failure("some-s9", 9, "killed"), cells[1])])["rows"][0]
    assert (row["error"], row["seeds"], row["accuracy"]) == (None, 2, pytest.approx(0.89))
    assert [(cell["run"], cell["error"]) for cell in row["cells"]] == [
        ("some-s0", None),
        ("some-s9", "killed"),
        ("some-s1", None),
    ]


def test_runs_without_an_error_have_the_interval_of_one_run_and_not_none(tmp_path: Path) -> None:
    (row,) = assemble([seeds_of(tmp_path, "right", [0, 0])])["rows"]
    assert (row["accuracy_low"], row["accuracy_high"]) == (wilson(100, 100).low, 1.0)
    assert row["f1_macro_low"] < 1


def movies(**split: Any) -> dict[str, Any]:
    """Ten films of ten reviews each, by which the recipe cuts its splits."""
    data = {"train": "/data/train.csv", "validation": {"fraction": 0.1, "group_by": "film"}, "test": "/data/test.csv"}
    return {"data": data | split, "columns": {"film": [f"f{i // 10}" for i in range(100)]}}


def test_rows_of_one_group_are_drawn_together_and_not_taken_as_independent(tmp_path: Path) -> None:
    runs = [
        answered_run(tmp_path, "a", wrong=range(10), **movies(test={"fraction": 0.2, "group_by": "film"})),
        answered_run(tmp_path, "b", wrong=range(20, 50), **movies()),
    ]
    found = assemble(alone(answered_run(tmp_path, "none", wrong=60), *runs))
    statement = found["statements"][0]
    assert (found["test"]["groups"], found["test"]["groups_total"], statement["test"]) == ("film", 10, "paired bootstrap")
    assert statistics.mcnemar(30, 10) < 0.01 < statement["p"], "three films against one is not thirty reviews against ten"
    row = found["rows"][0]
    assert row["accuracy_high"] - row["accuracy_low"] > 2 * (wilson(90, 100).high - wilson(90, 100).low)
    assert row["intervals"] == "95 %, over whole groups of 'film'"
    assert "10 groups; so few make all of this rough" in found["statement_notes"][4]


def test_a_single_group_or_a_column_that_is_not_there_leaves_rows_alone(tmp_path: Path) -> None:
    one = answered_run(tmp_path, "one", **movies() | {"columns": {"film": ["f"] * 100}})
    none = answered_run(tmp_path, "none", **movies() | {"columns": {}})
    assert assemble(alone(one, none))["test"]["groups"] is None


def test_written_answers_have_no_calibration_and_those_without_a_label_are_wrong(tmp_path: Path) -> None:
    run = answered_run(tmp_path, "g", wrong=10, sure=np.nan, invalid=(50, 52, 53), unasked=(60,))
    found = assemble(alone(run, answered_run(tmp_path, "other", wrong=12)))
    row = next(row for row in found["rows"] if row["run"] == "g")
    assert (row["ece"], row["ece_low"], row["brier"], row["reliability"]) == (None, None, None, [])
    assert (row["missed"], row["invalid"], row["unscored"]) == ([2, 1], 3, 1)
    assert row["accuracy"] == pytest.approx(86 / 99) == run.metrics["test"]["accuracy"]["value"]
    (statement,) = found["statements"]
    assert (statement["n"], statement["difference"]) == (99, pytest.approx(1 / 99)), (
        "13 against 12 wrong, of the 99 that both were asked"
    )
    assert statement["p"] == statistics.mcnemar(3, 2)
    answers = found["browser"]["all_wrong"][0]["answers"]["g"]
    assert answers[1] is None


def test_rows_may_be_called_as_the_predictions_are(tmp_path: Path) -> None:
    names = [LABELS[place] for place in GOLD[:100]]
    data = {"train": "/t.csv", "validation": {"fraction": 0.1}, "test": "/e.csv", "text": "error", "label": "predicted"}
    columns = {
        "predicted": names,
        "error": [f"words {i}" for i in range(100)],
        "input_predicted": ["odd"] * 100,
        "a.b": [1] * 100,
    }
    run = answered_run(tmp_path, wrong=7, data=data, columns=columns)
    found = assemble(alone(run))
    assert found["rows"][0]["accuracy"] == pytest.approx(0.93)
    assert found["browser"]["confident"][0]["text"] == "words 0"


@pytest.mark.parametrize(
    "values", [GOLD[:100], [float(i) for i in GOLD[:100]], [bool(i) for i in GOLD[:100]]], ids=["int", "float", "bool"]
)
def test_labels_are_names_whatever_their_column_holds(values: list[Any], tmp_path: Path) -> None:
    labels = ("false", "true") if isinstance(values[0], bool) else ("0", "1")
    run = answered_run(tmp_path, wrong=7, labels=labels, columns={"label": values})
    assert read_rows(run).gold.tolist() == GOLD[:100]


def test_answers_that_are_not_the_scored_ones_are_refused(tmp_path: Path) -> None:
    run, other = answered_run(tmp_path, "a", wrong=10), answered_run(tmp_path, "b", wrong=11)
    (run.path / "predictions.parquet").write_bytes((other.path / "predictions.parquet").read_bytes())
    with pytest.raises(InputError, match="holds other answers than the ones that were scored"):
        assemble(alone(run))
    (run.path / "predictions.parquet").write_bytes(b"nothing")
    with pytest.raises(InputError, match="not readable"):
        assemble(alone(run))


def other_rows(tmp_path: Path) -> list[Group]:
    longer = answered_run(tmp_path, "c", gold=GOLD, test="2" * 64)
    return alone(answered_run(tmp_path, "a"), answered_run(tmp_path, "b", test="1" * 64), longer)


def other_labels(tmp_path: Path) -> list[Group]:
    return alone(answered_run(tmp_path, "a"), answered_run(tmp_path, "b", labels=("bad", "good")))


def no_scores(tmp_path: Path) -> list[Group]:
    runs = [answered_run(tmp_path, name) for name in "abc"]
    (runs[1].path / "metrics.json").unlink()
    (runs[1].path / "events.jsonl").unlink()
    runs[2].write_json("metrics.json", runs[2].metrics | {"test": None})
    return alone(*runs)


def no_predictions(tmp_path: Path) -> list[Group]:
    runs = [answered_run(tmp_path, name) for name in "ab"]
    for run in runs:
        (run.path / "predictions.parquet").unlink()
    return alone(*runs)


def texts(tmp_path: Path) -> list[Group]:
    run = answered_run(tmp_path, "a")
    recipe = (run.path / "recipe.yaml").read_text()
    run.write_text("recipe.yaml", recipe.replace("text-classification", "language-modeling").replace("accuracy", "loss"))
    return alone(run, answered_run(tmp_path, "b"))


REFUSED = {
    other_rows: [
        "b: other test rows than a (100 others; 111111111111 against 000000000000); only like can be compared",
        "c: other test rows than a (400 against 100; 222222222222 against 000000000000); only like can be compared",
    ],
    other_labels: ["b: other labels than a (['bad', 'good'] against ['negative', 'positive']); only like can be compared"],
    no_scores: [
        "b: has no test scores; it is interrupted, finish it with `tunebench train`",
        "c: has no test scores; its recipe has no test split",
    ],
    no_predictions: [
        f"{name}: has no predictions.parquet, and only answers to the same rows can be compared; restore it, or train again"
        for name in "ab"
    ],
    texts: ["a: its task is language-modeling, which has no accuracy; its perplexities stand in "],
}


@pytest.mark.parametrize("made", REFUSED, ids=lambda made: made.__name__)
def test_what_cannot_be_compared_is_refused_with_all_that_differs(made: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        assemble(made(tmp_path))
    assert [fault.split(str(tmp_path))[0] for fault in caught.value.faults] == REFUSED[made]


def test_two_rows_of_one_name_are_refused_and_so_is_a_comparison_of_failures_only(tmp_path: Path) -> None:
    run = answered_run(tmp_path)
    with pytest.raises(InputError, match="several rows are named 'a'"):
        assemble([*alone(run), *alone(run)])
    with pytest.raises(TunebenchError, match="no run is there to be compared\n  - x: killed\n  - y: no room"):
        assemble([group("x", Failure("x", 1, "killed")), group("y", Failure("y", None, "no room"))])


def test_the_browser_shows_what_all_get_wrong_where_they_differ_and_the_surest_mistakes(tmp_path: Path) -> None:
    sure = np.linspace(0.6, 0.99, 100)
    runs = [
        answered_run(tmp_path, "a", wrong=range(60), sure=sure),
        answered_run(tmp_path, "b", wrong=range(5, 70), sure=sure[::-1].copy()),
        answered_run(tmp_path, "m", wrong=range(1, 100, 2), method={"kind": "majority"}, base=None),
    ]
    browser = assemble(alone(*runs))["browser"]
    assert browser["methods"] == ["a", "b"], "majority reads no text"
    assert (browser["all_wrong_total"], browser["disagree_total"], browser["confident_total"]) == (55, 15, 70)
    assert [len(browser[name]) for name in ("all_wrong", "disagree", "confident")] == [50, 15, 50]
    assert sorted(item["row"] for item in browser["disagree"]) == sorted(map(str, [*range(1, 6), *range(61, 71)]))
    first = browser["confident"][0]
    assert (first["run"], first["row"], first["confidence"]) == ("b", "6", pytest.approx(sure[::-1][5]))
    assert first["answers"]["b"] == [LABELS[0], pytest.approx(sure[::-1][5])]
    assert (first["gold"], first["text"], first["cut"]) == (LABELS[1], "text 5 xxxxx", False)


def test_a_row_is_wrong_for_all_only_where_every_seed_is_and_the_surest_stand_first(tmp_path: Path) -> None:
    sure = np.linspace(0.6, 0.99, 100)
    cells = [answered_run(tmp_path, f"a-s{i}", wrong=range(10 * i, 20), sure=sure, seed=i) for i in range(2)]
    browser = assemble([group("a", *cells), *alone(answered_run(tmp_path, "b", wrong=30, sure=sure))])["browser"]
    assert [item["row"] for item in browser["all_wrong"]] == [str(row) for row in range(20, 10, -1)]
    assert [item["row"] for item in browser["disagree"]] == [str(row) for row in range(30, 20, -1)]


def test_long_texts_are_cut_in_the_browser_and_questions_stand_there_whole(tmp_path: Path) -> None:
    texts = ["影" * 501, "影" * 500, *["x"] * 98]
    browser = assemble(alone(answered_run(tmp_path, wrong=2, columns={"text": texts})))["browser"]
    assert {(item["text"], item["cut"]) for item in browser["confident"]} == {("影" * 500, True), ("影" * 500, False)}


def test_accuracy_by_length_counts_every_row_once_in_ascending_bins(tmp_path: Path) -> None:
    texts = ["影" * (1 + i % 50) for i in range(100)]
    (row,) = assemble(alone(answered_run(tmp_path, wrong=range(0, 100, 50), columns={"text": texts})))["rows"]
    bins = row["by_length"]
    assert (len(bins), sum(item["n"] for item in bins), bins[0]["low"], bins[-1]["high"]) == (6, 100, 1, 50)
    assert all(item["low"] <= item["high"] < after["low"] for item, after in pairwise(bins))
    found = wilson(bins[0]["n"] - 2, bins[0]["n"])
    assert (bins[0]["accuracy"], bins[0]["accuracy_low"], bins[1]["accuracy"]) == (found.value, found.low, 1.0)


def test_rows_of_groups_that_agree_make_accuracy_by_length_less_sure(tmp_path: Path) -> None:
    films = movies()
    films["columns"]["text"] = ["x" * (1 + i % 10) for i in range(100)]
    (single,) = assemble(alone(answered_run(tmp_path, "a", wrong=20, columns=films["columns"])))["rows"]
    (grouped,) = assemble(alone(answered_run(tmp_path, "b", wrong=20, **films)))["rows"]
    for apart, together in zip(single["by_length"], grouped["by_length"], strict=True):
        assert (together["n"], together["accuracy"]) == (apart["n"], apart["accuracy"]) == (apart["n"], 0.8)
        assert together["accuracy_low"] < apart["accuracy_low"]
        found = wilson(0.8 * 9, 9)  # ten films, each all right or all wrong, less the one that the mean takes
        assert (together["accuracy_low"], together["accuracy_high"]) == pytest.approx((found.low, found.high))


def test_a_run_that_diverged_at_its_end_was_trained_on_all_its_examples(tmp_path: Path) -> None:
    run = answered_run(tmp_path)
    run.cut_events(0)
    for step, loss in ((1, 0.5), (2, math.nan)):
        run.record(Step(step, step / 2, loss, 1e-4, 1.0, 8, 800, 820, float(step)))
    (row,) = assemble(alone(run))["rows"]
    assert (row["steps"], row["train_examples"], len(row["curve"][0]["train"])) == (2, 16, 1)


def test_a_learning_curve_is_thinned_to_means_and_keeps_its_end(tmp_path: Path) -> None:
    run = answered_run(tmp_path)
    assert len(learning_curve(run)["train"]) == 40
    assert learning_curve(run)["validation"][0] == [20, 320, 30.0, {"accuracy": 0.75, "loss": 0.6}]
    run.cut_events(0)
    for step in range(1, 1202):
        run.record(Step(step, step / 1201, float(step), 1e-4, 1.0, 8, 800, 820, 0.5 * step))
    points = learning_curve(run)["train"]
    assert len(points) <= CURVE_POINTS
    assert points[0] == [4, 32, 2.0, 2.5]
    assert points[-1] == [1201, 9608, 600.5, 1201.0]


def test_speed_is_that_of_the_present_weights(tmp_path: Path) -> None:
    run = answered_run(tmp_path)
    run.write_json("manifest.json", run.manifest | {"end_weights": "now"})
    bench = {"format": 1, "forms": {"torch": {"rows_per_second": 5.0, "p50_ms": 1.0}}}
    for weights, known in (("now", bench["forms"]), ("before", {})):
        run.write_json("bench.json", bench | {"weights": weights})
        assert assemble(alone(run))["rows"][0]["forms"] == known


TIMED = {"hardware": {"cpu": "a"}, "threads": 2, "batch_size": 32, "rows": 500, "texts": "x"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, None),
        ({"rows": 100, "texts": "the first of x"}, None),
        ({"texts": "y"}, "other texts than"),
        ({"hardware": {"cpu": "b"}}, "another machine than"),
        ({"threads": 1, "batch_size": 8}, "another number of threads and another batch size than"),
    ],
)
def test_speeds_that_were_not_taken_alike_are_said_to_be_so(change: dict[str, Any], told: str | None, tmp_path: Path) -> None:
    runs = [answered_run(tmp_path, name) for name in ("a", "b")]
    for run, changes in zip(runs, ({}, change), strict=True):
        run.write_json("manifest.json", run.manifest | {"end_weights": "now"})
        run.write_json("bench.json", TIMED | changes | {"weights": "now", "forms": {"torch": {"rows_per_second": 5.0}}})
    found = assemble(alone(*runs))
    assert ("".join(found["timing_notes"]) or "none").startswith(f"b: {told}" if told else "none")
    assert (told or "rows/s") in " ".join(comparison_text(found).split())


@pytest.mark.parametrize("passed", [True, False])
def test_an_export_brings_its_own_scores_and_proof(passed: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a case
    run = answered_run(tmp_path)
    run.write_json("manifest.json", run.manifest | {"end_weights": "now"})
    scores = {who: {"accuracy": {"value": value}} for who, value in (("export", 0.897), ("torch", 0.9))}
    told = {
        "weights": "now",
        "passed": passed,
        "scores": scores,
        "split": "validation",
        "rows": 500,
        "label_flips": 3,
        "why": None,
    }
    run.write_json(f"export/onnx{'' if passed else '-failed'}/export.json", told | {"proof": {"passed": True, "rows": 64}})
    run.write_json("export/openvino/export.json", told | {"weights": "before"})
    run.write_json("bench.json", {"weights": "now", "forms": {"onnx": {"p50_ms": 2.0}, "torch": {"p50_ms": 9.0}}})
    found = assemble(alone(run))
    proof = {"passed": passed, "rows": 64, "why": None}
    told_of = {"split": "validation", "split_rows": 500, "label_flips": 3}
    own = {"p50_ms": 2.0, "accuracy": 0.897, "reference_accuracy": 0.9, **told_of, "proof": proof}
    assert found["rows"][0]["forms"] == {"onnx": own, "torch": {"p50_ms": 9.0}}
    assert (found["choice"]["take"], found["choice"]["backend"]) == ("a", "onnx" if passed else "torch")


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (0.0, "p < 0.001"),
        (0.0009, "p < 0.001"),
        (0.0041, "p = 0.004"),
        (0.0496, "p = 0.049600"),
        (0.0501, "p = 0.050"),
        (0.41, "p = 0.41"),
    ],
)
def test_a_p_value_is_never_rounded_across_the_level(p: float, words: str) -> None:
    assert told_p(p) == words


def large(tmp_path: Path, name: str, seed: int) -> Run:
    generator, n = np.random.default_rng(seed), 100_000
    gold = np.arange(n) % 2
    columns = {"text": ["some words " * 6] * n}
    wrong = np.flatnonzero(generator.random(n) < 0.1).tolist()
    return answered_run(tmp_path, name, gold=gold.tolist(), wrong=wrong, sure=generator.uniform(0.5, 1, n), columns=columns)


def test_a_hundred_thousand_rows_take_seconds_and_little_memory(tmp_path: Path) -> None:
    groups = [group(name, large(tmp_path, f"{name}1", i), large(tmp_path, f"{name}2", i + 9)) for i, name in enumerate("ab")]
    begun, held = time.process_time(), pa.total_allocated_bytes()
    found = assemble(groups)
    assert time.process_time() - begun < 20
    assert pa.total_allocated_bytes() - held < 50_000_000
    assert len(json.dumps(found)) < 400_000
    rows = read_rows(groups[0].runs[0])
    assert read_answers(groups[0].runs[0], rows.gold).confidence.shape == (100_000,)
