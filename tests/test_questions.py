"""Multiple choice out of tables: named columns become questions, an answer is an option's number, and faults are told at once."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from quiz import COLUMNS, OPTIONS, make_questions, write_quiz
from shelf import tunebench
from tiny import write_csv

from tunebench import jobs
from tunebench.data.dataset import Dataset, bind
from tunebench.data.items import Question
from tunebench.data.reading import reading_of
from tunebench.data.tables import join_answers, read_like, read_rows
from tunebench.errors import InputError
from tunebench.recipe.load import validate
from tunebench.recipe.sources import Data
from tunebench.runs.run import Run

TAIGI = Path(__file__).parents[2] / "shared/data/taigi"
ROWS = make_questions(20)
MAPPED = {
    "train": {"file": "a.csv", "passage": "文章", "question": "問題", "choices": ["選項1", "選項2"], "answer": "正確答案"},
    "predict": {"file": "b.csv", "passage": "前文", "question": "題幹", "choices": ["選項1", "選項2"], "id": "ID"},
}


def settings(path: Path | str, **changes: Any) -> Data:
    return Data.model_validate({"train": str(path), "id": "id"} | COLUMNS | changes)


def bound(path: Path, **changes: Any) -> Dataset:
    return bind(settings(path, **changes), 3, Path, task="multiple-choice")


def faults_of(act: Callable[[], object]) -> list[str]:
    with pytest.raises(InputError) as raised:
        act()
    return raised.value.faults


def mapped(folder: Path) -> Data:
    """Two files that call the same things otherwise, in the shapes of the Taigi data."""
    row = {"文章": "雨落袂停", "問題": "天氣按怎？", "選項1": "落雨", "選項2": "出日", "正確答案": 1}
    write_csv(folder / "a.csv", [row, row | {"文章": "日頭足大", "正確答案": 2}])
    write_csv(folder / "b.csv", [{"ID": 7, "前文": "透風", "題幹": "有風無？", "選項1": "有", "選項2": "無"}])
    splits = {name: split | {"file": str(folder / str(split["file"]))} for name, split in MAPPED.items()}
    return Data.model_validate(splits)


def test_questions_come_out_of_the_columns_that_every_split_names(tmp_path: Path) -> None:
    data = bind(mapped(tmp_path), 1, Path, task="multiple-choice")
    assert data.train.texts[0] == Question("雨落袂停", "天氣按怎？", ("落雨", "出日"))
    assert (data.train.labels, data.train.ids) == (["1", "2"], ["1", "2"])
    assert data.predict is not None
    assert (data.predict.texts, data.predict.ids) == ([Question("透風", "有風無？", ("有", "無"))], ["7"])
    assert (data.predict.labels, list(data.predict.columns)) == ([""], ["ID", "前文", "題幹", "選項1", "選項2"])
    assert set(data.splits()) == {"train"}


def test_there_is_a_label_for_every_option_whichever_is_ever_right(tmp_path: Path) -> None:
    rows = [row | {"right": "2"} for row in ROWS]
    data = bound(write_csv(tmp_path / "t.csv", rows), label_names={"1": {"en": "first"}})
    assert (data.labels.names, data.labels.positive, data.labels.display) == (("1", "2", "3"), None, {"1": {"en": "first"}})
    held = bound(tmp_path / "t.csv", validation=str(write_csv(tmp_path / "v.csv", rows[:5])))
    assert held.remarks() == []  # that 1 is no answer there is no loss, as it is none in training
    assert faults_of(lambda: bound(tmp_path / "t.csv", label_names={"4": "x"}, positive_label="1")) == [
        "data.label_names: '4' is no option's number; these are 1, 2, 3",
        "data.positive_label: options have none; remove it",
    ]


def test_numbers_in_any_format_are_the_same_answers(tmp_path: Path) -> None:
    csv_rows = read_rows(write_csv(tmp_path / "t.csv", ROWS), settings("-"), task="multiple-choice")
    for kind, convert in (("int", int), ("float", float)):
        rows = [row | {"right": convert(row["right"])} for row in ROWS]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{kind}.parquet")
        found = read_rows(tmp_path / f"{kind}.parquet", settings("-"), task="multiple-choice")
        assert (found.labels, found.digest()) == (csv_rows.labels, csv_rows.digest())


BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "an empty option": ({"b": "  "}, ["'b' is empty"]),
    "an option that is missing": ({"c": None}, ["'c' is empty"]),
    "the same option twice": ({"a": "one", "c": " one "}, ["'c' is the same option as 'a' ('one'); options must differ"]),
    "options that are the same once cleaned": (
        {"a": "<b>x</b>", "b": "x"},
        ["'b' is the same option as 'a' ('x'); options must differ"],
    ),
    "an option of markup alone": ({"a": "<br>"}, ["'a' is empty once it is cleaned (data.clean)"]),
    "a list for an option": ({"a": ["x"]}, ["'a' holds a list; expected text"]),
    "no passage": ({"story": ""}, ["'story' is empty"]),
    "no question": ({"asked": ""}, ["'asked' is empty"]),
    "no answer": ({"right": ""}, ["'right' is empty"]),
    "an answer beyond the options": ({"right": 4}, ["'right' holds '4'; expected the number of the right option, 1 to 3"]),
    "answers counted from 0": (
        {"right": 0},
        ["'right' holds '0'; expected the number of the right option, 1 to 3 (counted from 1)"],
    ),
    "an answer that names its column": (
        {"right": "b"},
        ["'right' holds 'b'; expected the number of the right option, 1 to 3 (for this one 2)"],
    ),
    "an answer in words": ({"right": "選項2"}, ["'right' holds '選項2'; expected the number of the right option, 1 to 3"]),
    "half an answer": ({"right": 1.5}, ["'right' holds '1.5'; expected the number of the right option, 1 to 3"]),
    "an answer that is nearly a number": (
        {"right": "２"},
        ["'right' holds '２'; expected the number of the right option, 1 to 3"],
    ),
    "everything at once": (
        {"story": "", "a": "", "b": "x", "c": "x", "right": "x"},
        [
            "'story' is empty",
            "'a' is empty",
            "'c' is the same option as 'b' ('x'); options must differ",
            "'right' holds 'x'; expected the number of the right option, 1 to 3",
        ],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_unsound_questions_are_told_by_row_and_column(case: str, tmp_path: Path) -> None:
    change, expected = BAD[case]
    lines = [json.dumps(row | (change if i == 4 else {})) for i, row in enumerate(ROWS)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines), "utf-8")
    cleaned = {"clean": {"html": "strip"}} if "<" in str(change) else {}
    found = [f"row 5: {fault}; correct or remove the row" for fault in expected]
    assert faults_of(lambda: bound(tmp_path / "t.jsonl", **cleaned)) == found


def test_rows_of_all_files_are_told_at_once_before_anything_is_trained(tmp_path: Path) -> None:
    good = write_csv(tmp_path / "good.csv", ROWS)
    write_csv(tmp_path / "train.csv", [ROWS[0] | {"right": "9"}, ROWS[1]])
    asked = [{key: value for key, value in row.items() if key != "right"} for row in ROWS]
    write_csv(tmp_path / "ask.csv", [asked[0], asked[1] | {"a": ""}])
    faults = faults_of(lambda: bound(tmp_path / "train.csv", test=str(good), predict=str(tmp_path / "ask.csv")))
    assert [fault.split(": ", 1)[1].split(";")[0] for fault in faults] == ["row 1: 'right' holds '9'", "row 2: 'a' is empty"]


def test_columns_that_are_not_there_are_told_by_their_setting(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "t.csv", [{key: value for key, value in row.items() if key not in ("c", "right")} for row in ROWS]
    )
    assert [fault.split(";")[0] for fault in faults_of(lambda: bound(path))] == [
        "no column 'c' (setting data.choices, option 3)",
        "no column 'right' (setting data.answer)",
    ]
    own = {"train": {"file": str(path), "passage": "tale"}}
    assert "no column 'tale' (setting passage of this split)" in faults_of(lambda: bound(path, **own))[0]


@pytest.mark.parametrize(
    ("choices", "fault"),
    [
        (["a"], "data.choices: expected a list of at least 2, found ['a']"),
        ([f"o{i}" for i in range(9)], "data.choices: expected a list of at most 8"),
        (["a", "a"], "data.train: the columns of passage, question, options and answer are all different ones"),
        (["a", "story"], "data.train: the columns of passage, question, options and answer are all different ones"),
        (None, "data.train: which columns hold the options?"),
    ],
)
def test_two_to_eight_columns_of_options_are_a_recipe(choices: list[str] | None, fault: str) -> None:
    data = {"train": "t.csv"} | COLUMNS | {"choices": choices}
    recipe = {"name": "x", "task": "multiple-choice", "data": data, "method": {"kind": "majority"}}
    assert any(fault in found for found in faults_of(lambda: validate(recipe, "x.yaml")))


def test_what_decides_a_result_is_digested_and_nothing_else(tmp_path: Path) -> None:
    base = bound(write_csv(tmp_path / "t.csv", ROWS)).digest()

    def digest(rows: list[dict[str, Any]], **changes: Any) -> str:
        return bound(write_csv(tmp_path / "t.csv", rows), **changes).digest()

    assert digest([row | {"note": "x"} for row in ROWS]) == base
    assert digest(ROWS, predict=str(write_csv(tmp_path / "p.csv", ROWS[:3]))) == base
    turned = [row | {"a": row["b"], "b": row["a"]} for row in ROWS]
    assert len({base, digest(turned), digest([*ROWS[1:], ROWS[0]]), digest([row | {"asked": "is it"} for row in ROWS])}) == 4


def test_splits_are_cut_out_of_questions_and_shared_ones_are_counted(tmp_path: Path) -> None:
    cut = {"test": {"fraction": 0.25, "stratify": True}, "validation": {"fraction": 0.25}}
    data = bound(write_csv(tmp_path / "t.csv", ROWS), **cut)
    assert sorted(key for rows in data.splits().values() for key in rows.ids) == sorted(row["id"] for row in ROWS)
    assert data.shared_texts() == {"validation in train": 0, "test in train": 0, "test in validation": 0}
    other = [row | {"a": row["a"].upper()} if i else row | {"a": "other"} for i, row in enumerate(ROWS[:4])]
    shared = bound(tmp_path / "t.csv", test=str(write_csv(tmp_path / "v.csv", other)))
    assert shared.shared_texts() == {"test in train": 3}


def test_a_file_that_the_recipe_does_not_name_is_read_like_the_split_whose_columns_it_has(tmp_path: Path) -> None:
    data = mapped(tmp_path)
    assert read_like(tmp_path / "a.csv", data, "multiple-choice").labels == ["1", "2"]
    for column in ("Answer", "正確答案"):
        answers = write_csv(tmp_path / "answers.csv", [{"ID": 7, column: 2}])
        rows = join_answers(tmp_path / "b.csv", answers, data.model_copy(update={"id": "ID"}), "multiple-choice")
        assert (rows.texts[0], rows.labels) == (Question("透風", "有風無？", ("有", "無")), ["2"])


@pytest.mark.parametrize(
    ("answers", "faults"),
    [
        (
            {"ID": 7, "Gold": 2},
            ["no column with the answers; expected '正確答案' or 'answer' or 'Answer', columns are ID, Gold; rename it"],
        ),
        ({"Id": 7, "Answer": 2}, ["no column 'ID' (setting --id); columns are Id, Answer"]),
        ({"ID": 8, "Answer": 2}, ["no label for 1 of 1 ids of b.csv: 7"]),
        (
            {"ID": 7, "Answer": "選項2"},
            [
                "row 1: 'Answer' holds '選項2'; expected the number of the right option, 1 to 2 (for this one 2); "
                "correct or remove the row"
            ],
        ),
    ],
)
def test_answers_that_cannot_be_joined_say_why(answers: dict[str, Any], faults: list[str], tmp_path: Path) -> None:
    data, path = mapped(tmp_path).model_copy(update={"id": "ID"}), write_csv(tmp_path / "answers.csv", [answers])
    found = faults_of(lambda: join_answers(tmp_path / "b.csv", path, data, "multiple-choice"))
    assert [fault.removeprefix("has ") for fault in found] == faults


@pytest.fixture(scope="module")
def quiz_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("quiz")
    write_csv(folder / "train.csv", make_questions(60))
    recipe = write_quiz(folder, data={"test": {"fraction": 0.3}})
    return jobs.train(str(recipe), [], folder / "runs", lambda event: None).run


def test_a_file_of_questions_comes_back_whole_and_unsound_rows_carry_their_errors(quiz_run: Run, tmp_path: Path) -> None:
    rows = [ROWS[0] | {"note": "x"}, ROWS[1] | {"b": ROWS[1]["a"], "note": ""}, ROWS[2] | {"story": "", "c": "", "note": "y"}]
    source, output = write_csv(tmp_path / "in.csv", rows), tmp_path / "out.csv"
    result = jobs.predict_file(str(quiz_run.path), quiz_run.path.parent, source, output, None, lambda rows: None)
    with output.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [{key: row[key] for key in rows[0]} for row in found] == rows
    assert [row["predicted"] for row in found] == [ROWS[0]["right"], "", ""]
    assert [row["probability_2"] == "" for row in found] == [False, True, True]
    assert found[1]["error"] == f"'b' is the same option as 'a' ({ROWS[1]['a']!r}); options must differ"
    assert found[2]["error"] == "'story' is empty; 'c' is empty"
    assert (result["rows"], result["errors"]) == (3, 2)


def test_what_no_file_can_hold_is_an_error_of_its_row(quiz_run: Run, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    lines = [json.dumps(ROWS[0]), json.dumps(ROWS[1] | {"asked": "\ud83d"}), "{broken", json.dumps(ROWS[2])]
    source.write_text("\n".join(lines), "utf-8")
    assert [fault.split(":")[0] for fault in faults_of(lambda: bound(source))] == ["row 2", "row 3"]
    jobs.predict_file(str(quiz_run.path), quiz_run.path.parent, source, tmp_path / "out.jsonl", None, lambda rows: None)
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert [row["predicted"] for row in found] == [ROWS[0]["right"], None, None, ROWS[2]["right"]]
    assert "holds half a character" in found[1]["error"]
    assert "is not a line of JSON" in found[2]["error"]


def test_a_run_is_scored_on_its_test_rows_and_on_files_with_answers_apart(quiz_run: Run, tmp_path: Path) -> None:
    metrics = quiz_run.metrics["test"]
    assert jobs.evaluate(quiz_run.name, quiz_run.path.parent)["accuracy"] == metrics["accuracy"]
    write_csv(tmp_path / "q.csv", [{key: value for key, value in row.items() if key != "right"} for row in ROWS])
    write_csv(tmp_path / "a.csv", [{"id": row["id"], "Answer": row["right"]} for row in ROWS[::-1]])
    scores = jobs.evaluate(str(quiz_run.path), tmp_path, str(tmp_path / "q.csv"), str(tmp_path / "a.csv"), "id")
    whole = jobs.evaluate(str(quiz_run.path), tmp_path, str(write_csv(tmp_path / "w.csv", ROWS)))
    assert (scores["n"], scores["confusion"]) == (20, whole["confusion"])


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "a text": (("--text", "a film"), "answers questions with options, which no --text has"),
    "another column": (("in.csv", "--output", "out.csv", "--text-column", "story"), "--text-column: the run answers questions"),
    "a file without options": (("bare.csv", "--output", "out.csv"), "no column 'c' (setting data.choices, option 3 of the run)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_question_is_refused_with_what_to_do(
    case: str, quiz_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "in.csv", ROWS)
    write_csv(tmp_path / "bare.csv", [{key: row[key] for key in ("story", "asked", "a", "b")} for row in ROWS])
    arguments, words = REFUSED[case]
    code, _, err = tunebench(capsys, "predict", str(quiz_run.path), *arguments)
    assert (code, words in err) == (2, True), err


def test_a_run_without_labels_predicts_none(quiz_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    run = Run(Path(shutil.copytree(quiz_run.path, tmp_path / "writer")))
    run.write_json("manifest.json", run.manifest | {"labels": {"names": [], "positive_label": None, "display": {}}})
    code, _, err = tunebench(capsys, "predict", str(run.path), "--text", "x")
    assert (code, "which has no labels to predict; name a run that has some" in err) == (2, True), err


def test_a_proof_finds_the_questions_that_a_run_keeps(quiz_run: Run) -> None:
    from tunebench.fitting import scored_items

    kept = {row["story"] for row in pq.read_table(quiz_run.path / "predictions.parquet").to_pylist()}
    items = scored_items(quiz_run)
    assert {item.passage for item in items if isinstance(item, Question)} == kept


def test_a_reading_says_what_is_wrong_with_every_cell(tmp_path: Path) -> None:
    data = settings("t.csv")
    source = data.source("train")
    assert source is not None
    reading = reading_of(data, source, "multiple-choice")
    assert list(reading.columns.values()) == ["story", "asked", *OPTIONS]
    assert [fault.role for fault in reading.faults(dict.fromkeys(reading.columns.values(), ""))] == [
        "passage",
        "question",
        "option 1",
        "option 2",
        "option 3",
    ]


@pytest.mark.skipif(not TAIGI.is_dir(), reason="the shared data are not here")
def test_the_taigi_files_are_read_as_they_are_and_the_most_frequent_choice_is_a_fifth(tmp_path: Path) -> None:
    choices = ["選項1", "選項2", "選項3", "選項4"]
    labelled = {"passage": "文章", "question": "問題", "answer": "正確答案"}
    data = {
        "train": {"file": str(TAIGI / "mcq_train.csv")} | labelled,
        "validation": {"file": str(TAIGI / "mcq_validation.csv")} | labelled,
        "predict": {"file": str(TAIGI / "mcq_test.csv"), "passage": "前文", "question": "題幹", "id": "ID"},
        "choices": choices,
        "clean": {"punctuation": "normalize"},
    }
    recipe = {"name": "taigi", "task": "multiple-choice", "data": data, "method": {"kind": "majority"}}
    (tmp_path / "taigi.yaml").write_text(json.dumps(recipe), "utf-8")
    run = jobs.train(str(tmp_path / "taigi.yaml"), [], tmp_path / "runs", lambda event: None).run
    scores = jobs.evaluate("taigi", run.path.parent, str(TAIGI / "mcq_test.csv"), str(TAIGI / "mcq_test_answers.csv"), "ID")
    assert (scores["n"], round(scores["accuracy"]["value"], 1)) == (294, 0.2)
    assert len((run.path / "answers.csv").read_text("utf-8").splitlines()) == 295
