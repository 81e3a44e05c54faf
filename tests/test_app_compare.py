"""The page Compare: a child compares, the result is kept and is no new look, and what it says is what the comparison says."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from answered import alone, answered_run
from sidebyside import a_comparison
from streamlit.testing.v1 import AppTest
from studio import page_of

from tunebench.app import children, comparisons, plots
from tunebench.app.words import LANGUAGES, words
from tunebench.compare import statistics
from tunebench.compare.choice import RULES, Limits
from tunebench.compare.comparison import assemble
from tunebench.compare.contents import confusion_of, placed
from tunebench.errors import InputError
from tunebench.runs.looks import looks_at_test

HOSTILE = "<a href='https://x.y'>**bold**</a> [x](javascript:y) $a$"
WORDS = {key: key for key in ("trainable_parameters", "accuracy", "unbeaten", "parameters", "total", "trained")} | {
    key: key for key in ("validation", "loss", "examples", "answered", "gold")
}


@pytest.fixture
def runs(studio_runs: Path) -> Path:
    """An empty runs folder that the studio looks at."""
    return studio_runs


def page(chosen: list[str], language: str = "en") -> AppTest:
    """The page with some runs chosen."""
    return page_of("compare", language, {"compare.runs": chosen})


def finished(studio: AppTest) -> AppTest:
    """The page once its child has ended."""
    until = time.monotonic() + 90
    while any(children.is_at_work(folder) for folder in list(children._children)):
        assert time.monotonic() < until
        time.sleep(0.05)
    return studio.run()


def markup(studio: AppTest) -> str:
    """Everything that was written as Markdown."""
    return "\n".join(element.value for element in [*studio.markdown, *studio.caption, *studio.success])


def keep(comparison: dict[str, Any], names: list[str], runs: Path) -> Path:
    """The comparison where the page looks for that of these runs."""
    folder = comparisons.folder_of(names, runs, runs / ".studio" / "comparisons", Limits())
    folder.mkdir(parents=True)
    (folder / comparisons.COMPARISON).write_text(json.dumps(comparison), "utf-8")
    return folder


@pytest.mark.parametrize("language", LANGUAGES)
def test_with_fewer_than_two_runs_the_page_says_what_to_do(runs: Path, language: str) -> None:
    answered_run(runs, "only")
    studio = page([], language)
    assert not studio.exception
    assert studio.info[-1].value == words(language, "compare.too_few_there")
    answered_run(runs, "other")
    assert page(["only"], language).info[-1].value == words(language, "compare.choose_two")


def test_two_runs_are_compared_by_a_child_once_and_then_shown_again(runs: Path) -> None:
    first, _ = answered_run(runs, "one"), answered_run(runs, "two", wrong=20)
    before = looks_at_test(first)
    studio = page(["one", "two"])
    assert looks_at_test(first) == before, "nothing is looked at before the click"
    assert words("en", "compare.look_ahead") in markup(studio)
    studio.button(key="compare.start").click().run()
    studio = finished(studio)
    assert not studio.exception
    (folder,) = (runs / ".studio" / "comparisons").iterdir()
    assert children.fault(folder) is None
    found = comparisons.read(folder)
    assert found is not None
    assert [row["run"] for row in found["rows"]] == ["one", "two"]
    assert looks_at_test(first) == before + 1
    assert words("en", "compare.take", name="one") in [one.value for one in studio.success]
    again = page(["two", "one"])
    assert not again.exception
    assert [one.value for one in again.success] == [one.value for one in studio.success]
    assert looks_at_test(first) == before + 1, "shown again it is no new look"


def test_runs_over_other_test_rows_are_refused_in_words(runs: Path) -> None:
    answered_run(runs, "one")
    answered_run(runs, "two", test="1" * 64)
    studio = page(["one", "two"])
    studio.button(key="compare.start").click().run()
    studio = finished(studio)
    assert not studio.exception
    assert words("en", "compare.refused") in [one.value for one in studio.error]
    assert any("other test rows" in one.value for one in studio.code)


@pytest.mark.parametrize("language", LANGUAGES)
def test_all_of_a_comparison_is_drawn_and_test_rows_only_when_asked_for(runs: Path, language: str) -> None:
    for name in ("one", "two"):
        answered_run(runs, name)
    keep(a_comparison(["a", HOSTILE, "b"], text=HOSTILE), ["one", "two"], runs)
    studio = page(["one", "two"], language)
    assert not studio.exception
    for steering in (r"<a href", r"\*\*bold", r"\[x"):
        assert not re.search(rf"(?<!\\){steering}", markup(studio)), steering
    shown = len(studio.dataframe)
    assert not any(HOSTILE in str(frame.value) for frame in studio.dataframe if "gold" in frame.value)
    studio.toggle(key="compare.reveal").set_value(True).run()
    assert not studio.exception
    assert len(studio.dataframe) == shown + 1
    assert HOSTILE in str(studio.dataframe[-1].value["text"].iloc[0])
    studio.selectbox(key="language").set_value("zh-Hans" if language != "zh-Hans" else "en").run()
    assert not studio.exception


@pytest.mark.parametrize("content", ["{", "[]", '{"rows": []}'])
def test_a_damaged_comparison_is_told_in_words(runs: Path, content: str) -> None:
    for name in ("one", "two"):
        answered_run(runs, name)
    folder = keep({}, ["one", "two"], runs)
    (folder / comparisons.COMPARISON).write_text(content, "utf-8")
    studio = page(["one", "two"])
    assert not studio.exception
    assert words("en", "compare.unreadable") in [one.value for one in studio.error]


@pytest.fixture
def compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Four runs, two of which were timed, compared."""
    monkeypatch.setattr(statistics, "DRAWS", 500)
    monkeypatch.setattr(statistics, "SCORE_DRAWS", 100)
    made = [answered_run(tmp_path, name, wrong=wrong) for name, wrong in (("a", 5), ("b", 8), ("c", 9), ("d", 60))]
    for run, p50 in ((made[1], 10.0), (made[2], 4.0)):
        figures = {"p50_ms": p50, "rows_per_second": 90.0, "peak_memory_bytes": 1e8}
        run.write_json("bench.json", {"forms": {"torch": figures}})
    return json.loads(json.dumps(assemble(alone(*made))))


def test_the_verdict_is_that_of_the_comparison_and_follows_the_limits(compared: dict[str, Any]) -> None:
    found = comparisons.verdict(compared, Limits())
    assert found is not None
    assert {key: found[key] for key in compared["choice"]} == compared["choice"]
    assert (found["leader"], found["is_baseline"]) == ("a", False)
    nothing = comparisons.verdict(compared, Limits(min_accuracy=0.99))
    assert nothing is not None
    assert (nothing["take"], nothing["leader"], len(nothing["refused"])) == (None, None, 4)
    only = comparisons.verdict(compared, Limits(max_latency_ms=5.0))
    assert only is not None
    assert only["take"] == "c"
    assert comparisons.verdict(compared, Limits(max_latency_ms=50.0)) is None, "b against c was not tested"


def test_a_sentence_has_the_figures_of_the_report(compared: dict[str, Any]) -> None:
    for statement in compared["statements"]:
        key = "compare.beats" if statement["distinguishable"] else "compare.even"
        names = {side: statement[side] for side in ("better", "worse")}
        assert words("en", key, **names, **comparisons.figures_of(statement)) == statement["text"] + "."
    assert {statement["distinguishable"] for statement in compared["statements"]} == {True, False}


def test_the_rules_are_those_that_are_followed() -> None:
    assert [words("en", f"compare.rule_{i}") for i in range(1, len(RULES) + 1)] == list(RULES)


def test_the_place_of_a_comparison_follows_runs_weights_and_limits(tmp_path: Path) -> None:
    one, _ = answered_run(tmp_path, "one"), answered_run(tmp_path, "two")

    def place(*names: str, limits: Limits | None = None) -> Path:
        return comparisons.folder_of(names, tmp_path, tmp_path / "kept", limits or Limits())

    assert place("one", "two") == place("two", "one")
    assert place("one", "two", limits=Limits(0.5)) != place("one", "two")
    before = place("one", "two")
    one.write_json("manifest.json", one.manifest | {"end_weights": "others"})
    assert place("one", "two") != before
    with pytest.raises(InputError):
        place("one", "gone")


def test_the_command_names_whole_paths_and_the_limits(tmp_path: Path) -> None:
    for name in ("one", "two"):
        answered_run(tmp_path, name)
    command = comparisons.arguments(["two", "one"], tmp_path, tmp_path / "out", Limits(0.8, 50.0, 5e8, no_gpu=True))
    assert command[:3] == ["compare", str(tmp_path / "one"), str(tmp_path / "two")]
    assert command[3:7] == ["--min-accuracy=0.8", "--max-latency=50.0", "--max-memory=500MB", "--no-gpu"]
    assert "--no-bench" in command


def test_names_are_written_into_figures_and_never_read_as_markup() -> None:
    found = a_comparison([HOSTILE, "b", "c", "d"], [f"<b>{HOSTILE}", "other"])
    rows = placed(found)
    seen = confusion_of(rows[0], found["test"]["labels"])
    assert seen is not None
    figures = [
        plots.intervals(rows, WORDS),
        plots.pareto(rows, "trainable_parameters", WORDS),
        plots.curves(rows, WORDS),
        plots.parameters(rows, WORDS, log=True),
        plots.parameters(rows, WORDS, log=False),
        plots.confusion(seen, WORDS),
    ]
    for figure in figures:
        assert "<a href" not in figure.to_json().replace("\\u003c", "<"), figure.data[0].type
        assert "<b>" not in figure.to_json().replace("\\u003c", "<")


def test_figures_show_what_there_is() -> None:
    rows = placed(a_comparison(["lora", "ia3", "full", "head", "tfidf", "majority"]))
    log, linear = (plots.parameters(rows, WORDS, log=way) for way in (True, False))
    assert log is not None
    assert linear is not None
    assert (log.layout.xaxis.type, linear.layout.xaxis.type) == ("log", "linear")
    assert [list(bars.y) for bars in linear.data] == [["lora", "ia3"]], "adapters only"
    assert list(log.data[1].x)[:2] == [row["trainable_parameters"] for row in rows[:2]]
    assert plots.curves([row | {"curve": []} for row in rows], WORDS) is None
    assert plots.parameters([row | {"total_parameters": None} for row in rows], WORDS, log=True) is None
    marks = [(trace.marker.color, trace.marker.symbol) for trace in plots.pareto(rows, "trainable_parameters", WORDS).data[1:]]
    assert len({symbol for _, symbol in marks}) == len(rows), "told apart without colour too"


def test_the_table_and_the_mistakes_hold_what_the_comparison_holds() -> None:
    found = a_comparison(["lora", "tfidf"])
    table = comparisons.table(found)
    assert [(row["run"], row["accuracy"]) for row in table] == [(row["run"], row["accuracy"]) for row in found["rows"]]
    assert (table[0]["latency"], table[1]["latency"]) == ("3.10 ms", "6.20 ms")
    rows = comparisons.mistakes(found, "all_wrong")
    assert [row["text"][-1] for row in rows] == ["…", "1", "2"], "what was cut says so"
    assert list(rows[0]) == ["row", "text", "gold", "→ lora", "→ tfidf"]
