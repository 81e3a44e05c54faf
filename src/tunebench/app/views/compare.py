"""Compare finished runs on the same test rows: one table, paired tests, which one to take, and the rows to read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import streamlit as st

from tunebench.app import children, comparisons
from tunebench.app.comparison_drawn import draw_comparison
from tunebench.app.refusal import tell_vanished
from tunebench.app.state import finished_runs, own_folder, run_lines, runs_folder
from tunebench.app.words import say
from tunebench.compare.choice import Limits
from tunebench.errors import TunebenchError

CHOSEN = "compare.runs"
FEWEST, MOST = 2, 24


def show() -> None:
    """Draw the page."""
    st.title(say("main.compare"))
    names = _choose_runs()
    if names is None:
        st.info(say("compare.too_few_there"), icon=":material/model_training:")
        st.page_link("views/training.py", label=say("compare.to_training"), icon=":material/arrow_forward:")
        return
    if len(names) < FEWEST:
        st.info(say("compare.choose_two"), icon=":material/balance:")
        return
    try:
        plain_folder = _folder(names, Limits())
        found = comparisons.read(plain_folder)
    except (TunebenchError, OSError) as error:
        _refused("compare.unreadable", str(error))
        found, plain_folder = None, None
    if plain_folder is not None and not _is_under_way(plain_folder):
        if found is None:
            _offer(names, plain_folder)
        else:
            draw_comparison(found, plain_folder, lambda: _choose(names, found))


def _choose_runs() -> list[str] | None:
    """The runs to compare; None where fewer than two can be."""
    lines = {line["run"]: line for line in run_lines()}
    known = [name for name in finished_runs() if lines[name]["accuracy"] is not None]
    tell_vanished(st.session_state.get(CHOSEN, []), known)
    if len(known) < FEWEST:
        return None
    st.session_state[CHOSEN] = [name for name in st.session_state.get(CHOSEN, []) if name in known]

    def told(name: str) -> str:
        return f"{name} · {lines[name]['method']} · {lines[name]['accuracy']:.4f}"

    chosen: list[str] = st.multiselect(
        say("compare.runs"), known, key=CHOSEN, format_func=told, max_selections=MOST, help=say("compare.runs_help")
    )
    return chosen


def _folder(names: list[str], limits: Limits) -> Path:
    return comparisons.folder_of(names, runs_folder(), own_folder("comparisons"), limits)


def _offer(names: list[str], folder: Path) -> None:
    """The button that compares, with what it means; what went wrong before, in words."""
    if (told := children.fault(folder)) is not None:
        _refused("compare.refused", told)
    st.caption(say("compare.look_ahead"))
    if st.button(say("compare.start"), type="primary", key="compare.start"):
        _begin(names, folder, Limits())


def _begin(names: list[str], folder: Path, limits: Limits) -> None:
    try:
        children.begin(folder, comparisons.arguments(names, runs_folder(), folder, limits))
    except (TunebenchError, OSError) as error:
        _refused("compare.refused", str(error))
        return
    st.rerun()


def _is_under_way(folder: Path) -> bool:
    if not children.is_at_work(folder):
        return False
    _watch(folder)
    return True


@st.fragment(run_every=0.7)
def _watch(folder: Path) -> None:
    """What the comparing says, until it has ended."""
    if not children.is_at_work(folder):
        st.rerun()
    lines = children.words(folder)
    with st.status(say("compare.working"), state="running", expanded=bool(lines)):
        if lines:
            st.code("\n".join(lines), language=None, wrap_lines=True)


def _choose(names: list[str], found: dict[str, Any]) -> dict[str, Any] | None:
    """The verdict under the limits that are set; what it lacks can be tested on a click, which is a look of its own."""
    limits = _limits()
    told = comparisons.verdict(found, limits)
    if told is not None:
        return told
    folder = _folder(names, limits)
    if _is_under_way(folder):
        return None
    try:
        if (again := comparisons.read(folder)) is not None:
            return comparisons.verdict(again, limits)
    except TunebenchError as error:
        _refused("compare.unreadable", str(error))
    if (fault := children.fault(folder)) is not None:
        _refused("compare.refused", fault)
    st.caption(say("compare.needs_tests"))
    if st.button(say("compare.again"), key="compare.again"):
        _begin(names, folder, limits)
    return None


def _limits() -> Limits:
    """The limits on what is to be taken, as set; without any, everything may be taken."""
    with st.expander(say("compare.limits")):
        accuracy, latency, memory, gpu = st.columns(4, vertical_alignment="bottom")
        least = accuracy.number_input(say("compare.min_accuracy"), 0.0, 1.0, None, 0.01, key="compare.min_accuracy")
        slowest = latency.number_input(say("compare.max_latency"), 0.01, None, None, 5.0, key="compare.max_latency")
        largest = memory.number_input(say("compare.max_memory"), 1, None, None, 100, key="compare.max_memory")
        no_gpu = gpu.checkbox(say("compare.no_gpu"), key="compare.no_gpu")
        limits = Limits(least, slowest, None if largest is None else largest * 1e6, no_gpu=no_gpu)
        if any(asdict(limits).values()):
            st.caption(say("compare.limits_note"))
    return limits


def _refused(key: str, told: str) -> None:
    st.error(say(key))
    st.code(plain_lines(told), language=None, wrap_lines=True)


def plain_lines(told: str) -> str:
    """Faults that stand in one line, each on its own."""
    return told.replace("; - ", "\n- ")


if __name__ == "__main__":
    show()
