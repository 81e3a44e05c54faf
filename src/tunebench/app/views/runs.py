"""The shelf: runs found, ordered, compared setting by setting, and each of them looked into and kept in order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from tunebench.app import run_details
from tunebench.app.shelving import ORDERS, Shelved, found, half_written, opened, shelved, tags_of
from tunebench.app.state import run_lines, runs_folder
from tunebench.app.words import plain, say
from tunebench.errors import TunebenchError
from tunebench.runs.shelf import config_diff


def show() -> None:
    """Draw the page."""
    st.title(say("main.runs"))
    run_details.say_what_happened()
    runs = shelved(run_lines())
    if broken := half_written(runs_folder()):
        names = ", ".join(plain(name) for name in broken[:10])
        st.warning(say("runs.half_written", names=names), icon=":material/warning:")
    if not runs:
        st.markdown(say("runs.none"))
        st.page_link("views/overview.py", label=say("runs.to_overview"), icon=":material/home:")
        return
    shown = _sought(runs)
    st.caption(say("runs.counted", shown=len(shown), total=len(runs)))
    if not shown:
        st.markdown(say("runs.none_found"))
        return
    _table(shown)
    chosen = _chosen(shown)
    run_details.show(chosen, tags_of(runs))
    if len(runs) > 1:
        _differences(chosen, runs)


def _sought(runs: Sequence[Shelved]) -> list[Shelved]:
    """The runs that the fields above the table leave, in the order asked for."""
    search, tags, order = st.columns([3, 3, 2])
    text = search.text_input(say("runs.search"), key="runs_search", placeholder=say("runs.search_hint"))
    wanted = tags.multiselect(say("runs.tags"), tags_of(runs), key="runs_tags", placeholder=say("runs.any_tag"))
    orders = {name: say(f"runs.order_{name}") for name in ORDERS}
    by = order.selectbox(say("runs.order"), ORDERS, format_func=orders.__getitem__, key="runs_order")
    return found(runs, text, wanted, by)


def _table(shown: Sequence[Shelved]) -> None:
    st.session_state["runs_shown"] = [run.name for run in shown]
    perplexities = [run.line["perplexity"] for run in shown]
    st.dataframe(
        {
            say("runs.run"): [run.name for run in shown],
            say("runs.status"): [say(f"runs.status_{run.line['status']}") for run in shown],
            say("runs.method"): [run.line["method"] for run in shown],
            say("runs.base"): [run.line["base"] for run in shown],
            say("runs.accuracy"): [run.line["accuracy"] for run in shown],
            **({say("runs.perplexity"): perplexities} if any(value is not None for value in perplexities) else {}),
            say("runs.tags"): [list(run.notes.tags) for run in shown],
            say("runs.changed"): [run.changed for run in shown],
        },
        column_config={
            say("runs.accuracy"): st.column_config.NumberColumn(format="%.4f"),
            say("runs.perplexity"): st.column_config.NumberColumn(format="%.3f", help=say("runs.perplexity_help")),
            say("runs.tags"): st.column_config.ListColumn(),
            say("runs.changed"): st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
        },
        hide_index=True,
        placeholder="–",
        height=min(420, 38 + 35 * len(shown)),
        key="runs_table",
        on_select=_take_row,
        selection_mode="single-row",
        alt=say("runs.table_alt"),
    )


def _take_row() -> None:
    """A row that is clicked is the run that is chosen below."""
    table: Any = st.session_state.get("runs_table")
    rows, names = table.selection.rows, st.session_state.get("runs_shown", [])
    if rows and rows[0] < len(names):
        st.session_state["runs_chosen"] = names[rows[0]]


def _chosen(shown: Sequence[Shelved]) -> Shelved:
    by_name = {run.name: run for run in shown}
    if (renamed := st.session_state.pop("runs_next", None)) in by_name:
        st.session_state["runs_chosen"] = renamed
    if st.session_state.get("runs_chosen") not in by_name:
        st.session_state["runs_chosen"] = next(iter(by_name))
    return by_name[st.selectbox(say("runs.choose"), list(by_name), key="runs_chosen", help=say("runs.choose_help"))]


def _differences(chosen: Shelved, runs: Sequence[Shelved]) -> None:
    """The settings in which another run differs from the chosen one."""
    st.header(say("runs.differences"))
    others = [run.name for run in runs if run.name != chosen.name]
    other = st.selectbox(say("runs.other"), others, index=None, key="runs_other", placeholder=say("runs.choose"))
    if other is None:
        st.caption(say("runs.differences_hint", run=plain(chosen.name)))
        return
    folder: Path = runs_folder()
    pair = opened(chosen.name, folder), opened(other, folder)
    if pair[0] is None or pair[1] is None:
        st.warning(say("runs.gone"))
        return
    try:
        differing = config_diff(pair[0], pair[1])
    except (TunebenchError, OSError) as error:
        st.error(say("runs.unreadable"), icon=":material/error:")
        st.code(str(error), language=None, wrap_lines=True)
        return
    if not differing:
        st.info(say("runs.same_settings"))
        return
    left, right = ([_told(values[side]) for values in differing.values()] for side in (0, 1))
    st.dataframe(
        {"setting": list(differing), "left": left, "right": right},
        column_config={"setting": say("runs.setting"), "left": chosen.name, "right": other},
        hide_index=True,
        alt=say("runs.differences"),
    )


def _told(value: Any) -> str:
    return "–" if value is None else str(value)


if __name__ == "__main__":
    show()
