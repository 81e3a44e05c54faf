"""What accuracy costs: against trainable parameters, latency and memory, with the rows that no other beats in both."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tunebench.compare.drawing import INK, Chart, chart_name, look, name_points, new_figure
from tunebench.compare.shown import brief, short, size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = dict[str, Any]
SAME = ("torch", "torch-merged")
"""Forms whose answers are proved to be those that were scored on the test split."""
_CROWDED = 24


@dataclass(frozen=True)
class _Point:
    row: Row
    name: str
    cost: float
    accuracy: float
    hollow: bool = False


def pareto_charts(rows: Sequence[Row]) -> list[Chart | None]:
    """Accuracy against trainable parameters, latency and memory."""
    timed = [point for row in rows for point in _timed(row)]
    if len(timed) > _CROWDED:
        timed = [min(points, key=lambda point: point.cost) for row in rows if (points := _timed(row))]
    return [
        _pareto("trainable", "trainable parameters", _measured(rows, "trainable_parameters"), brief),
        _pareto("latency", "median latency of one text (ms)", timed, brief),
        _pareto("memory", "peak memory of the training process", _measured(rows, "peak_memory_bytes"), size),
    ]


def _measured(rows: Sequence[Row], key: str) -> list[_Point]:
    known = [row for row in rows if None not in (row[key], row["accuracy"])]
    return [_Point(row, chart_name(row["run"]), row[key], row["accuracy"]) for row in known]


def _timed(row: Row) -> list[_Point]:
    """The fastest form that answers as the scored one does, and the fastest export, with what it lost on validation."""
    same: list[_Point] = []
    exports: list[_Point] = []
    for name, form in (row["forms"] or {}).items():
        cost, scored, beside = form.get("p50_ms"), form.get("accuracy"), form.get("reference_accuracy")
        if cost is None or row["accuracy"] is None:
            continue
        if name in SAME:
            same.append(_Point(row, chart_name(row["run"]), cost, row["accuracy"]))
        elif scored is not None and beside is not None:
            words = f"{short(row['run'], 22)} {short(name, 16)}"
            exports.append(_Point(row, words, cost, row["accuracy"] + scored - beside, hollow=True))
    return [min(points, key=lambda point: point.cost) for points in (same, exports) if points]


def _pareto(name: str, what: str, points: Sequence[_Point], words: Callable[[float], str]) -> Chart | None:
    if len(points) < 2:
        return None
    figure = new_figure(7.2, 4.4, laid_out=False)
    figure.subplots_adjust(left=0.09, right=0.98, top=0.97, bottom=0.13)
    axes = figure.subplots()
    lines: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for point in points:
        style, low, high = look(point.row["place"]), point.row["accuracy_low"], point.row["accuracy_high"]
        if low is not None and not point.hollow:
            axes.plot([point.cost, point.cost], [low, high], color=style["color"], linewidth=1, alpha=0.55)
            lines.append(((point.cost, low), (point.cost, high)))
        fill = "none" if point.hollow else style["color"]
        marks = axes.plot([point.cost], [point.accuracy], color=style["color"], marker=style["marker"], linestyle="")
        marks[0].set(markersize=6, markerfacecolor=fill)
    best = frontier([(point.cost, point.accuracy) for point in points])
    axes.step(*zip(*best, strict=True), where="post", color=INK, linewidth=0.9, linestyle="--", alpha=0.6, zorder=0)
    lines += [(one, (other[0], one[1])) for one, other in pairwise(best)]
    _log_axis(axes, [point.cost for point in points], words)
    axes.margins(x=0.08, y=0.12)
    axes.set_xlabel(what)
    axes.set_ylabel("accuracy (test)")
    name_points(axes, [(point.cost, point.accuracy) for point in points], [point.name for point in points], lines)
    unbeaten = ", ".join(point.name for point in points if (point.cost, point.accuracy) in best)
    alt = f"Accuracy against {what} at {len(points)} points; none is better in both than {unbeaten}."
    return Chart(f"pareto-{name}", f"Accuracy against {what}", alt, figure)


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (cost, gain) those that no other beats in both, by rising cost."""
    found: list[tuple[float, float]] = []
    for cost, gain in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not found or gain > found[-1][1]:
            found.append((cost, gain))
    return found


def _log_axis(axes: Axes, values: Sequence[float], words: Callable[[float], str]) -> None:
    """A logarithmic axis, linear below the smallest figure where some are 0; ticks in words."""
    from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator  # noqa: PLC0415 - costs a second, needed for reports only

    positive = [value for value in values if value > 0]
    if not positive:
        return
    if len(positive) < len(values):
        axes.set_xscale("symlog", linthresh=10 ** math.floor(math.log10(min(positive))), linscale=0.7)
    elif max(positive) > 20 * min(positive):
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if axes.get_xscale() == "symlog":
        axes.xaxis.set_minor_locator(NullLocator())
