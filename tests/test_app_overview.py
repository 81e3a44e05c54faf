"""The overview: what it concludes is carried by tests or intervals, its figures are counted, one click starts the first runs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import shelf
from answered import alone, answered_run, group
from streamlit.testing.v1 import AppTest
from studio import page_of, text

from tunebench.app import starter_comparison
from tunebench.app.overview_figures import accuracies, trained_weights
from tunebench.app.parameter_counts import BERT, CASES, Case, Count, Counting
from tunebench.app.standing import Compared, Score, Standing, as_compared, boards, comparisons, conclude, standings
from tunebench.app.words import LANGUAGES, words
from tunebench.asking.client import Asking
from tunebench.compare.comparison import assemble
from tunebench.errors import TunebenchError
from tunebench.events import Finished
from tunebench.runs.index import list_runs, summary

HOSTILE = "x**y [z](http:--a.b) <b>"
REPORT = {
    "adapter_parameters": 294_912,
    "trainable_parameters": 296_450,
    "total_parameters": 109_483_778,
    "saved_bytes": 1_185_800,
}


class Counter:
    """An answering process that counts everything alike, or not at all."""

    error: str | None = None

    def params(self, recipe_text: str) -> dict[str, Any]:
        """A report as `tunebench params` has it."""
        if self.error:
            raise TunebenchError(self.error)
        return dict(REPORT)


@dataclass
class Job:
    """A job of the queue in a state."""

    was: str
    kind: str = "starter"
    run: str | None = None

    def state(self) -> str:
        """Where it is."""
        return self.was

    def is_live(self) -> bool:
        """Whether it waits or runs."""
        return self.was in ("waiting", "running")

    def log_tail(self, lines: int) -> str:
        """What it said."""
        return "error: pip could not download <b>it</b>"


@pytest.fixture
def runs(studio_runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty runs folder that the studio looks at."""
    monkeypatch.setattr(Asking, "params", lambda _, recipe_text: Counter().params(recipe_text))
    monkeypatch.setattr(Counter, "error", None)
    return studio_runs


def page(language: str = "en") -> AppTest:
    """The page, drawn."""
    return page_of("overview", language)


def standing(run: str, value: float, method: str = "lora", *, grouped: bool = False, bars: Sequence[Score] = ()) -> Standing:
    """A run with an interval of two points to each side."""
    score = Score(run, value, value - 0.02, value + 0.02)
    return Standing(run, method, "b", score, 1000, "digest", 10, 1.0, grouped, tuple(bars))


def compared(*scores: Score, better: str = "", worse: str = "", told: bool = True, test: str = "digest") -> Compared:
    """A comparison of these runs with one test."""
    figures = {"low": 0.01, "high": 0.09, "p_holm": 0.01, "distinguishable": told}
    tests = [{"better": better, "worse": worse, **figures}] if better else []
    return Compared(test, {score.name: score for score in scores}, tests)


A, B = standing("a", 0.9), standing("b", 0.85, "tfidf")
NEAR = standing("b", 0.87, "tfidf")
VERDICTS: dict[str, tuple[list[Standing], list[Compared], str]] = {
    "no baseline": ([A, standing("c", 0.8)], [], "alone"),
    "a baseline is best": ([standing("t", 0.95, "tfidf"), A], [], "baseline"),
    "nothing but baselines": ([standing("t", 0.95, "tfidf"), standing("m", 0.5, "majority")], [], "baselines_only"),
    "intervals apart": ([A, B], [], "apart"),
    "intervals overlap": ([A, NEAR], [], "overlap"),
    "rows in groups": ([standing("a", 0.9, grouped=True), B], [], "grouped"),
    "a baseline that the run fitted": ([standing("a", 0.9, bars=[Score("majority", 0.5, 0.48, 0.52)])], [], "apart"),
    "a fitted baseline above": ([standing("a", 0.9, bars=[Score("tfidf", 0.93, 0.91, 0.95)])], [], "below"),
    "tested and told": ([A, B], [compared(A.score, B.score, better="a", worse="b")], "beats"),
    "tested, groups known": (
        [standing("a", 0.9, grouped=True), B],
        [compared(A.score, B.score, better="a", worse="b")],
        "beats",
    ),
    "tested and not told": ([A, B], [compared(A.score, B.score, better="a", worse="b", told=False)], "not_told"),
    "a test of a run as it was": ([A, B], [compared(Score("a", 0.7, 0.6, 0.8), B.score, better="a", worse="b")], "apart"),
    "a test on other rows": ([A, B], [compared(A.score, B.score, better="a", worse="b", test="other")], "apart"),
    "the newest test counts": (
        [A, B],
        [compared(A.score, B.score, better="a", worse="b", told=False), compared(A.score, B.score, better="a", worse="b")],
        "not_told",
    ),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_no_more_is_claimed_than_tests_or_intervals_carry(name: str) -> None:
    board, known, verdict = VERDICTS[name]
    found = conclude(board, known)
    assert found.verdict == verdict
    assert found.best.name == board[0].run
    assert (found.p is not None) == (verdict in ("beats", "not_told"))


def test_what_is_not_told_apart_from_the_best_is_named() -> None:
    board = [A, standing("near", 0.87), standing("far", 0.5)]
    assert conclude(board, []).close == ("near",)
    tested = compared(A.score, board[1].score, better="a", worse="near")
    assert conclude(board, [tested]).close == ()


def test_intervals_are_those_of_the_newest_comparison_that_knows_the_run() -> None:
    wide = Score("a", 0.9, 0.7, 0.99)
    shown = as_compared([A, B], [compared(wide)])
    assert [one.score for one in shown] == [wide, B.score]


def test_runs_stand_together_by_their_test_rows(tmp_path: Path) -> None:
    shelf.finished_run(tmp_path, "good", wrong=5)
    shelf.finished_run(tmp_path, "poor", wrong=40)
    shelf.finished_run(tmp_path, "other", wrong=0, test="1" * 64)
    shelf.create_run(tmp_path, shelf.recipe("begun"), shelf.manifest(shelf.recipe("begun")))
    odd = shelf.finished_run(tmp_path, "odd")
    odd.write_json("metrics.json", {"test": {"accuracy": {"value": "much"}}, "proofs": []})
    found = boards(standings([summary(run) for run in list_runs(tmp_path)]))
    assert [[one.run for one in board] for board in found] == [["good", "poor"], ["other"]]
    assert found[0][0].score.value == 0.95
    assert [bar.name for bar in found[0][0].bars] == ["majority"]


def test_a_comparison_that_was_written_is_read_and_carries_the_conclusion(tmp_path: Path) -> None:
    good = answered_run(tmp_path, "good", wrong=2)
    poor = answered_run(tmp_path, "poor", wrong=range(1, 20), base=None, method={"kind": "tfidf"})
    several = group("several", *(answered_run(tmp_path, f"several-s{seed}", wrong=9, seed=seed) for seed in (1, 2)))
    written = assemble([*alone(good, poor), several])
    place = tmp_path / "comparison.json"
    place.write_text(json.dumps(written), "utf-8")
    board = boards(standings([summary(run) for run in list_runs(tmp_path)]))[0]
    known = comparisons([tmp_path / "nothing.json", place])
    found = conclude(as_compared(board, known), known)
    test = next(test for test in written["statements"] if {test["better"], test["worse"]} == {"good", "poor"})
    assert (found.verdict, found.p, found.low) == ("beats", test["p_holm"], test["low"])
    row = next(row for row in written["rows"] if row["run"] == "good")
    assert (found.best.low, found.best.high) == (row["accuracy_low"], row["accuracy_high"])
    assert sorted(known[0].scores) == ["good", "poor"]
    place.write_text('{"rows": [', "utf-8")
    assert comparisons([place]) == []


def test_parameters_are_counted_by_the_counter_of_params(tmp_path: Path) -> None:
    asking = Asking(tmp_path)
    cases = [Case(BERT, "lora", {"r": 8}), Case(BERT, "ia3"), Case("no-such-base", "full"), Case(BERT, "full")]
    counting = Counting(asking.params, cases)
    counting.wait()
    asking.close()
    assert [(one.weights, one.total) for one in counting.counts] == [(294_912, 109_483_778), (55_296, 109_483_778)]
    assert [round(one.times_fewer) for one in counting.counts] == [371, 1980]
    assert counting.error is not None
    assert "no-such-base" in counting.error


def test_charts_show_what_they_are_given_and_no_markup() -> None:
    hostile = standing("<b>x</b>", 0.8)
    chart = accuracies([A, hostile, B], tuned="t", baseline="b", axis="accuracy")
    assert list(chart.data[0].y) == ["a", "&lt;b&gt;x&lt;/b&gt;"]
    assert chart.data[0].marker.symbol != chart.data[1].marker.symbol
    counts = [Count(CASES[0], 1000, 1000, 1000, 4000), Count(CASES[2], 10, 12, 1000, 40)]
    for logarithmic, kind in ((True, "log"), (False, "linear")):
        drawn = trained_weights(counts, logarithmic=logarithmic, axis="w")
        assert (drawn.layout.xaxis.type or "linear", list(drawn.data[0].x)) == (kind, [10, 1000])


def test_the_starter_comparison_is_the_main_job_of_the_makefile() -> None:
    makefile = (Path(__file__).parents[1] / "Makefile").read_text("utf-8")
    presets = re.search(r"^DEMO := (.+)$", makefile, re.MULTILINE)
    assert presets is not None
    assert presets[1].split() == list(starter_comparison.PRESETS)
    first, second = starter_comparison.commands(Path("/r"))
    assert (first, second[-4:]) == (["starter"], ["--runs", "/r", "--output", "/r"])


def test_cells_tell_how_far_they_are(tmp_path: Path) -> None:
    shelf.finished_run(tmp_path, "done")
    half = shelf.finished_run(tmp_path, "half")
    (half.path / "metrics.json").unlink()
    half.cut_events(21)
    broken = shelf.finished_run(tmp_path, "broken")
    (broken.path / "events.jsonl").write_text("{\n", "utf-8")
    found = starter_comparison.cells(tmp_path, ["done", "half", "broken", "absent"])
    assert [(cell.state, cell.done, cell.accuracy) for cell in found] == [
        ("finished", 1.0, 0.9),
        ("interrupted", 0.5, None),
        ("damaged", 0.0, None),
        ("waiting", 0.0, None),
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_newcomer_starts_the_comparison_sees_it_go_and_reads_what_came_of_it(
    language: str, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    known: list[Job] = []

    def submit(folder: Path, commands: Sequence[Sequence[str]], *, kind: str, run: str | None) -> None:
        asked.append((folder, commands, kind, run))
        known.append(Job("running"))

    monkeypatch.setattr("tunebench.detached.queue.submit", submit)
    monkeypatch.setattr("tunebench.detached.queue.jobs", lambda folder: list(known))
    studio = page(language)
    assert not studio.exception
    assert [title.value for title in studio.title] == [words(language, "overview.title")]
    studio.button(key="overview_start").click().run()
    assert asked == [(runs, starter_comparison.commands(runs), "starter", None)]
    assert not studio.exception
    assert list(studio.dataframe[0].value.iloc[:, 0]) == list(starter_comparison.PRESETS)
    assert "overview_start" not in [button.key for button in studio.button]
    for name, wrong in (("starter-lora", 5), ("starter-ia3", 20)):
        shelf.finished_run(runs, name, wrong=wrong)
    shelf.finished_run(runs, "starter-tfidf", wrong=40, base=None, method={"kind": "tfidf"})
    known[0].was = "finished"
    studio.run()
    assert not studio.exception
    values = {"run": "starter-lora", "accuracy": "0.9500", "interval": "[0.888, 0.978]", "rows": "100"}
    first = words(language, "overview.best", **values)
    assert first in text(studio)
    assert words(language, "overview.verdict_apart", bar="starter-tfidf", accuracy="0.6000", interval="[0.502, 0.691]",
                 points="35.0") in text(studio)  # fmt: skip
    assert [metric.value for metric in studio.metric] == ["0.9500", "+35.0", "296 k", "3"]


def test_figures_are_counted_not_typed_and_shown_on_both_scales(runs: Path) -> None:
    studio = page()
    for _ in range(20):
        if studio.segmented_control:
            break
        studio.run()
    counted = studio.dataframe[-1].value
    assert set(counted[words("en", "overview.weights")]) == {294_912}
    assert len(counted) == len(CASES)
    studio.segmented_control(key="overview_scale").set_value("linear").run()
    assert words("en", "overview.scale_linear_note") in text(studio)


def test_where_nothing_can_be_counted_the_page_says_why(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counter, "error", "torch is missing; pip install 'tunebench[train]'")
    studio = page()
    for _ in range(20):
        if studio.warning:
            break
        studio.run()
    assert not studio.exception
    assert "pip install" in text(studio)


@pytest.mark.parametrize("state", ["failed", "stopped", "interrupted"])
def test_a_start_that_came_to_nothing_shows_its_last_words_and_goes_on(
    state: str, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.finished_run(runs, "starter-majority", base=None, method={"kind": "majority"})
    known, again = Job(state), []
    monkeypatch.setattr("tunebench.detached.queue.jobs", lambda folder: [known])
    monkeypatch.setattr("tunebench.detached.queue.resubmit", again.append)
    studio = page()
    assert words("en", f"overview.starter_{state}") in text(studio)
    assert known.log_tail(1) in text(studio)
    studio.button(key="overview_start").click().run()
    assert (again, list(studio.exception)) == ([known], [])


def test_a_start_that_is_refused_is_told_in_a_sentence(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **settings: Mapping[str, object]) -> None:
        raise TunebenchError("the disk is full")

    monkeypatch.setattr("tunebench.detached.queue.submit", refuse)
    studio = page()
    studio.button(key="overview_start").click().run()
    assert not studio.exception
    assert words("en", "overview.fault") in text(studio)
    assert "the disk is full" in text(studio)


def test_names_of_runs_are_shown_as_they_are_written(runs: Path) -> None:
    shelf.finished_run(runs, "plain")
    (runs / "plain").rename(runs / HOSTILE)
    studio = page()
    assert not studio.exception
    assert HOSTILE in text(studio)
    assert all(HOSTILE not in part.value for part in studio.markdown)


def test_runs_without_accuracy_leave_the_way_to_start_open(runs: Path) -> None:
    run = shelf.create_run(runs, shelf.recipe("begun"), shelf.manifest(shelf.recipe("begun")))
    (shelf.finished_run(runs, "odd").path / "metrics.json").write_text("[", "utf-8")
    run.record(Finished([]))
    studio = page()
    assert not studio.exception
    assert words("en", "overview.none_scored", number=2) in text(studio)
    assert studio.button(key="overview_start")
