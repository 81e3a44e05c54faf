"""The baseline word-overlap: the published rule, in any script, the same every time."""

from __future__ import annotations

from math import log1p
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from quiz import make_questions, write_quiz
from tiny import write_csv

from tunebench import jobs
from tunebench.compare.comparison import Group, assemble
from tunebench.data.items import Question
from tunebench.errors import InputError
from tunebench.predict.baselines import load_baseline
from tunebench.predict.overlap import OverlapScorer
from tunebench.runs.run import Run

SHARED = Path(__file__).parents[2] / "shared/data"


def scores(*questions: Question) -> np.ndarray:
    return OverlapScorer(len(questions[0].choices)).score(questions).logits


def brute_force(question: Question, choice: str) -> float:
    """Algorithm 1 of Richardson et al. 2013, word for word, for text with spaces."""
    passage, wanted = question.passage.lower().split(), set(f"{question.question} {choice}".lower().split())
    windows = [passage[i : i + len(wanted)] for i in range(len(passage))]
    return max(sum(log1p(1 / passage.count(word)) for word in window if word in wanted) for window in windows)


def test_scores_are_those_of_the_published_sliding_window() -> None:
    questions = [
        Question(row["story"].replace(".", ""), row["asked"], (row["a"], row["b"], row["c"])) for row in make_questions(40)
    ]
    repeated = Question("very x y good x z very y x cold", "very very very", ("good", "cold"))  # no longer window for that
    for question in [*questions, repeated]:
        expected = [brute_force(question, choice) for choice in question.choices]
        assert np.abs(scores(question)[0] - expected).max() < 1e-5


def test_case_and_punctuation_do_not_matter_and_passages_may_be_shorter_than_the_question() -> None:
    one = Question("The CAT sat.", "where, then, did the cat sit down?", ("cat", "Dog!"))
    other = Question("the cat, sat", "Where then did the CAT sit down", ("cat!", "dog"))
    assert scores(one).tolist() == scores(other).tolist()
    assert scores(one)[0, 0] == scores(one)[0, 1] > 0  # both windows hold the whole passage


@pytest.mark.parametrize(
    ("passage", "asked", "choices", "best"),
    [
        ("今仔日規工落雨，伊無欲出門。毋過聽講昨昏日頭足大。", "昨昏按怎？", ("落雨", "日頭"), 1),
        ("人民的民主予人歡喜，學生的響應嘛濟。", "「學生的＿＿嘛濟」", ("民主", "響應", "人民"), 1),
        ("きのうは雨でした。きょうは晴れです。", "きょうは何ですか", ("雨", "晴れ"), 1),
        ("濟濟𪜶的風，落佇遐的𪜶雨", "落____", ("𪜶的", "佇遐"), 1),
        ("AIG佇美國設公司，Intel佇臺灣設公司", "Intel佇佗", ("美國", "臺灣"), 1),
    ],
)
def test_scripts_without_spaces_are_compared_by_characters_and_their_neighbours(
    passage: str, asked: str, choices: tuple[str, ...], best: int
) -> None:
    assert int(scores(Question(passage, asked, choices))[0].argmax()) == best


def test_characters_count_in_their_order_and_an_option_is_read_in_the_blank() -> None:
    assert int(scores(Question("甲乙丙丁戊己", "佗一个", ("乙甲", "甲乙")))[0].argmax()) == 1
    passage, choices = "學生支持民主，教授反對", ("學生", "教授")
    filled, behind = scores(Question(passage, "＿＿反對", choices))[0], scores(Question(passage, "反對", choices))[0]
    assert filled[1] > behind[1]
    assert filled[0] == behind[0]


def test_options_that_score_the_same_give_the_first_and_nothing_is_a_score_too() -> None:
    found = scores(Question("a b c a b c d", "x", ("b", "a", "c")), Question("?!", "…", ("。", "、", "-")))
    assert found[0, 0] == found[0, 1] == found[0, 2]
    assert (found[1].tolist(), int(found[0].argmax())) == ([0, 0, 0], 0)
    assert OverlapScorer(3).score([]).logits.shape == (0, 3)
    assert np.isfinite(OverlapScorer(3).score([]).probabilities).all()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("quiz")
    write_csv(folder / "train.csv", make_questions(80))
    found = {}
    for kind in ("majority", "word-overlap"):
        recipe = write_quiz(folder, kind, data={"test": {"fraction": 0.5}}, method={"kind": kind})
        found[kind] = jobs.train(str(recipe), [], folder / "runs", lambda event: None).run
    return found


def test_it_trains_as_every_method_does_and_stands_beside_every_run_of_its_task(runs: dict[str, Run]) -> None:
    overlap = runs["word-overlap"]
    assert (overlap.status(), [path.name for path in overlap.weights.iterdir()]) == ("finished", ["overlap.json"])
    for run in runs.values():
        baselines = run.metrics["baselines"]
        assert list(baselines) == ["majority", "word-overlap"]
        assert {kind: found["accuracy"] for kind, found in baselines.items()} == {
            kind: runs[kind].metrics["test"]["accuracy"] for kind in runs
        }
    assert overlap.metrics["test"]["accuracy"]["value"] > 0.8 > 0.5 > runs["majority"].metrics["test"]["accuracy"]["value"]
    rows = assemble([Group(run.name, str(run.path), "", [run]) for run in runs.values()])["rows"]
    assert [(row["method"], row["architecture"], row["total_parameters"]) for row in rows] == [
        ("word-overlap", "rule", 0),
        ("majority", "constant", 3),
    ]


def test_another_file_than_the_one_that_was_scored_is_refused(runs: dict[str, Run], tmp_path: Path) -> None:
    import shutil

    run = Run(Path(shutil.copytree(runs["word-overlap"].path, tmp_path / "copy")))
    (run.weights / "overlap.json").write_text('{"choices": 4}', "utf-8")
    with pytest.raises(InputError, match="other files than the ones that were scored"):
        run.check_weights()
    for broken in ("{}", "[]", '{"choices": "x"}', "x"):
        (run.weights / "overlap.json").write_text(broken, "utf-8")
        with pytest.raises(InputError, match="is damaged"):
            load_baseline("word-overlap", run.weights)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")
def test_on_mctest_it_scores_what_was_published_for_the_sliding_window(tmp_path: Path) -> None:
    for split in ("train", "test"):
        rows = pq.read_table(SHARED / f"mctest/{split}.parquet").to_pylist()
        columns = [
            {"id": row["id"], "passage": row["passage"], "question": row["question"], "answer": row["answer"] + 1}
            | {f"option {i}": choice for i, choice in enumerate(row["choices"], 1)}
            for row in rows
            if row["set"] == "mc500"
        ]
        pq.write_table(pa.Table.from_pylist(columns), tmp_path / f"{split}.parquet")
    choices = [f"option {i}" for i in range(1, 5)]
    names = {"passage": "passage", "question": "question", "answer": "answer", "choices": choices}
    recipe = write_quiz(tmp_path, data={"train": "train.parquet", "test": "test.parquet"} | names)
    test = jobs.train(str(recipe), [], tmp_path / "runs", lambda event: None).run.metrics["test"]
    assert test["n"] == 600
    assert 0.52 < test["accuracy"]["value"] < 0.58
