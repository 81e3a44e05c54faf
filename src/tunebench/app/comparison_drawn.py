"""A comparison on a page: table, statements, which one to take, figures, rows to read, downloads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from tunebench.app import comparisons, plots
from tunebench.app.words import plain, say
from tunebench.compare.contents import confusion_of, placed
from tunebench.compare.shown import count
from tunebench.compare.shown import figure as figure_text
from tunebench.compare.statements import BOOTSTRAP

_MISTAKES = ("all_wrong", "disagree", "confident")
_COSTS = ("trainable_parameters", "latency_ms", "peak_memory_bytes", "train_seconds")
_RULES = 5
_FILES = (
    (comparisons.TABLE, "text/csv", ":material/table_view:"),
    (comparisons.REPORT, "text/html", ":material/web:"),
    (comparisons.PAPER, "application/pdf", ":material/picture_as_pdf:"),
)

Comparison = dict[str, Any]


def draw_comparison(found: Comparison, folder: Path, choose: Callable[[], Comparison | None]) -> None:
    """All of a comparison; ``choose`` draws the limits and gives the verdict under them."""
    rows = [row | {"latency_ms": comparisons.latency(row)} for row in placed(found) if row["error"] is None]
    st.header(say("compare.take_heading"), anchor=False)
    verdict = choose()
    if verdict is not None:
        _draw_verdict(verdict)
    st.header(say("compare.table"), anchor=False)
    st.caption(say("compare.table_note", rows=count(found["test"]["rows"])))
    _draw_table(found, rows)
    _draw_downloads(folder)
    st.header(say("compare.differences"), anchor=False)
    _draw_statements(found)
    st.header(say("compare.figures"), anchor=False)
    _draw_figures(rows)
    st.header(say("compare.errors"), anchor=False)
    _draw_confusion(found, rows)
    _draw_mistakes(found)


def _draw_verdict(verdict: Comparison) -> None:
    if verdict["take"] is None:
        st.warning(say("compare.take_none"))
    else:
        form = "" if verdict["backend"] in (None, "torch") else f" ({plain(verdict['backend'])})"
        st.success(say("compare.take", name=plain(verdict["take"]) + form), icon=":material/check_circle:")
        st.markdown(_why(verdict))
    with st.expander(say("compare.rules")):
        for number in range(1, _RULES + 1):
            st.markdown(f"{number}. {say(f'compare.rule_{number}')}")
    if verdict["refused"]:
        with st.expander(say("compare.left_out", number=len(verdict["refused"]))):
            rows = [{"run": one["run"], "form": one["backend"] or "", "reason": one["reason"]} for one in verdict["refused"]]
            config = {key: say(f"compare.{key}") for key in ("run", "form", "reason")}
            st.dataframe(rows, column_config=config, hide_index=True)


def _why(verdict: Comparison) -> str:
    """Why this one, in a sentence or two."""
    if verdict["take"] == verdict["leader"]:
        told = say("compare.why_best", accuracy=plain(figure_text(verdict["accuracy"])))
    else:
        figures = comparisons.figures_of(verdict["against"])
        told = say("compare.why_as_good", leader=plain(verdict["leader"]), points=plain(figures["points"]), p=plain(figures["p"]))
    return f"{told} {say('compare.why_baseline')}" if verdict["is_baseline"] else told


def _draw_table(found: Comparison, rows: list[Comparison]) -> None:
    text, number = st.column_config.TextColumn, st.column_config.NumberColumn
    columns: dict[str, Any] = {
        "run": text(say("compare.run"), pinned=True),
        "method": text(say("compare.method")),
        "base": text(say("compare.base")),
        "accuracy": number(say("compare.accuracy"), format="%.4f"),
        "accuracy_interval": text(say("compare.interval")),
        "f1_macro": number(say("compare.f1_macro"), format="%.4f"),
        "f1_interval": text(say("compare.interval")),
        "ece": number(say("compare.ece"), format="%.3f", help=say("compare.ece_help")),
        "trainable": number(say("compare.trainable"), format="localized"),
        "percent": number(say("compare.percent"), format="%.2f %%"),
        "saved": text(say("compare.saved")),
        "time": text(say("compare.time")),
        "memory": text(say("compare.memory")),
        "latency": text(say("compare.latency"), help=say("compare.latency_help")),
        "seeds": number(say("compare.seeds")),
    }
    st.dataframe(comparisons.table(found), column_config=columns, column_order=list(columns), hide_index=True)
    figure = plots.intervals(rows, {"accuracy": say("compare.accuracy_interval")})
    st.plotly_chart(figure, config=plots.CONFIG, key="compare.intervals", alt=say("compare.intervals_alt"))


def _draw_downloads(folder: Path) -> None:
    with st.container(horizontal=True):
        for name, kind, icon in _FILES:
            path = folder / name
            if path.is_file():
                ending = path.suffix.removeprefix(".").upper()
                label = say("compare.download", format=ending)
                st.download_button(label, path.read_bytes, name, kind, icon=icon, key=f"compare.{ending}", on_click="ignore")


def _draw_statements(found: Comparison) -> None:
    made = found["statements"]
    for statement in made:
        key = "compare.beats" if statement["distinguishable"] else "compare.even"
        names = {side: f"**{plain(statement[side])}**" for side in ("better", "worse")}
        figures = {name: plain(figure) for name, figure in comparisons.figures_of(statement).items()}
        st.markdown("- " + say(key, **names, **figures))
    if made:
        test = "compare.bootstrap" if made[0]["test"] == BOOTSTRAP else "compare.mcnemar"
        st.caption(f"{say(test)} {say('compare.holm', number=len(made)) if len(made) > 1 else say('compare.alone')}")


def _draw_figures(rows: list[Comparison]) -> None:
    pareto, curves, parameters = st.tabs([say(f"compare.{name}") for name in ("pareto", "curves", "parameters")])
    words = {key: say(f"compare.axis_{key}") for key in (*_COSTS, "accuracy", "unbeaten")}
    with pareto:
        costs = [key for key in _COSTS if sum(row[key] is not None for row in rows) > 1]
        cost = st.segmented_control(
            say("compare.cost"), costs, default=_COSTS[0], required=True, key="compare.cost", format_func=words.__getitem__
        )
        figure = plots.pareto(rows, cost, words)
        st.plotly_chart(figure, config=plots.CONFIG, key="compare.pareto_figure", alt=say("compare.pareto_alt"))
    with curves:
        told = {key: say(f"compare.axis_{key}") for key in ("validation", "loss", "examples")}
        drawn = plots.curves(rows, told)
        if drawn is None:
            st.caption(say("compare.no_curves"))
        else:
            st.plotly_chart(drawn, config=plots.CONFIG, key="compare.curves_figure", alt=say("compare.curves_alt"))
    with parameters:
        _draw_parameters(rows)


def _draw_parameters(rows: list[Comparison]) -> None:
    words = {key: say(f"compare.axis_{key}") for key in ("parameters", "total", "trained")}
    scales = {True: "log", False: "linear"}
    for log, name in scales.items():
        figure = plots.parameters(rows, words, log=log)
        st.subheader(say(f"compare.{name}"), anchor=False)
        if figure is None:
            st.caption(say("compare.no_parameters"))
        else:
            st.plotly_chart(figure, config=plots.CONFIG, key=f"compare.{name}_figure", alt=say(f"compare.{name}"))


def _draw_confusion(found: Comparison, rows: list[Comparison]) -> None:
    named = {row["run"]: row for row in rows if row["confusion"]}
    if not named:
        return
    st.subheader(say("compare.confusion"), anchor=False)
    name = st.selectbox(say("compare.run"), list(named), key="compare.confusion_run")
    seen = confusion_of(named[name], found["test"]["labels"])
    if seen is None:
        return
    if seen.cells:
        words = {key: say(f"compare.axis_{key}") for key in ("answered", "gold")}
        figure = plots.confusion(seen, words)
        st.plotly_chart(figure, config=plots.CONFIG, key="compare.confusion_figure", alt=say("compare.confusion"))
        return
    st.caption(say("compare.worst_confusions"))
    worst = [{"gold": gold, "answered": answered, "number": number} for gold, answered, number in seen.worst]
    config = {"gold": say("compare.axis_gold"), "answered": say("compare.axis_answered"), "number": say("compare.number")}
    st.dataframe(worst, column_config=config, hide_index=True)


def _draw_mistakes(found: Comparison) -> None:
    """Test rows, only for those who ask for them."""
    st.subheader(say("compare.mistakes"), anchor=False)
    st.caption(say("compare.sealed", looks=comparisons.looks(found)))
    if not st.toggle(say("compare.reveal"), key="compare.reveal"):
        return
    kind = st.segmented_control(
        say("compare.kind"),
        _MISTAKES,
        default=_MISTAKES[0],
        required=True,
        key="compare.kind",
        format_func=lambda one: f"{say(f'compare.{one}')} ({count(found['browser'][f'{one}_total'])})",
    )
    rows = comparisons.mistakes(found, kind)
    if not rows:
        st.caption(say("compare.no_such_rows"))
        return
    st.caption(say("compare.shown_rows", shown=count(len(rows)), total=count(found["browser"][f"{kind}_total"])))
    config = {
        "row": st.column_config.TextColumn(say("compare.row"), width="small"),
        "text": st.column_config.TextColumn(say("compare.text"), width="large"),
        "gold": st.column_config.TextColumn(say("compare.axis_gold")),
    }
    st.dataframe(rows, column_config=config, hide_index=True, row_height=52)
