"""The charts of the overview, from plain values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from tunebench.app.parameter_counts import Count
from tunebench.app.plots import name_of
from tunebench.app.standing import Standing
from tunebench.compare.shown import count
from tunebench.recipe.methods import BASELINES

MOST_SHOWN = 20
"""Runs in the chart of accuracies, best first."""
_TUNED, _BASELINE = "#2f74d0", "#b36b00"
"""At least 3 : 1 on white and on the dark theme's background."""
_ROW, _FRAME = 30, 90
"""Pixels: of a bar or mark, and of what is around all of them."""


def accuracies(board: Sequence[Standing], *, tuned: str, baseline: str, axis: str) -> go.Figure:
    """Accuracy and 95 % interval of each run, best on top; baselines are told apart by their mark, not by colour alone."""
    shown = board[:MOST_SHOWN]
    figure = go.Figure()
    for name, symbol, colour, wanted in ((tuned, "circle", _TUNED, False), (baseline, "diamond", _BASELINE, True)):
        part = [one for one in shown if (one.method in BASELINES) == wanted]
        scores = [one.score for one in part]
        figure.add_scatter(
            name=name,
            mode="markers",
            marker={"symbol": symbol, "size": 11, "color": colour},
            x=[score.value for score in scores],
            y=[name_of(score.name) for score in scores],
            error_x={
                "array": [score.high - score.value for score in scores],
                "arrayminus": [score.value - score.low for score in scores],
            },
            hovertemplate="%{y}: %{x:.4f}<extra></extra>",
        )
    order = [name_of(one.run) for one in reversed(shown)]
    figure.update_yaxes(categoryorder="array", categoryarray=order, automargin=True)
    figure.update_xaxes(title=axis, tickformat=".2f")
    return _framed(figure, len(shown))


def trained_weights(counts: Sequence[Count], *, logarithmic: bool, axis: str) -> go.Figure:
    """Weights of each method on one base as bars, the largest on top, each with its figure."""
    shown = sorted(counts, key=lambda one: one.weights)
    figure = go.Figure(
        go.Bar(
            orientation="h",
            x=[one.weights for one in shown],
            y=[name_of(one.case.name) for one in shown],
            marker_color=_TUNED,
            text=[count(one.weights) for one in shown],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:,}<extra></extra>",
        )
    )
    figure.update_xaxes(title=axis, tickformat="~s")
    if logarithmic:
        least, most = (math.log10(one.weights) for one in (shown[0], shown[-1]))
        figure.update_xaxes(type="log", dtick=1, range=[math.floor(least), most + 0.5])
    figure.update_yaxes(automargin=True)
    return _framed(figure, len(shown))


def _framed(figure: go.Figure, rows: int) -> go.Figure:
    margin = {"l": 8, "r": 72, "t": 36, "b": 8}
    legend = {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}
    return figure.update_layout(height=_FRAME + _ROW * max(3, rows), margin=margin, legend=legend, bargap=0.35)
