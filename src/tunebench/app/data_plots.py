"""Figures about data: how the labels are spread, how long the texts are. Plain values in, Plotly figures out."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from tunebench.compare.shown import short

MOST_LABELS = 20
_BINS = 40
_MARGIN = {"l": 10, "r": 10, "t": 30, "b": 10}


def balance_figure(labels: Mapping[str, Mapping[str, int]], axis: str) -> go.Figure:
    """Shares of the labels in each split; ``labels`` counts rows by split and label. ``axis`` names the shares."""
    names = list(labels["train"])[:MOST_LABELS]
    figure = go.Figure()
    for split, counts in labels.items():
        total = max(1, sum(counts.values()))
        rows = [counts.get(name, 0) for name in names]
        figure.add_bar(
            name=split,
            y=[escaped(name) for name in names],
            x=[100 * count / total for count in rows],
            text=[f"{count:,}" for count in rows],
            textposition="auto",
            textangle=0,
            orientation="h",
            hovertemplate="%{y}: %{text} (%{x:.1f} %)<extra>" + escaped(split) + "</extra>",
        )
    figure.update_layout(
        barmode="group",
        height=120 + 26 * len(names) * len(labels),
        margin=_MARGIN,
        legend={"orientation": "h", "y": 1.1, "yanchor": "bottom"},
    )
    figure.update_xaxes(title=axis, ticksuffix=" %", rangemode="tozero")
    figure.update_yaxes(type="category", autorange="reversed", automargin=True)
    return figure


def length_figure(lengths: Sequence[int], max_length: int | None, axis: str, rows: str, cut: str) -> go.Figure:
    """How many rows have which length; a line at ``max_length``, named ``cut``, behind which they are cut."""
    longest = max([*lengths, max_length or 1])
    figure = go.Figure(
        go.Histogram(x=list(lengths), xbins={"start": 0, "end": longest + 1, "size": max(1, -(-longest // _BINS))})
    )
    if max_length is not None:
        figure.add_vline(
            x=max_length, line_dash="dash", line_color="#d9480f", annotation_text=cut, annotation_position="top left"
        )
    figure.update_layout(height=300, margin=_MARGIN, bargap=0.05, showlegend=False)
    figure.update_xaxes(title=axis, range=[0, 1.05 * longest])
    figure.update_yaxes(title=rows)
    return figure


def escaped(name: str) -> str:
    """A name of the user's in a figure: short, and no markup."""
    return html.escape(short(name), quote=False)
