"""A calibration changes how sure a model says it is, never what it answers, and promises nothing that the rows do not prove."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shelf import finished_run, tunebench
from tiny import World, make_rows, write_csv, write_recipe

from tunebench import jobs
from tunebench.data.labels import LabelMap
from tunebench.errors import InputError
from tunebench.predict.calibrated import Calibration
from tunebench.predict.calibration import (
    COLDEST,
    HOTTEST,
    MOST_POINTS,
    calibrate,
    coverage_curve,
    fit_temperature,
    negative_log_likelihood,
    proven_accuracy,
    rows_needed,
    tempered,
    threshold_for,
)
from tunebench.predict.predictions import predict_items
from tunebench.predict.scorers import Scores
from tunebench.recipe.load import dump_recipe
from tunebench.recipe.prompt import Prompt
from tunebench.runs.run import Run


def drawn(temperature: float, number: int = 20_000, labels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are right about their probabilities once they are divided by ``temperature``, and true ids."""
    draw = np.random.default_rng(3)
    logits = 2 * draw.normal(size=(number, labels))
    gold = (tempered(logits, 1).cumsum(axis=1) < draw.random((number, 1))).sum(axis=1)
    return (logits * temperature).astype(np.float32), np.minimum(gold, labels - 1)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 1.7, 6.0])
def test_the_temperature_of_drawn_labels_is_found_and_no_other_is_better(temperature: float) -> None:
    logits, gold = drawn(temperature)
    found = fit_temperature(logits, gold)
    assert found is not None
    assert found == pytest.approx(temperature, rel=0.03)
    best = negative_log_likelihood(logits, gold, found)
    others = [negative_log_likelihood(logits, gold, found * factor) for factor in (0.8, 0.99, 1.01, 1.2, 1 / found)]
    assert best < min(others) + 1e-12
    assert calibration_error_of(logits, gold, found) < 0.02


def calibration_error_of(logits: np.ndarray, gold: np.ndarray, temperature: float) -> float:
    from tunebench.metrics import calibration_error

    found = calibration_error(tempered(logits, temperature).max(axis=1), logits.argmax(axis=1) == gold)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("logits", "gold"), [([[3.0, 0.0], [0.0, 1.0]], [0, 1]), ([[3.0, 0.0], [0.0, 1.0]], [1, 0]), ([[0.0, 0.0]], [1])]
)
def test_rows_that_are_all_right_or_all_wrong_leave_probabilities_as_they_are(logits: list[Any], gold: list[int]) -> None:
    values, ids = np.array(logits, np.float32), np.array(gold)
    assert fit_temperature(values, ids) is None
    found = calibrate(values, ids, 0.9)
    assert (found["temperature"], found["determined"]) == (1.0, False)
    assert found["before"] == found["after"]


class Fixed:
    """A scorer that knows its logits."""

    def __init__(self, logits: np.ndarray) -> None:
        self.logits = logits

    def score(self, items: Any, /) -> Scores:
        return Scores(self.logits[: len(items)], [False] * len(items))


def test_no_label_changes_even_between_neighbouring_floats() -> None:
    low = np.float32(1.0)
    near = np.array([[low, np.nextafter(low, np.float32(2))], [5.0, -5.0], [0.1, 0.2]], np.float32)
    labels = LabelMap(("a", "b"))
    for temperature in (COLDEST, 0.7, 3.0, HOTTEST):
        scorer = Calibration(temperature, None).scorer(Fixed(near))
        found = predict_items(scorer, labels, ["x", "y", "z"])
        assert found.predicted == ["b", "a", "b"]
        assert found.probabilities[:, 1] == pytest.approx(tempered(near, temperature)[:, 1], abs=1e-15)


@pytest.mark.parametrize(("hits", "n"), [(59, 59), (117, 117), (950, 1000), (1, 10)])
def test_a_proven_accuracy_is_the_one_that_gives_so_many_hits_with_the_error_only(hits: int, n: int) -> None:
    for error in (0.05, 0.0025):
        p = proven_accuracy(hits, n, error)
        so_many = sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(hits, n + 1))
        assert so_many == pytest.approx(error, rel=1e-6)
    assert proven_accuracy(0, n) == 0


def test_the_promise_of_the_threshold_holds_far_more_often_than_nineteen_times_in_twenty() -> None:
    """The accuracy above a threshold, known here, falls short of the target in fewer than 5 % of draws that choose one."""
    draw, short, chosen = np.random.default_rng(8), 0, 0
    for _ in range(120):
        confidence = draw.uniform(0.5, 1.0, 400)
        found, _ = threshold_for(confidence, draw.random(400) < confidence, 0.85)
        if found is not None:
            chosen += 1
            short += (1 + found["value"]) / 2 < 0.85  # the mean of uniform confidences above it is their accuracy
    assert chosen > 60
    assert short / chosen < 0.05


def test_the_threshold_is_the_one_that_answers_most_among_those_proven() -> None:
    confidence = np.linspace(1.0, 0.5, 1000)
    correct = np.arange(1000) < 700  # the surest 700 are right, no other is
    found, best = threshold_for(confidence, correct, 0.95)
    assert found is not None
    assert found["n"] == 700  # 750 rows would have 0.933
    assert found["accuracy_low"] == pytest.approx(proven_accuracy(700, 700))
    assert (confidence >= found["value"]).sum() == 700
    assert best["accuracy_low"] == found["accuracy_low"]
    everything, _ = threshold_for(confidence, np.ones(1000, bool), 0.95)
    assert everything == {"value": 0.0, "n": 1000, "coverage": 1.0, "accuracy": 1.0, "accuracy_low": proven_accuracy(1000, 1000)}


def test_too_few_rows_prove_nothing_and_equal_confidences_stand_or_fall_together() -> None:
    needed = rows_needed(0.95)
    for number, proven in ((needed - 1, False), (needed, True)):
        found, _ = threshold_for(np.full(number, 0.9), np.ones(number, bool), 0.95)
        assert (found is not None) is proven
    constant = threshold_for(np.full(1000, 0.6), np.arange(1000) < 600, 0.55)[0]
    assert constant is not None
    assert (constant["value"], constant["n"]) == (0.0, 1000)


@pytest.mark.parametrize("number", [1, 7, 101, 5000])
def test_the_coverage_curve_counts_what_is_answered_from_each_threshold_on(number: int) -> None:
    draw = np.random.default_rng(number)
    confidence, correct = np.round(draw.random(number), 3), draw.random(number) < 0.8
    curve = coverage_curve(confidence, correct)
    assert len(curve) <= MOST_POINTS
    assert curve[-1]["coverage"] == 1
    assert curve[0]["threshold"] == confidence.max()
    for point in curve:
        answered = confidence >= point["threshold"]
        assert (point["n"], point["accuracy"]) == (answered.sum(), pytest.approx(correct[answered].mean()))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A finished tfidf run of its own, on labels of which every seventh is wrong; no torch is involved."""
    rows = make_rows(400)
    for row in rows[::7]:
        row["label"] = "positive" if row["label"] == "negative" else "negative"
    recipe = write_recipe(tmp_path / "sure.yaml", data=write_csv(tmp_path / "in.csv", rows), method={"kind": "tfidf"})
    return jobs.train(str(recipe), [], tmp_path / "runs", lambda event: None).run


def test_predictions_are_tempered_marked_and_otherwise_the_same(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = tunebench(capsys, "calibrate", run.path, "--target-accuracy", "0.55", "--json")
    found = json.loads(out)
    assert (code, found["rows"]) == (0, 64)
    assert found["after"]["nll"] <= found["before"]["nll"]
    entry = json.loads((run.path / "calibration.json").read_text("utf-8"))["backends"]["torch"]
    assert entry == {key: found[key] for key in entry if key != "weights"} | {"weights": run.manifest["end_weights"]}
    source = tmp_path / "ask.csv"
    source.write_text("id,text,abstain\n1,good great funny,x\n2,,y\n3,the plot of a story,z\n4,dull,w\n", encoding="utf-8")
    entry["threshold"]["value"] = 0.75  # so that the third row is too unsure
    entry["temperature"] = 2.5
    run.write_json("calibration.json", {"format": 1, "backends": {"torch": entry}})
    for name, more in (("plain", []), ("calibrated", ["--calibrated"])):
        assert tunebench(capsys, "predict", run.path, source, "--output", tmp_path / f"{name}.csv", *more)[0] == 0
    plain, tempered_rows = (
        list(csv.DictReader((tmp_path / f"{name}.csv").read_text("utf-8").splitlines())) for name in ("plain", "calibrated")
    )
    assert list(tempered_rows[0])[:5] == ["id", "text", "input_abstain", "predicted", "probability_negative"]
    assert [row["input_abstain"] for row in tempered_rows] == ["x", "y", "z", "w"]
    assert [row["predicted"] for row in tempered_rows] == [row["predicted"] for row in plain]
    for before, after in zip(plain, tempered_rows, strict=True):
        if before["predicted"]:
            odds = [np.log(float(row["probability_positive"]) / float(row["probability_negative"])) for row in (before, after)]
            assert odds[0] / 2.5 == pytest.approx(odds[1], rel=1e-9)
    sure = [max(float(row[f"probability_{name}"] or 0) for name in ("negative", "positive")) for row in tempered_rows]
    assert [row["abstain"] for row in tempered_rows] == [
        "" if not row["predicted"] else str(top < 0.75).lower() for row, top in zip(tempered_rows, sure, strict=True)
    ]
    assert {row["abstain"] for row in tempered_rows} == {"", "true", "false"}
    (one,) = json.loads(tunebench(capsys, "predict", run.path, "--text", "the plot of a story", "--calibrated", "--json")[1])
    assert (one["abstain"], one["probabilities"]["positive"]) == (True, float(tempered_rows[2]["probability_positive"]))
    assert "too unsure" in tunebench(capsys, "predict", run.path, "--text", "the plot of a story", "--calibrated")[1]


def test_small_validation_splits_say_so(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = tunebench(capsys, "calibrate", run.path)
    assert code == 0
    assert "64 validation rows are too few for a threshold: accuracy 0.95 takes 117 even if all are right" in out
    assert "abstaining below" not in out
    source = write_csv(run.path.parent / "ask.csv", [{"text": "good"}])
    said = tunebench(capsys, "predict", run.path, source, "--output", run.path.parent / "out.csv", "--calibrated")[1]
    assert "abstain" not in (run.path.parent / "out.csv").read_text("utf-8")  # there is nothing to go by
    assert "knows no threshold to abstain below" in said
    assert "0 too unsure" not in said


def test_a_calibration_of_other_weights_another_backend_or_none_is_refused_with_the_command(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ("predict", run.path, "--text", "good", "--calibrated")
    code, _, told = tunebench(capsys, *ask)
    assert (code, f"has no calibration of torch; make it with: tunebench calibrate {run.path}" in told) == (2, True)
    jobs.calibrate(str(run.path), run.path.parent, 0.9)
    assert tunebench(capsys, *ask)[0] == 0
    code, _, told = tunebench(capsys, *ask, "--backend", "onnx-int8")
    assert code == 2
    assert "has no calibration of onnx-int8 (there is one of torch" in told
    assert f"tunebench calibrate {run.path} --backend onnx-int8" in told
    known = json.loads((run.path / "calibration.json").read_text("utf-8"))
    known["backends"]["torch"]["weights"] = "0" * 64
    run.write_json("calibration.json", known)
    code, _, told = tunebench(capsys, *ask)
    assert (code, "belongs to other weights than it has now; make it with: tunebench calibrate" in told) == (2, True)
    for content in ("{", "[]", '{"backends": {"torch": 3}}', '{"backends": {"torch": {"weights": "x"}}}'):
        run.write_text("calibration.json", content.replace('"x"', json.dumps(run.manifest["end_weights"])))
        code, _, told = tunebench(capsys, *ask)
        assert (code, "make it with: tunebench calibrate" in told) == (2, True)


def test_a_calibration_reads_no_test_row(world: World, tmp_path: Path) -> None:
    test = write_csv(tmp_path / "test.csv", make_rows(20, seed=9))
    recipe = write_recipe(tmp_path / "sealed.yaml", data=world.data, method={"kind": "tfidf"}, name="sealed")
    text = recipe.read_text("utf-8").replace("test:\n    fraction: 0.2\n    stratify: true", f"test: {test}")
    recipe.write_text(text, encoding="utf-8")
    run = jobs.train(str(recipe), [], tmp_path / "runs", lambda event: None).run
    test.unlink()
    events = list(run.events())
    assert jobs.calibrate(str(run.path), tmp_path, 0.5)["rows"] == 12
    assert list(run.events()) == events  # no look is counted, as there was none
    with pytest.raises(InputError, match=r"test\.csv"):
        jobs.evaluate(str(run.path), tmp_path)


@pytest.mark.parametrize("target", [0, 1, -1, 95])
def test_a_target_is_a_share(run: Run, capsys: pytest.CaptureFixture[str], target: float) -> None:
    code, _, told = tunebench(capsys, "calibrate", run.path, "--target-accuracy", target)
    assert (code, "expected a share between 0 and 1" in told) == (2, True)


def test_without_validation_rows_labels_or_the_rows_of_the_run_there_is_nothing_to_calibrate(
    run: Run, world: World, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path / "bare.yaml", data=world.data, validation=None)
    text = recipe.read_text("utf-8").replace("validation:\n    fraction: 0.2\n    stratify: true\n  ", "")
    recipe.write_text(text.replace("validation: null\n", ""), encoding="utf-8")
    bare = jobs.train(str(recipe), [], tmp_path / "runs", lambda event: None).run
    with pytest.raises(InputError, match=r"has no validation rows.*data\.validation"):
        jobs.calibrate(str(bare.path), tmp_path)
    with (tmp_path / "in.csv").open("a", encoding="utf-8") as file:
        file.write("new,good,positive\n" * 5)
    with pytest.raises(InputError, match=r"stands 5 times|rows have changed since the run"):
        jobs.calibrate(str(run.path), tmp_path)


def test_runs_without_labels_or_probabilities_are_refused(tmp_path: Path) -> None:
    prompt = Prompt(template="{text}\nIs it good?", decode="generate")
    run = finished_run(tmp_path, "writes")
    written = run.recipe.model_copy(update={"task": "prompt-classification", "prompt": prompt})
    run.write_text("recipe.yaml", dump_recipe(written))
    with pytest.raises(InputError, match=r"writes its answers.*prompt\.decode: score"):
        jobs.calibrate("writes", tmp_path)
    teaches = finished_run(tmp_path, "teaches")
    teaches.write_json("manifest.json", teaches.manifest | {"labels": LabelMap(()).as_dict()})
    with pytest.raises(InputError, match="has no labels to predict"):
        jobs.calibrate("teaches", tmp_path)


def test_answers_alone_have_nothing_to_calibrate(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_csv(tmp_path / "ask.csv", [{"text": "good"}])
    options = ("--output", tmp_path / "out.csv", "--answers-only", "--calibrated")
    code, _, told = tunebench(capsys, "predict", run.path, source, *options)
    assert (code, "--calibrated changes no answer" in told) == (2, True)
    assert not (tmp_path / "out.csv").exists()


def test_a_majority_run_has_logits_too(baseline_run: Callable[[str], Run], tmp_path: Path) -> None:
    copy = shutil.copytree(baseline_run("majority").path, tmp_path / "majority")
    found = jobs.calibrate(str(copy), tmp_path, 0.9)
    assert (found["threshold"], len(found["curve"])) == (None, 1)
    assert found["after"]["nll"] == pytest.approx(np.log(2), abs=1e-6)
