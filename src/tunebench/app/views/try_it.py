"""Ask finished runs: one text or question, several runs side by side, why, and whole files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from tunebench.app.answers import is_calibrated, label_shown
from tunebench.app.answers_drawn import draw_answers
from tunebench.app.batch_drawn import draw_batch
from tunebench.app.examples import SAMPLE, Examples, examples_of, least_sure
from tunebench.app.refusal import tell_vanished
from tunebench.app.state import asking, finished_runs, run_lines, runs_folder
from tunebench.app.words import language, plain, say
from tunebench.data.items import Item, Question
from tunebench.data.labels import LabelMap
from tunebench.errors import TunebenchError
from tunebench.runs.index import find_run
from tunebench.runs.run import Run

CHOSEN = "try_it.runs"
_MOST_RUNS = 6


def show() -> None:
    """Draw the page."""
    st.title(say("main.try_it"))
    _take_what_waits()
    names = _choose_runs()
    if names is None:
        st.info(say("try_it.none"), icon=":material/model_training:")
        st.page_link("views/training.py", label=say("try_it.to_training"), icon=":material/arrow_forward:")
        return
    one, file = st.tabs([say("try_it.tab_text"), say("try_it.tab_file")])
    runs = {name: run for name in names if (run := _open(name)) is not None}
    with one:
        if not runs:
            st.info(say("try_it.choose_runs"))
        elif len({run.recipe.task == "multiple-choice" for run in runs.values()}) > 1:
            st.warning(say("try_it.mixed"))
        else:
            _one_item(runs)
    with file:
        if runs:
            draw_batch(runs)
        else:
            st.info(say("try_it.choose_runs"))


def _choose_runs() -> list[str] | None:
    """The runs to ask, the newest finished one where nobody has chosen; None where no run can be asked."""
    lines = {line["run"]: line for line in run_lines()}
    known = [name for name in finished_runs() if lines[name].get("perplexity") is None]
    vanished = tell_vanished(st.session_state.get(CHOSEN, []), known)
    if not known:
        return None
    kept = [name for name in st.session_state.get(CHOSEN, []) if name in known]
    if kept or vanished or CHOSEN not in st.session_state:
        st.session_state[CHOSEN] = (kept or known[:1])[:_MOST_RUNS]

    def told(name: str) -> str:  # the same in every language, or a change of language would lose what was chosen
        line = lines[name]
        return " · ".join([name, line["method"], *([] if line["accuracy"] is None else [f"{line['accuracy']:.4f}"])])

    chosen: list[str] = st.multiselect(
        say("try_it.runs"), known, key=CHOSEN, format_func=told, max_selections=_MOST_RUNS, help=say("try_it.intro")
    )
    return chosen


def _open(name: str) -> Run | None:
    """A run whose recipe and labels can be read; otherwise a word about it."""
    try:
        run = find_run(name, runs_folder())
        _ = run.recipe, run.manifest["labels"]
    except (TunebenchError, OSError) as error:
        st.warning(say("try_it.unreadable", run=plain(name)))
        st.code(str(error), language=None, wrap_lines=True)
        return None
    return run


def _one_item(runs: dict[str, Run]) -> None:
    """Examples, a field for the text or the question, and what the runs answer."""
    asking().start()
    above = st.container()
    first = next(iter(runs.values()))
    asks = first.recipe.task == "multiple-choice"
    item = _question(first) if asks else _text()
    if item is not None:
        st.session_state["try_it.item"] = item
    asked = st.session_state.get("try_it.item")
    calibrated = not asks and any(is_calibrated(run) for run in runs.values())
    use = calibrated and st.toggle(say("try_it.calibrated"), key="try_it.calibrated", help=say("try_it.calibrated_help"))
    if asked is not None and isinstance(asked, Question) == asks:
        draw_answers(runs, asked, calibrated=use)
    with above:  # drawn last: a large training file takes a moment, which nobody waits for
        _draw_examples(*next(iter(runs.items())))


def _text() -> str | None:
    """The text that was just asked for; None where nothing was."""
    with st.form("try_it.form", border=False):
        text = st.text_area(say("try_it.text"), key="try_it.text", placeholder=say("try_it.text_hint"), height=130)
        sent = st.form_submit_button(say("try_it.ask"), type="primary", key="try_it.ask")
    if sent and not text.strip():
        st.session_state.pop("try_it.item", None)
        st.warning(say("try_it.empty"))
    return text if sent and text.strip() else None


def _question(run: Run) -> Question | None:
    """The question that was just asked; None where none was."""
    names = LabelMap.from_dict(run.manifest["labels"]).names
    with st.form("try_it.form", border=False):
        passage = st.text_area(say("try_it.passage"), key="try_it.passage", height=110)
        question = st.text_input(say("try_it.question"), key="try_it.question")
        choices = [
            st.text_input(say("try_it.choice", label=plain(name)), key=f"try_it.choice.{i}") for i, name in enumerate(names)
        ]
        sent = st.form_submit_button(say("try_it.ask_question"), type="primary", key="try_it.ask")
    complete = bool(question.strip()) and all(choice.strip() for choice in choices)
    if sent and not complete:
        st.session_state.pop("try_it.item", None)
        st.warning(say("try_it.empty_question"))
    return Question(passage, question, tuple(choices)) if sent and complete else None


def _draw_examples(name: str, run: Run) -> None:
    """Buttons that take a training row of each label, and one that the run is unsure of."""
    try:
        with st.spinner(say("try_it.reading")):
            found = _examples(str(run.path.resolve()), (run.path / "manifest.json").stat().st_mtime_ns)
    except (TunebenchError, OSError) as error:
        st.caption(say("try_it.no_examples"), help=plain(error))
        return
    if not found.sample:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(say("try_it.examples"), width="content")
        if run.recipe.task == "multiple-choice":
            if st.button(say("try_it.example_any"), key="try_it.example"):
                _take(found.sample, "any")
            return
        for i, (label, items) in enumerate(found.by_label.items()):
            shown = label_shown(run.manifest["labels"]["display"], label, language())
            if st.button(plain(shown), key=f"try_it.example.{i}"):
                _take(items, label)
        told = say("try_it.hard_help", number=min(SAMPLE, len(found.sample)), run=plain(name))
        if st.button(say("try_it.hard"), key="try_it.hard", help=told):
            _take_hard(name, found)


@st.cache_data(max_entries=50, show_spinner=False)
def _examples(path: str, changed: int) -> Examples:
    return examples_of(Run(Path(path)))


def _take_hard(name: str, found: Examples) -> None:
    texts = [item for item in found.sample if isinstance(item, str)]
    try:
        with st.spinner(say("try_it.asking")):
            (told,) = asking().predict([name], texts)
    except TunebenchError as error:
        told = {"error": str(error)}
    if "error" in told:
        st.error(say("try_it.failed", run=plain(name)))
        st.code(told["error"], language=None, wrap_lines=True)
        return
    place = least_sure(told["answers"])
    _take([texts[place or 0]], "hard")


def _take(items: list[Any], kind: str) -> None:
    """Ask one of the items, at each click the next."""
    turns = st.session_state.setdefault("try_it.turns", {})
    turn = turns[kind] = turns.get(kind, -1) + 1
    st.session_state["try_it.next"] = items[turn % len(items)]
    st.rerun()


def _take_what_waits() -> None:
    """Write an example that was clicked into the fields, which only what runs before them can do."""
    item: Item | None = st.session_state.pop("try_it.next", None)
    if item is None:
        return
    st.session_state["try_it.item"] = item
    if isinstance(item, Question):
        st.session_state["try_it.passage"], st.session_state["try_it.question"] = item.passage, item.question
        for i, choice in enumerate(item.choices):
            st.session_state[f"try_it.choice.{i}"] = choice
    else:
        st.session_state["try_it.text"] = item


if __name__ == "__main__":
    show()
