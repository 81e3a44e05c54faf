"""How the page Data draws what was found out about a recipe's data."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from tunebench.app.data_plots import MOST_LABELS, balance_figure, length_figure
from tunebench.app.datasheet import Sheet
from tunebench.app.words import plain, say, translated
from tunebench.data.findings import Findings, Gate, percent

_SHOWN_ROWS = 8


def draw_sheet(sheet: Sheet) -> None:
    """Verdict, figures, tables and a few training rows."""
    found = sheet.findings
    _verdict(found)
    with st.container(horizontal=True, gap="medium"):
        for name in ("train", "validation", "test", "labels"):
            part = found.splits.get(name)
            counted = len(found.splits["train"].labels) if name == "labels" else part and part.rows
            st.metric(say(f"data.{name}"), f"{counted:,}" if counted else say("data.none"), width="content")
    left, right = st.columns(2)
    with left:
        _balance(found)
    with right:
        _lengths(sheet)
    _checks(found)
    _twice(found)
    _rows(sheet)


def _verdict(found: Findings) -> None:
    failed, count = len(found.failed()), len(found.gates)
    if found.refused:
        st.error(say("data.refuses"), icon=":material/error:")
        st.code(
            "\n".join([*found.refused, *(line for file in found.files for line in file.examples)]), language=None, wrap_lines=True
        )
    elif failed:
        st.warning(say("data.failed", failed=failed, count=count), icon=":material/warning:")
    else:
        st.success(say("data.passed", count=count), icon=":material/check_circle:")


def _balance(found: Findings) -> None:
    st.header(say("data.balance"))
    st.plotly_chart(
        balance_figure({name: part.labels for name, part in found.splits.items()}, say("data.balance_axis")),
        key="data.plot.balance",
    )
    count = len(found.splits["train"].labels)
    if count > MOST_LABELS:
        st.caption(say("data.balance_more", shown=MOST_LABELS, count=count))


def _lengths(sheet: Sheet) -> None:
    st.header(say("data.lengths"))
    found, lengths = sheet.findings, sheet.findings.splits["train"].lengths
    limit = found.max_length
    axis, rows = say(f"data.lengths_{found.unit}"), say("data.lengths_rows")
    cut = say("data.lengths_cut", limit=limit)
    st.plotly_chart(length_figure(sheet.lengths, limit, axis, rows, cut), key="data.plot.lengths")
    sizes = {name: f"{value:,}" for name, value in (lengths.quantiles or {}).items()}
    key = "data.lengths_uncut" if limit is None else "data.lengths_note"
    st.caption(say(key, **sizes, cut=percent(lengths.cut_share)))


def _checks(found: Findings) -> None:
    st.header(say("data.checks"))

    def shown(gate: Gate, value: float) -> str:
        return percent(value) if gate.is_share else f"{value:,.0f}"

    rows = [
        {
            say("data.verdict"): say("data.ok" if gate.passed else "data.not_ok"),
            say("data.check"): translated("checks", gate.name),
            say("data.found"): shown(gate, gate.value),
            say("data.most"): shown(gate, gate.limit),
        }
        for gate in sorted(found.gates, key=lambda gate: gate.passed)
    ]
    st.dataframe(rows, hide_index=True)
    remarks = [file.remark for file in found.files if file.remark]
    _listed("data.remedies", [_remedy(gate) for gate in found.failed()])
    _listed("data.warnings", found.warnings)
    _listed("data.notes", [*remarks, *found.notes])


def _remedy(gate: Gate) -> str:
    return say("data.remedy", check=translated("checks", gate.name), remedy=translated("checks", gate.remedy))


def _listed(key: str, lines: Sequence[str]) -> None:
    if lines:
        st.markdown("\n".join([f"**{say(key)}**\n", *(f"- {plain(line)}" for line in lines)]))


def _twice(found: Findings) -> None:
    st.header(say("data.twice"))
    left, right = st.columns(2)
    left.dataframe(
        [
            {
                say("data.split"): name,
                say("data.rows"): part.rows,
                say("data.repeated"): part.repeated,
                say("data.contradictory"): part.contradictory,
            }
            for name, part in found.splits.items()
        ],
        hide_index=True,
    )
    if found.shared:
        right.dataframe(
            [
                {
                    say("data.shared"): say("data.pair", later=item.later, earlier=item.earlier),
                    say("data.exact"): item.exact,
                    say("data.near"): item.near,
                    say("data.share"): percent(item.share),
                }
                for item in found.shared
            ],
            hide_index=True,
        )


@st.fragment
def _rows(sheet: Sheet) -> None:
    st.header(say("data.random"))
    st.caption(say("data.random_note"))
    seed = st.session_state.setdefault("data.drawn", 0)
    named = {name: say(f"data.row_{name}") for name in ("label", "text", "id")}
    rows = sheet.some_rows(_SHOWN_ROWS, seed)
    st.dataframe(
        [{title: getattr(row, key) for key, title in named.items()} for row in rows],
        hide_index=True,
        column_config={
            named["text"]: st.column_config.TextColumn(width="large"),
            named["label"]: st.column_config.TextColumn(width="small"),
        },
    )
    st.button(say("data.others"), icon=":material/casino:", key="data.others", on_click=_draw_others)


def _draw_others() -> None:
    st.session_state["data.drawn"] += 1
