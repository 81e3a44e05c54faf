"""Answers of several runs beside each other, and the words that they hang on."""

from __future__ import annotations

from typing import Any

import streamlit as st

from tunebench.app.answers import bars, is_calibrated, label_shown
from tunebench.app.coloured import marked_text, strongest
from tunebench.app.state import asking
from tunebench.app.words import language, plain, say
from tunebench.compare.shown import duration, form_name, milliseconds
from tunebench.data.items import Question
from tunebench.errors import TunebenchError
from tunebench.runs.run import Run

Item = str | Question
_ACROSS = 3


def draw_answers(runs: dict[str, Run], item: Item, *, calibrated: bool) -> None:
    """A card for the answer of every run."""
    found = _answers(runs, item, calibrated=calibrated)
    names = list(runs)
    for begin in range(0, len(names), _ACROSS):
        here = names[begin : begin + _ACROSS]
        for column, name in zip(st.columns(len(here)), here, strict=True):
            with column, st.container(border=True):
                _card(name, runs[name], item, found[name])
    why = st.session_state.get("try_it.why")
    if why is not None and why[0] in runs and why[1] == item:
        _draw_why(why[0], why[1], runs[why[0]])


def _answers(runs: dict[str, Run], item: Item, *, calibrated: bool) -> dict[str, dict[str, Any]]:
    """What each run says, ``{"answer": …}`` with its times, or ``{"error": …}``; asked once for the same item and runs."""
    known = st.session_state.setdefault("try_it.known", {})
    if known.get("of") != (item, calibrated):
        known.clear()
        known |= {"of": (item, calibrated), "found": {}}
    found: dict[str, dict[str, Any]] = known["found"]
    missing = [name for name, run in runs.items() if not _is_answer(found.get(name), run)]
    if missing:
        with st.spinner(say("try_it.asking")):
            for name, answer in _asked({name: runs[name] for name in missing}, item, calibrated=calibrated).items():
                found[name] = answer | {"weights": runs[name].manifest.get("end_weights")}
    return found


def _is_answer(found: dict[str, Any] | None, run: Run) -> bool:
    """Say whether a run has answered with the weights that it has now; one that could not is asked again."""
    return found is not None and "error" not in found and found["weights"] == run.manifest.get("end_weights")


def _asked(runs: dict[str, Run], item: Item, *, calibrated: bool) -> dict[str, dict[str, Any]]:
    if isinstance(item, Question):
        return {name: _chosen(name, item) for name in runs}
    groups = [[name for name, run in runs.items() if (calibrated and is_calibrated(run)) is way] for way in (False, True)]
    found: dict[str, dict[str, Any]] = {}
    for way, names in zip((False, True), groups, strict=True):
        if not names:
            continue
        try:
            told = asking().predict(names, [item], calibrated=way)
        except TunebenchError as error:
            told = [{"error": str(error)} for _ in names]
        for name, one in zip(names, told, strict=True):
            found[name] = one if "error" in one else one | {"answer": one["answers"][0]}
    return found


def _chosen(name: str, item: Question) -> dict[str, Any]:
    try:
        found = asking().choose(name, item.passage, item.question, item.choices)
    except TunebenchError as error:
        return {"error": str(error)}
    display = {str(number): f"{number}: {choice}" for number, choice in enumerate(item.choices, 1)}
    answer = {key: found[key] for key in ("predicted", "probabilities", "truncated", "error")}
    kept = {key: found[key] for key in ("device", "backend", "load_seconds", "seconds")}
    return kept | {"answer": answer | {"display": display}}


def _card(name: str, run: Run, item: Item, found: dict[str, Any]) -> None:
    st.markdown(f"**{plain(name)}**")
    error = found.get("error") or found["answer"]["error"]
    if error:
        st.error(say("try_it.failed", run=plain(name)))
        st.code(error, language=None, wrap_lines=True)
        return
    answer = found["answer"]
    display = answer["display"] | run.manifest["labels"]["display"]
    shown = label_shown(display, answer["predicted"], language())
    st.metric(say("try_it.answer"), plain(shown))
    if answer["probabilities"]:
        st.caption(say("try_it.sure", value=f"{100 * answer['probabilities'][answer['predicted']]:.1f} %"))
        _draw_bars(answer["probabilities"], display)
    else:
        st.caption(say("try_it.no_probabilities"))
    backend = form_name({"method": run.recipe.method.kind}, found["backend"])
    told = {"time": milliseconds(1000 * found["seconds"]), "device": found["device"], "backend": backend}
    load = found["load_seconds"]
    st.caption(say("try_it.speed", **told), help=say("try_it.loaded", time=duration(load)) if load else None)
    if answer["truncated"]:
        st.warning(say("try_it.truncated"), icon=":material/content_cut:")
    if answer.get("abstain"):
        st.warning(say("try_it.abstain"), icon=":material/help:")
    explains = isinstance(item, str) and answer["probabilities"]
    if explains and st.button(say("try_it.why"), key=f"try_it.why.{name}", help=say("try_it.why_help")):
        st.session_state["try_it.why"] = (name, item)


def _draw_bars(probabilities: dict[str, float], display: dict[str, Any]) -> None:
    most, rest = bars(probabilities)
    for label, value in most:
        st.progress(min(1.0, value), text=f"{plain(label_shown(display, label, language()))} · {100 * value:.1f} %")
    if rest is not None:
        number, value = rest
        st.progress(min(1.0, value), text=f"{say('try_it.others', number=number)} · {100 * value:.1f} %")


def _draw_why(name: str, text: str, run: Run) -> None:
    """The text with its words marked, and the strongest of them as a table."""
    known = st.session_state.get("try_it.reasons")
    if known is None or known[0] != (name, text, run.manifest.get("end_weights")):
        try:
            with st.spinner(say("try_it.looking")):
                known = (name, text, run.manifest.get("end_weights")), asking().why(name, text)
        except TunebenchError as error:
            st.error(say("try_it.failed", run=plain(name)))
            st.code(str(error), language=None, wrap_lines=True)
            return
        st.session_state["try_it.reasons"] = known
    reason = known[1]
    label = label_shown(run.manifest["labels"]["display"], reason["predicted"], language())
    with st.container(border=True):
        st.markdown(f"**{plain(name)}** · {say('try_it.why_text', label=plain(label))}")
        words = strongest(reason["words"])
        if not words:
            st.caption(say("try_it.why_none"))
            return
        st.html(marked_text(reason.get("text", text), reason["words"]))
        st.caption(f"{say('try_it.legend_for')} · {say('try_it.legend_against')}")
        if reason["cut"]:
            st.caption(say("try_it.why_cut"))
        rows = [{"word": word["text"], "weight": 100 * word["weight"]} for word in words]
        config = {
            "word": st.column_config.TextColumn(say("try_it.word")),
            "weight": st.column_config.NumberColumn(say("try_it.weight"), format="%+.1f"),
        }
        st.dataframe(rows, column_config=config, width="content", hide_index=True)
