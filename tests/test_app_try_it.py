"""The page Try it: any finished run answers, its words are shown as text, every row of a file comes back."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny
from shelf import finished_run
from streamlit.testing.v1 import AppTest
from studio import page_of

from tunebench import jobs
from tunebench.app import batch, children
from tunebench.app.answers import MOST_BARS, bars, is_calibrated, label_shown
from tunebench.app.coloured import AGAINST, FOR, MOST_TINT, marked_text, strongest
from tunebench.app.examples import MOST_CHARACTERS, examples_of, least_sure
from tunebench.app.words import FOLDER, LANGUAGES, plain, words
from tunebench.asking.client import Asking
from tunebench.errors import TunebenchError
from tunebench.runs.index import find_run
from tunebench.runs.run import Run

HOSTILE = "<script>alert(1)</script> **bold** [x](javascript:y) $a$ =1+1"
LABELS = ("negative", "positive")


class Answers:
    """An answering process that knows the answer at once, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], tuple[str, ...], bool]] = []
        self.broken = False

    def start(self) -> None:
        """Nothing to start."""

    def predict(self, names: Sequence[str], texts: Sequence[str], *, calibrated: bool = False) -> list[dict[str, Any]]:
        """Positive, surer the longer the text."""
        self.asked.append((tuple(names), tuple(texts), calibrated))
        if self.broken:
            raise TunebenchError("the process was killed; is the memory too small?")
        return [{"run": name, **TIMES, "answers": [answer(text) for text in texts]} for name in names]

    def choose(self, name: str, passage: str, question: str, choices: Sequence[str]) -> dict[str, Any]:
        """The second option."""
        self.asked.append(((name,), (passage, question, *choices), False))
        return (
            {"predicted": "2", "choice": choices[1], "probabilities": {"1": 0.3, "2": 0.7}, "truncated": False} | TIMES | NO_ERROR
        )

    def why(self, name: str, text: str) -> dict[str, Any]:
        """The first word speaks for it."""
        first = text.split()[0]
        word = {"text": first, "start": 0, "end": len(first), "weight": 0.25}
        return {"text": text, "words": [word], "predicted": "positive", "probability": 0.9, "cut": True, **TIMES}


TIMES = {"device": "cpu", "backend": "torch", "load_seconds": 1.5, "seconds": 0.012}
NO_ERROR = {"error": None}


def answer(text: str) -> dict[str, Any]:
    """What the process says of a text."""
    sure = min(0.99, 0.5 + len(text) / 1000)
    display = {"negative": "negative", "positive": {"en": f"good {HOSTILE}", "zh-TW": "正面"}}
    return {
        "text": text,
        "predicted": "positive",
        "display": display,
        "probabilities": {"negative": 1 - sure, "positive": sure},
        "truncated": "cut" in text,
        "error": None,
    }


@pytest.fixture
def runs(studio_runs: Path) -> Path:
    """An empty runs folder that the studio looks at."""
    return studio_runs


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """The answers in place of the process."""
    known = Answers()
    for verb in ("start", "predict", "choose", "why"):
        monkeypatch.setattr(Asking, verb, lambda _, *given, verb=verb, **named: getattr(known, verb)(*given, **named))
    return known


def page(language: str = "en") -> AppTest:
    """The page, drawn."""
    return page_of("try_it", language)


def markup(studio: AppTest) -> str:
    """Everything that was written as Markdown."""
    return "\n".join(element.value for element in [*studio.markdown, *studio.caption])


def button(studio: AppTest, label: str) -> Any:
    """The button of this label."""
    (found,) = [one for one in studio.button if one.label == label]
    return found


def click_ask(studio: AppTest, text: str, language: str = "en") -> AppTest:
    """The page after a text was written and sent."""
    studio.text_area(key="try_it.text").set_value(text)
    return button(studio, words(language, "try_it.ask")).click().run()


@pytest.mark.parametrize("language", LANGUAGES)
def test_without_a_run_the_page_says_what_to_do(runs: Path, language: str) -> None:
    studio = page(language)
    assert not studio.exception
    assert studio.info[-1].value == words(language, "try_it.none")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_newest_run_is_chosen_and_answers(runs: Path, answers: Answers, language: str) -> None:
    finished_run(runs, "old")
    time.sleep(0.01)
    finished_run(runs, "new")
    studio = page(language)
    assert studio.multiselect(key="try_it.runs").value == ["new"]
    studio = click_ask(studio, "a fine film, not cut", language)
    assert not studio.exception
    assert answers.asked == [(("new",), ("a fine film, not cut",), False)]
    shown = {"en": "good", "zh-Hant": "正面", "zh-Hans": "good"}[language]
    assert shown in studio.metric[0].value
    assert [warning.value for warning in studio.warning] == [words(language, "try_it.truncated")]
    button(studio, words(language, "try_it.why")).click().run()
    assert not studio.exception
    assert words(language, "try_it.why_cut") in markup(studio)


def test_several_runs_answer_beside_each_other_and_only_new_ones_are_asked(runs: Path, answers: Answers) -> None:
    for name in ("a", "b"):
        finished_run(runs, name)
    studio = page()
    studio.multiselect(key="try_it.runs").set_value(["a"]).run()
    studio = click_ask(studio, "fine")
    studio.multiselect(key="try_it.runs").set_value(["a", "b"]).run()
    assert len(studio.metric) == 2
    assert [names for names, *_ in answers.asked] == [("a",), ("b",)]


def test_nothing_that_a_user_wrote_is_read_as_markup(runs: Path, answers: Answers) -> None:
    finished_run(runs, "a")
    studio = click_ask(page(), HOSTILE)
    button(studio, "Why?").click().run()
    assert not studio.exception
    for steering in ("<script>", "**bold**", "[x](", "$a$"):
        assert steering not in markup(studio) + studio.metric[0].value, steering
    drawn = [element.proto.body for element in studio.main.children.values() if element.type == "html"]
    assert all("<script>" not in body for body in drawn)


def test_an_empty_text_asks_for_one_and_asks_nobody(runs: Path, answers: Answers) -> None:
    finished_run(runs, "a")
    studio = click_ask(page(), "  \n")
    assert [warning.value for warning in studio.warning] == [words("en", "try_it.empty")]
    assert answers.asked == []


def test_a_process_that_dies_is_told_in_words(runs: Path, answers: Answers) -> None:
    finished_run(runs, "a")
    answers.broken = True
    studio = click_ask(page(), "fine")
    assert not studio.exception
    assert "is the memory too small?" in studio.code[0].value


def test_a_run_that_vanishes_or_is_damaged_leaves_the_others(runs: Path, answers: Answers) -> None:
    for name in ("a", "b"):
        finished_run(runs, name)
    studio = page()
    studio.multiselect(key="try_it.runs").set_value(["a", "b"]).run()
    (runs / "a" / "recipe.yaml").write_text("name: [", "utf-8")
    studio = click_ask(studio, "fine")
    assert not studio.exception
    assert len(studio.metric) == 1


def test_what_another_page_chose_is_asked_and_unknown_names_are_forgotten(runs: Path, answers: Answers) -> None:
    for name in ("a", "b"):
        finished_run(runs, name)
    studio = AppTest.from_file(str(FOLDER.with_name("main.py")), default_timeout=60)
    studio.session_state["try_it.runs"] = ["a", "gone"]
    studio.switch_page("views/try_it.py").run()
    assert studio.multiselect(key="try_it.runs").value == ["a"]
    gone = [words("en", "main.vanished", names="gone")]
    assert [warning.value for warning in studio.warning] == gone
    shutil.rmtree(runs / "a")
    studio = click_ask(studio, "fine")
    assert studio.multiselect(key="try_it.runs").value == ["b"]  # the one that is left, and the text is not lost
    assert studio.text_area(key="try_it.text").value == "fine"
    assert [warning.value for warning in studio.warning] == [words("en", "main.vanished", names="a")]
    assert not studio.multiselect(key="try_it.runs").set_value([]).run().warning


def questions_run(runs: Path) -> Run:
    """A finished run that answers questions with two options, trained on a file that is there."""
    rows = [{"p": f"story {i}", "q": "what?", "1": "yes", "2": "no", "right": 1 + i % 2} for i in range(20)]
    file = tiny.write_csv(runs.parent / "questions.csv", rows)
    recipe = runs.parent / "q.yaml"
    settings = {"name": "quiz", "task": "multiple-choice", "method": {"kind": "word-overlap"}}
    data = {"train": {"file": str(file), "passage": "p", "question": "q", "choices": ["1", "2"], "answer": "right"}}
    recipe.write_text(
        json.dumps(settings | {"data": data | {"validation": {"fraction": 0.2}, "test": {"fraction": 0.2}}}), "utf-8"
    )
    return jobs.train(str(recipe), [], runs, lambda event: None).run


def test_questions_have_their_own_form_and_do_not_mix_with_texts(runs: Path, answers: Answers) -> None:
    questions_run(runs)
    finished_run(runs, "texts")
    studio = page()
    studio.multiselect(key="try_it.runs").set_value(["quiz"]).run()
    button(studio, "Answer").click().run()
    assert [warning.value for warning in studio.warning] == [words("en", "try_it.empty_question")]
    studio.button(key="try_it.example").click().run()
    assert not studio.exception
    assert studio.text_input(key="try_it.choice.1").value == "no"
    assert studio.metric[0].value == plain("2: no")
    ((_, asked, _),) = answers.asked
    assert asked[1:] == ("what?", "yes", "no")
    studio.multiselect(key="try_it.runs").set_value(["quiz", "texts"]).run()
    assert [warning.value for warning in studio.warning] == [words("en", "try_it.mixed")]


def test_examples_are_clicked_into_the_field(runs: Path, answers: Answers, baseline_run: Callable[[str], Run]) -> None:
    (runs / "tfidf").symlink_to(baseline_run("tfidf").path)
    studio = page()
    button(studio, "negative").click().run()
    first = studio.text_area(key="try_it.text").value
    assert answers.asked[-1][1] == (first,)
    button(studio, "negative").click().run()
    assert studio.text_area(key="try_it.text").value != first, "every click gives another"
    studio.button(key="try_it.hard").click().run()
    sample = answers.asked[-2][1]
    assert studio.text_area(key="try_it.text").value == min(sample, key=len), "the shortest is the least sure one here"


def test_examples_are_training_rows_only(baseline_run: Callable[[str], Run]) -> None:
    run = baseline_run("tfidf")
    rows = {row["id"]: row for row in tiny.make_rows()}
    train = [rows[name] for name in json.loads((run.path / "splits.json").read_text())["train"]]
    found = examples_of(run)
    assert list(found.by_label) == list(LABELS)
    for label, items in found.by_label.items():
        assert items
        assert set(items) <= {row["text"] for row in train if row["label"] == label}
    assert set(found.sample) <= {row["text"] for row in train}
    assert all(len(text) <= MOST_CHARACTERS for text in found.sample)
    assert examples_of(run) == found


def test_the_hard_example_is_the_one_with_the_lowest_top() -> None:
    tops = [{"probabilities": {"a": top, "b": 1 - top}} for top in (0.9, 0.55, 0.7)]
    assert least_sure([*tops, {"probabilities": {}}]) == 1
    assert least_sure([{"probabilities": {}}]) is None


def test_marked_words_are_text_and_read_without_colour() -> None:
    text = f"good <i>& {HOSTILE} bad"
    spans = [(0, 4, 0.5), (10, 10 + len(HOSTILE), -0.4), (len(text) - 3, len(text), 0.01)]
    given = [{"text": text[begin:end], "start": begin, "end": end, "weight": weight} for begin, end, weight in spans]
    drawn = marked_text(text, given)
    assert not {"<script>", "<i>"} & set(re.findall(r"<\w+>", drawn))
    bare = re.sub(r"<sup[^>]*>.</sup>|<[^>]+>", "", drawn)
    assert html.unescape(bare) == text, "nothing is lost or doubled"
    assert drawn.count("<mark") == 2, "a word that does next to nothing stays unmarked"
    assert drawn.index("solid") < drawn.index("dashed")
    assert (drawn.count(">+<"), drawn.count(">−<")) == (1, 1)
    assert [word["weight"] for word in strongest(given, 2)] == [0.5, -0.4]


def luminance(colour: Sequence[float]) -> float:
    """Relative luminance by WCAG 2."""
    parts = [value / 255 for value in colour]
    red, green, blue = (value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("tint", [FOR, AGAINST])
@pytest.mark.parametrize(("page_colour", "ink"), [((255, 255, 255), (49, 51, 63)), ((14, 17, 23), (250, 250, 250))])
def test_marked_words_keep_their_contrast(tint: tuple[int, ...], page_colour: tuple[int, ...], ink: tuple[int, ...]) -> None:
    behind = [MOST_TINT * one + (1 - MOST_TINT) * other for one, other in zip(tint, page_colour, strict=True)]
    darker, lighter = sorted((luminance(behind), luminance(ink)))
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5
    under, over = sorted((luminance(tint), luminance(page_colour)))
    assert (over + 0.05) / (under + 0.05) >= 3, "the line under a word"


def test_many_labels_are_put_together_and_nothing_is_lost() -> None:
    chances = {f"label {i}": (i + 1) / 55 for i in range(10)}
    most, rest = bars(chances)
    assert [name for name, _ in most] == [f"label {i}" for i in range(9, 9 - (MOST_BARS - 1), -1)]
    assert rest is not None
    assert sum(value for _, value in most) + rest[1] == pytest.approx(1)
    assert bars({"a": 0.4, "b": 0.6}) == ([("b", 0.6), ("a", 0.4)], None)


@pytest.mark.parametrize(
    ("language", "shown"), [("en", "good"), ("zh-Hant", "正面評價"), ("zh-Hans", "正面"), ("unknown", "good")]
)
def test_labels_are_called_by_their_names_in_the_language(language: str, shown: str) -> None:
    display = {"pos": {"en": "good", "zh-TW": "正面評價", "zh": "正面"}}
    assert label_shown(display, "pos", language) == shown
    assert label_shown(display, "other", language) == "other"


def test_a_run_is_calibrated_where_its_calibration_is_of_its_weights(tmp_path: Path) -> None:
    run = finished_run(tmp_path, "a")
    assert not is_calibrated(run)
    entry = {"weights": run.manifest.get("end_weights"), "temperature": 2.0, "threshold": None}
    run.write_json("calibration.json", {"format": 1, "backends": {"torch": entry}})
    assert is_calibrated(run)
    run.write_json("calibration.json", {"format": 1, "backends": {"torch": entry | {"weights": "others"}}})
    assert not is_calibrated(run)


FORMULAS = ["=1+1", "@cmd", "-2+3", "plain", "<b>"]


def test_every_row_of_a_file_comes_back_and_no_cell_is_a_formula(runs: Path, baseline_run: Callable[[str], Run]) -> None:
    (runs / "tfidf").symlink_to(baseline_run("tfidf").path)
    run = find_run("tfidf", runs)
    texts = ["good film", "", 'dull,\n"cold"', "=good", "bad"]
    rows = [{"=id": i, "text": text, "note": note} for i, (text, note) in enumerate(zip(texts, FORMULAS, strict=True))]
    file = tiny.write_csv(runs / "up" / "data.csv", rows)
    assert batch.columns_of(file, run.recipe) == (["=id", "text", "note"], "text")
    assert batch.count_rows(file) == 5
    folder = batch.batch_folder(runs / "batches", run, file, "text", calibrated=False)
    assert folder != batch.batch_folder(runs / "batches", run, file, "note", calibrated=False)
    folder.mkdir(parents=True)
    children.begin(folder, batch.arguments(run, runs, file, "text", folder, calibrated=False))
    wait_for(folder)
    assert children.fault(folder) is None
    found = list(batch.answered(folder))
    assert [(row["text"], row["note"]) for row in found] == [(row["text"], row["note"]) for row in rows]
    assert batch.rows_done(folder) == 5
    assert batch.counts(folder)[""] == 1
    with batch.table(folder).open(encoding="utf-8-sig", newline="") as lines:
        cells = list(csv.reader(lines))
    assert len(cells) == 6
    assert not any(cell.startswith(("=", "@", "-")) for row in cells for cell in row)
    assert [row[2] for row in cells[1:]] == ["'=1+1", "'@cmd", "'-2+3", "plain", "<b>"]
    assert batch.shown_columns(found, "text")[:4] == ["predicted", "probability_negative", "probability_positive", "text"]


def wait_for(folder: Path) -> None:
    """Until the child of a folder has ended."""
    until = time.monotonic() + 60
    while children.is_at_work(folder):
        assert time.monotonic() < until
        time.sleep(0.02)


def script(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let children be a Python script instead of tunebench."""
    monkeypatch.setattr(children, "tunebench", lambda *arguments: (sys.executable, "-c", code, *arguments))


def test_two_clicks_begin_one_child_and_stopping_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, "import time; open('begun', 'a').write('x'); print('going', flush=True); time.sleep(60)")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        children.begin(tmp_path / "job", [])
    until = time.monotonic() + 20
    while not (tmp_path / "begun").is_file() and time.monotonic() < until:
        time.sleep(0.02)
    assert (tmp_path / "begun").read_text() == "x"
    children.stop(tmp_path / "job")
    assert not children.is_at_work(tmp_path / "job")
    assert children.fault(tmp_path / "job") is None


def test_a_child_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, "import sys; sys.exit('error: the disk is full')")
    children.begin(tmp_path, [])
    wait_for(tmp_path)
    assert children.fault(tmp_path) == "the disk is full"
    assert children.words(tmp_path) == ["error: the disk is full"]
