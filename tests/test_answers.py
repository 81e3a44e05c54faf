"""Answers: every row has one or says why not, written answers that name no label are wrong, and graders get ``ID,Answer``."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from quiz import make_questions, write_quiz
from shelf import tunebench
from tiny import make_rows, write_csv

from tunebench import jobs
from tunebench.data.labels import LabelMap
from tunebench.data.rows import Rows
from tunebench.errors import InputError
from tunebench.events import Event, Warned
from tunebench.metrics import classification_scores, confusion_matrix, wilson
from tunebench.predict.answers import write_answers
from tunebench.predict.predictions import Predictions, answer, predict_items, score_answers
from tunebench.predict.scorers import Scores
from tunebench.runs.run import Run

LABELS = LabelMap(("no", "yes"), "yes")


@dataclass
class Scripted:
    """A scorer that says what it was told to: logits of a text, a label's id that it wrote, or why it cannot."""

    said: dict[str, Any]
    on_invalid: int | None = None

    def score(self, items: Sequence[Any], /) -> Scores:
        said = [self.said[item] for item in items]
        errors = [value if isinstance(value, str) and value.startswith("!") else None for value in said]
        if not any(isinstance(value, str) and not value.startswith("!") for value in self.said.values()):
            logits = [[np.nan, np.nan] if error else value for value, error in zip(said, errors, strict=True)]
            return Scores(np.array(logits, np.float32).reshape(len(items), 2), [False] * len(items), errors)
        found = [LABELS.names.index(value) if value in LABELS.names else None for value in said]
        invalid = [place is None and error is None for place, error in zip(found, errors, strict=True)]
        filled = [self.on_invalid if lost else place for place, lost in zip(found, invalid, strict=True)]
        nothing = np.zeros((len(items), 0), np.float32)
        return Scores(nothing, [False] * len(items), errors, filled, [str(value) for value in said], invalid)


WRITTEN = {"a": "yes", "b": "no", "c": "maybe", "d": "!too long"}


def test_a_row_that_cannot_be_scored_says_why_and_the_others_are_as_before() -> None:
    scorer = Scripted({"a": [0.0, 1.0], "b": "!the prompt does not fit", "c": [2.0, 0.0]})
    found = predict_items(scorer, LABELS, ["a", None, "b", "c"], [None, "the text is empty", None, None])
    assert found.predicted == ["yes", None, None, "no"]
    assert found.errors == [None, "the text is empty", "!the prompt does not fit", None]
    columns = found.columns()
    assert [value is None for value in columns["probability_yes"]] == [False, True, True, False]
    assert found.probabilities_of(1) == {} == found.probabilities_of(2)
    assert abs(found.probabilities_of(0)["yes"] - 1 / (1 + np.exp(-1))) < 1e-12
    scores = score_answers(found, ["yes", "no", "no", "yes"])
    assert (scores["n"], scores["unscored"], scores["invalid"], scores["accuracy"]["value"]) == (2, 2, 0, 0.5)


def test_written_answers_have_no_probabilities_and_those_that_name_no_label_say_so() -> None:
    found = predict_items(Scripted(WRITTEN), LABELS, list("abcd"))
    assert found.predicted == ["yes", "no", None, None]
    assert found.errors == [None, None, "the generated text 'maybe' names no label", "!too long"]
    assert found.invalid == [False, False, True, False]
    assert found.columns()["probability_no"] == [None] * 4
    assert found.probabilities_of(0) == {}


def test_no_rows_are_no_answers() -> None:
    for scorer in (Scripted(WRITTEN), Scripted({"a": [0.0, 1.0]})):
        found = predict_items(scorer, LABELS, [None], ["the text is empty"])
        assert (found.predicted, found.errors, found.columns()["probability_no"]) == ([None], ["the text is empty"], [None])


def test_an_invalid_answer_is_wrong_in_every_score_and_stands_in_no_cell_of_the_confusion_matrix() -> None:
    texts, gold = list("aabbcccd"), ["yes", "no", "no", "no", "yes", "yes", "no", "yes"]
    scores = score_answers(predict_items(Scripted(WRITTEN), LABELS, texts), gold)
    assert (scores["n"], scores["invalid"], scores["unscored"]) == (7, 3, 1)
    assert scores["accuracy"] == wilson(3, 7).as_dict()
    assert scores["confusion"]["rows_gold_columns_predicted"] == [[2, 1], [0, 1]]
    yes, no = scores["per_label"]["yes"], scores["per_label"]["no"]
    assert (yes["support"], yes["recall"]["value"], yes["precision"]["value"]) == (3, 1 / 3, 1 / 2)
    assert (no["support"], no["recall"]["value"], no["precision"]["value"]) == (4, 2 / 4, 1.0)
    assert abs(yes["f1"]["value"] - 2 * 1 / (2 + 3)) < 1e-12
    assert abs(scores["f1_macro"]["value"] - (2 / 5 + 4 / 6) / 2) < 1e-12
    for figure in ("accuracy", "precision", "recall", "f1", "f1_macro"):
        assert scores[figure]["low"] <= scores[figure]["value"] <= scores[figure]["high"]
        assert scores[figure]["n"] in (2, 3, 7)


def test_macro_averages_count_invalid_answers_too() -> None:
    labels, matrix = ("1", "2", "3"), np.array([[3, 0, 0], [1, 1, 0], [0, 0, 2]])
    scores = classification_scores(matrix, labels, None, np.array([0, 2, 0]))
    assert abs(scores["recall"]["value"] - (1 + 1 / 4 + 1) / 3) < 1e-12
    assert abs(scores["precision"]["value"] - (3 / 4 + 1 + 1) / 3) < 1e-12
    assert classification_scores(matrix, labels, None, np.zeros(3, int)) == classification_scores(matrix, labels, None)


def test_a_label_put_in_place_of_an_invalid_answer_counts_as_one_and_is_counted() -> None:
    found = predict_items(Scripted(WRITTEN, on_invalid=1), LABELS, list("abc"))
    assert (found.predicted, found.errors) == (["yes", "no", "yes"], [None] * 3)
    scores = score_answers(found, ["yes", "no", "yes"])
    assert (scores["n"], scores["accuracy"]["value"], scores["invalid"], scores["unscored"]) == (3, 1.0, 1, 0)


def test_the_scores_of_answers_that_are_all_valid_are_those_of_their_confusion_matrix() -> None:
    gold = ["no", "yes", "yes"]
    found = answer(LABELS, Scores(np.array([[1, 0], [0, 1], [1, 0]], np.float32), [False, True, False]))
    expected = classification_scores(confusion_matrix([0, 1, 1], [0, 1, 0], 2), LABELS.names, "yes")
    assert score_answers(found, gold) == expected | {"truncated": 1, "unscored": 0, "invalid": 0}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_answers_stand_in_the_order_of_the_rows_and_a_row_without_one_has_an_empty_cell(tmp_path: Path) -> None:
    columns = {"key": ["é", "=1", "x"], "predicted": ["old", "old", "old"]}
    rows = Rows(["é", "=1", "x"], list("abc"), [""] * 3, columns, dict.fromkeys(columns, pa.string()))
    counts = write_answers(tmp_path, rows, predict_items(Scripted(WRITTEN), LABELS, rows.texts))
    assert (tmp_path / "answers.csv").read_text("utf-8") == "ID,Answer\né,yes\n=1,no\nx,\n"
    assert counts == {"rows": 3, "unanswered": 1, "invalid": 1, "truncated": 0, "digest": rows.digest()}
    whole = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    assert list(whole[0]) == ["key", "input_predicted", "predicted", "probability_no", "probability_yes", "truncated", "error"]
    assert [row["error"] for row in whole] == [None, None, "the generated text 'maybe' names no label"]


@pytest.fixture(scope="module")
def quiz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions to learn from and to answer, and a recipe that does both."""
    folder = tmp_path_factory.mktemp("quiz")
    write_csv(folder / "train.csv", make_questions(40))
    asked = [{key: value for key, value in row.items() if key != "right"} for row in make_questions(12, seed=9)]
    write_csv(
        folder / "ask.csv", [{"ID": f"x{i}"} | {key: row[key] for key in row if key != "id"} for i, row in enumerate(asked)]
    )
    return write_quiz(folder, data={"predict": {"file": "ask.csv", "id": "ID"}, "test": {"fraction": 0.25}})


def train(recipe: Path, *overrides: str) -> tuple[Run, list[Event]]:
    told: list[Event] = []
    return jobs.train(str(recipe), list(overrides), recipe.parent / "runs", told.append).run, told


def test_a_run_answers_its_predict_split_and_predicting_the_file_gives_the_same_answers(
    quiz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = train(quiz)
    answers = table(run.path / "answers.csv")
    assert [row["ID"] for row in answers] == [f"x{i}" for i in range(12)]
    assert [row["Answer"] for row in answers] == [row["right"] for row in make_questions(12, seed=9)]
    assert run.manifest["data"]["predict"]["rows"] == 12
    assert run.metrics["answers"]["unanswered"] == 0
    assert [row["predicted"] for row in pq.read_table(run.path / "answers.parquet").to_pylist()] == [
        row["Answer"] for row in answers
    ]
    arguments = (
        "predict",
        str(run.path),
        str(quiz.parent / "ask.csv"),
        "--output",
        str(tmp_path / "again.csv"),
        "--answers-only",
    )
    code, out, err = tunebench(capsys, *arguments)
    assert (code, "12 rows, 0 with an error" in out) == (0, True), err
    assert (tmp_path / "again.csv").read_bytes() == (run.path / "answers.csv").read_bytes()


def test_rows_to_answer_change_no_result_and_a_finished_run_says_how_to_answer_others(quiz: Path) -> None:
    run, _ = train(quiz)
    before = {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
    assert [event for event in train(quiz)[1] if isinstance(event, Warned)] == []
    ask = quiz.parent / "ask.csv"
    kept = ask.read_text("utf-8")
    ask.write_text("".join(kept.splitlines(keepends=True)[:5]), "utf-8")
    again, told = train(quiz)
    (remark,) = [event.message for event in told if isinstance(event, Warned)]
    ask.write_text(kept, "utf-8")
    assert f"tunebench predict {run.path} {ask} --output answers.csv --answers-only" in remark
    assert {path.name: path.read_bytes() for path in again.path.iterdir() if path.is_file()} == before


def test_a_run_is_scored_again_without_the_rows_that_it_answered(quiz: Path) -> None:
    run, _ = train(quiz)
    (quiz.parent / "ask.csv").rename(quiz.parent / "gone.csv")
    try:
        assert jobs.evaluate(str(run.path), quiz.parent)["accuracy"] == run.metrics["test"]["accuracy"]
    finally:
        (quiz.parent / "gone.csv").rename(quiz.parent / "ask.csv")


def test_rows_to_answer_that_are_unsound_are_refused_before_anything_is_trained(quiz: Path) -> None:
    rows = table(quiz.parent / "ask.csv")
    write_csv(quiz.parent / "broken.csv", [rows[0] | {"a": rows[0]["b"]}, *rows[1:]])
    with pytest.raises(InputError, match="row 1: 'b' is the same option as 'a'"):
        train(quiz, "data.predict.file=broken.csv", "name=broken")
    assert not (quiz.parent / "runs" / "broken").exists()


def test_texts_are_answered_too_and_rows_without_ids_by_their_number(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", make_rows(60))
    write_csv(tmp_path / "p.csv", [{"text": row["text"]} for row in make_rows(5)])
    recipe = tmp_path / "texts.yaml"
    recipe.write_text("{name: texts, data: {train: t.csv, predict: p.csv}, method: {kind: tfidf}}", "utf-8")
    run, _ = train(recipe)
    answers = table(run.path / "answers.csv")
    assert [row["ID"] for row in answers] == list(map(str, range(1, 6)))
    assert [row["Answer"] for row in answers] == [row["label"] for row in make_rows(5)]
    assert run.metrics["test"] is None


def test_answers_only_belong_to_a_file(quiz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = tunebench(capsys, "predict", "any", "--text", "x", "--answers-only")
    assert (code, "belong to FILE" in err) == (2, True)


def test_every_pattern_of_answers_keeps_rows_in_rows_out() -> None:
    for texts in itertools.product("abcd", repeat=3):
        found: Predictions = predict_items(Scripted(WRITTEN), LABELS, list(texts))
        assert [name is None for name in found.predicted] == [error is not None for error in found.errors]
        scores = score_answers(found, ["yes"] * 3)
        assert scores["n"] + scores["unscored"] == 3
