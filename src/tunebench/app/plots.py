"""Figures of the pages, out of plain data. Names are a user's: written as they are, never read as HTML."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tunebench.compare.charts import is_adapter, thinned
from tunebench.compare.contents import Confusion
from tunebench.compare.drawing import look
from tunebench.compare.pareto import frontier
from tunebench.compare.shown import short

Row = dict[str, Any]
CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}
"""Plotly's own bar with its camera, which saves a PNG."""
GREY = "#8a8a8a"
_SYMBOLS = ("circle", "square", "triangle-up", "diamond", "cross", "x", "star", "triangle-down")
_DASHES = ("solid", "dash", "dot", "dashdot")
_MOST_LEGEND = 28


def name_of(text: str, most: int = _MOST_LEGEND) -> str:
    """A name for a figure: short, and with nothing in it that Plotly reads as markup."""
    return html.escape(short(text, most))


def intervals(rows: Sequence[Row], words: Mapping[str, str]) -> go.Figure:
    """The accuracy of every row with its interval, best above."""
    figure = go.Figure()
    for row in rows:
        low, high, value = row["accuracy_low"], row["accuracy_high"], row["accuracy"]
        ends = {} if low is None else {"array": [high - value], "arrayminus": [value - low]}
        error = {"type": "data", "symmetric": False, **ends}
        style = {"color": look(row["place"])["color"], "size": 10, "symbol": _symbol(row)}
        name = name_of(row["run"])
        figure.add_scatter(x=[value], y=[name], error_x=error, mode="markers", marker=style, name=name, showlegend=False)
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(title=words["accuracy"])
    return _laid_out(figure, 90 + 34 * len(rows))


def pareto(rows: Sequence[Row], key: str, words: Mapping[str, str]) -> go.Figure:
    """Accuracy against what a row costs (``key``), with a line along those that no other beats in both."""
    known = [row for row in rows if None not in (row[key], row["accuracy"])]
    figure, points = go.Figure(), [(row[key], row["accuracy"]) for row in known]
    best = frontier(points)
    line = {"color": GREY, "dash": "dash", "shape": "hv", "width": 1}
    figure.add_scatter(x=[x for x, _ in best], y=[y for _, y in best], mode="lines", line=line, name=words["unbeaten"])
    for row in known:
        style = {"color": look(row["place"])["color"], "size": 11, "symbol": _symbol(row)}
        figure.add_scatter(x=[row[key]], y=[row["accuracy"]], mode="markers", marker=style, name=name_of(row["run"]))
    positive = [x for x, _ in points if x > 0]
    if len(positive) == len(points) and positive and max(positive) > 20 * min(positive):
        figure.update_xaxes(type="log")
    figure.update_xaxes(title=words[key], exponentformat="SI")
    figure.update_yaxes(title=words["accuracy"])
    return _laid_out(figure, 380)


def curves(rows: Sequence[Row], words: Mapping[str, str]) -> go.Figure | None:
    """Above the accuracy on validation, below the training loss, over the examples seen; None where nothing took steps."""
    shown = [row for row in rows if any(cell["train"] or cell["validation"] for cell in row["curve"] or [])]
    if not shown:
        return None
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06)
    for row in shown:
        line = {"color": look(row["place"])["color"], "dash": _dash(row), "width": 2}
        common = {
            "line": line,
            "marker": {"symbol": _symbol(row), "size": 7},
            "name": name_of(row["run"]),
            "legendgroup": str(row["place"]),
        }
        for i, cell in enumerate(row["curve"]):
            scored = [(point[1], point[3]["accuracy"]) for point in cell["validation"] if "accuracy" in point[3]]
            losses = thinned([(point[1], point[3]) for point in cell["train"]])
            above, below = ({"x": [x for x, _ in points], "y": [y for _, y in points]} for points in (scored, losses))
            figure.add_scatter(**above, **common, mode="lines+markers", showlegend=False, row=1, col=1)
            figure.add_scatter(**below, **common, mode="lines", showlegend=i == 0, row=2, col=1)
    figure.update_yaxes(title=words["validation"], row=1, col=1)
    figure.update_yaxes(title=words["loss"], rangemode="tozero", row=2, col=1)
    figure.update_xaxes(title=words["examples"], row=2, col=1)
    return _laid_out(figure, 560)


def parameters(rows: Sequence[Row], words: Mapping[str, str], *, log: bool) -> go.Figure | None:
    """Parameters in all and trained on a logarithmic scale; on a linear one those that adapters trained. None without any."""
    counted = [row for row in rows if row["total_parameters"] and (log or is_adapter(row))]
    if not counted:
        return None
    figure, names = go.Figure(), [name_of(row["run"]) for row in counted]
    bars = {"total": "total_parameters"} if log else {}
    for key, column in (bars | {"trained": "trainable_parameters"}).items():
        values = [row[column] for row in counted]
        colours = [look(row["place"])["color"] for row in counted] if key == "trained" else GREY
        shown = [max(value, 1) if log else value for value in values]
        told = [f"{value:,}" for value in values]
        figure.add_bar(
            x=shown,
            y=names,
            orientation="h",
            name=words[key],
            text=told,
            textposition="outside",
            cliponaxis=False,
            marker={"color": colours},
        )
    figure.update_layout(barmode="group", showlegend=log)
    figure.update_yaxes(autorange="reversed", automargin=True)
    most = max(row["total_parameters" if log else "trainable_parameters"] for row in counted)
    beyond = [0, math.log10(most) + 2] if log else [0, 1.3 * most]  # room for the figures behind the bars
    figure.update_xaxes(title=words["parameters"], type="log" if log else "linear", range=beyond, exponentformat="SI")
    return _laid_out(figure, 130 + (56 if log else 36) * len(counted))


def confusion(found: Confusion, words: Mapping[str, str]) -> go.Figure:
    """True labels down, answers across; the darker a cell, the larger its share of the row."""
    names, across = [name_of(label, 20) for label, _ in found.cells], [name_of(label, 20) for label in found.columns]
    numbers = [[number for number, _ in cells] for _, cells in found.cells]
    shares = [[number / max(1, sum(row)) for number in row] for row in numbers]
    figure = go.Figure(
        go.Heatmap(
            z=shares, x=across, y=names, zmin=0, zmax=1, xgap=2, ygap=2, showscale=False,
            colorscale=[[0, "#f4f7fb"], [1, "#7fb0f5"]], textfont={"color": "#1b1b1c"},
            text=[[f"{number:,}" for number in row] for row in numbers], texttemplate="%{text}",
        )
    )  # fmt: skip
    figure.update_xaxes(title=words["answered"], type="category", side="bottom")
    figure.update_yaxes(title=words["gold"], type="category", autorange="reversed", automargin=True)
    return _laid_out(figure, 140 + 46 * len(names))


def _symbol(row: Row) -> str:
    return _SYMBOLS[int(row["place"]) % len(_SYMBOLS)]


def _dash(row: Row) -> str:
    return _DASHES[int(row["place"]) % len(_DASHES)]


def _laid_out(figure: go.Figure, height: int) -> go.Figure:
    legend = {"orientation": "h", "yanchor": "top", "y": -0.18}
    figure.update_layout(height=height, margin={"l": 10, "r": 10, "t": 20, "b": 10}, legend=legend)
    return figure
