"""Curves of a run at work. Plain values in, Plotly figures out; colours are those of the page's theme."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from tunebench.app.live import Live, smoothed, thinned

_MARGIN = {"l": 10, "r": 10, "t": 36, "b": 10}
_SCORES = ("accuracy", "f1_macro", "f1")


def loss_figure(live: Live, said: Mapping[str, str]) -> go.Figure:
    """Training loss, smoothed and as it came, and the validation loss. ``said`` names ``step``, ``loss`` and the curves."""
    steps = thinned(live.steps)
    at, losses = [step.step for step in steps], [step.loss for step in steps]
    figure = go.Figure()
    figure.add_scatter(x=at, y=smoothed(losses), mode="lines", name=said["train"], line={"width": 2})
    figure.add_scatter(x=at, y=losses, mode="lines", name=said["raw"], line={"width": 1, "color": "gray"}, opacity=0.5)
    known = [item for item in live.evaluations if "loss" in item.scores]
    figure.add_scatter(
        x=[item.step for item in known],
        y=[item.scores["loss"] for item in known],
        mode="lines+markers",
        name=said["validation"],
        line={"width": 2, "dash": "dot"},
        marker={"size": 8, "symbol": "diamond"},
    )
    return _dressed(figure, said["step"], said["loss"], 320)


def score_figure(live: Live, said: Mapping[str, str]) -> go.Figure:
    """Scores on the validation rows over the steps; the best checkpoints are starred."""
    figure = go.Figure()
    for name in _SCORES:
        known = [item for item in live.evaluations if name in item.scores]
        if known:
            figure.add_scatter(
                x=[item.step for item in known],
                y=[item.scores[name] for item in known],
                mode="lines+markers",
                name=name,
                marker={
                    "size": [12 if item.best else 7 for item in known],
                    "symbol": ["star" if item.best else "circle" for item in known],
                },
            )
    return _dressed(figure, said["step"], said["score"], 320)


def step_figure(live: Live, value: str, said: Mapping[str, str]) -> go.Figure:
    """One value of every step, such as ``grad_norm`` or ``learning_rate``."""
    steps = thinned(live.steps)
    figure = go.Figure()
    figure.add_scatter(x=[step.step for step in steps], y=[getattr(step, value) for step in steps], mode="lines", name=value)
    figure.update_yaxes(rangemode="tozero", exponentformat="power")
    return _dressed(figure, said["step"], said[value], 220, legend=False)


def _dressed(figure: go.Figure, x: str, y: str, height: int, *, legend: bool = True) -> go.Figure:
    figure.update_layout(
        height=height,
        margin=_MARGIN,
        showlegend=legend,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hovermode="x unified",
        uirevision="kept",
    )
    figure.update_xaxes(title=x, rangemode="tozero")
    figure.update_yaxes(title=y)
    return figure
