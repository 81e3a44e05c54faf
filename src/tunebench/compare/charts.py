"""The charts of a report, out of the comparison alone: what accuracy costs, how it was learned, how far it can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from tunebench.compare.drawing import LINE, Chart, chart_name, look, new_figure, settings
from tunebench.compare.pareto import pareto_charts
from tunebench.compare.shown import brief, count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, Any]
MOST_POINTS = 120
"""A line of a chart has no more: more cannot be seen and makes the page heavy."""
_ACROSS = 4
"""Small diagrams beside each other."""
_ADAPTERS_OF_NONE = ("full", "head")


def charts(comparison: dict[str, Any]) -> dict[str, list[Chart]]:
    """The charts for which there are figures, by section: ``pareto``, ``curves``, ``parameters``, ``reliability``, ``length``.

    Raises MissingExtra without matplotlib.
    """
    rows = [{**row, "place": place} for place, row in enumerate(comparison["rows"]) if row["error"] is None]
    with settings():
        found = {
            "pareto": pareto_charts(rows) if len(rows) > 1 else [],
            "curves": [_curves(rows)],
            "parameters": _parameters(rows),
            "reliability": [_reliability(rows)],
            "length": [_by_length(rows)],
        }
    return {section: [chart for chart in drawn if chart is not None] for section, drawn in found.items()}


def thinned(points: Sequence[Any], most: int = MOST_POINTS) -> list[Any]:
    """At most so many of the points, evenly spread, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def _curves(rows: Sequence[Row]) -> Chart | None:
    """Above the score on validation, below the loss, over the training examples seen; one line per cell."""
    shown = [row for row in rows if any(cell["validation"] or cell["train"] for cell in row["curve"] or [])]
    if not shown:
        return None
    metric = _validation_metric(shown)
    figure = new_figure(7.2, 5.6 + _legend_height(shown))
    above, below = figure.subplots(2, 1, sharex=True)
    for row in shown:
        style, name = look(row["place"]), chart_name(row["run"])
        for cell in row["curve"]:
            _line(above, [(point[1], point[3].get(metric)) for point in cell["validation"]], name, style, marked=True)
            losses = [(point[1], point[3]) for point in cell["train"]]
            _line(below, thinned(_smoothed(losses)), name, style, marked=False)
            name = "_"
    above.set_ylabel(f"{_words(metric)} (validation)")
    below.set_ylabel("loss (training)")
    below.set_xlabel("training examples seen")
    below.set_ylim(bottom=0)
    _count_axis(below)
    _legend(figure, above, shown)
    alt = f"Learning curves of {len(shown)} rows over the examples seen: {_words(metric)} on validation, loss in training."
    return Chart("curves", "Score on validation and loss in training", alt, figure)


def _validation_metric(rows: Sequence[Row]) -> str:
    known = [set(point[3]) for row in rows for cell in row["curve"] or [] for point in cell["validation"]]
    return next((name for name in ("accuracy", "f1_macro") if any(name in scores for scores in known)), "loss")


def _smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Every loss as the mean of those around it, a tenth of the curve at most."""
    half = min(10, len(points) // 20)
    sums = [0.0, *accumulate(loss for _, loss in points)]
    ends = [(max(0, i - half), min(len(points), i + half + 1)) for i in range(len(points))]
    return [(x, (sums[end] - sums[begin]) / (end - begin)) for (x, _), (begin, end) in zip(points, ends, strict=True)]


def _line(axes: Axes, points: Sequence[tuple[Any, Any]], name: str, style: dict[str, Any], *, marked: bool) -> None:
    known = [(x, y) for x, y in points if y is not None]
    if known:
        marker = style["marker"] if marked else ""
        lines = axes.plot(*zip(*known, strict=True), color=style["color"], linestyle=style["linestyle"], linewidth=1.3)
        lines[0].set(marker=marker, markersize=3.5, label=name)


def _legend_height(rows: Sequence[Row]) -> float:
    """Inches that the names below a chart take."""
    return 0.2 * -(-len(rows) // 3) if len(rows) > 1 else 0.0


def _legend(figure: Figure, axes: Axes, rows: Sequence[Row]) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415 - costs a second, needed for reports only

    if len(rows) > 1:
        lines = [Line2D([], [], **look(row["place"]), markersize=4, label=chart_name(row["run"])) for row in rows]
        figure.legend(handles=lines, loc="outside lower center", ncols=min(3, len(rows)), fontsize=8)


def _count_axis(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: PLC0415 - costs a second, needed for reports only

    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: brief(value)))


def _words(metric: str) -> str:
    return {"f1_macro": "macro F1"}.get(metric, metric.replace("_", " "))


def _parameters(rows: Sequence[Row]) -> list[Chart | None]:
    counted = [row for row in rows if row["total_parameters"]]
    adapters = [row for row in counted if is_adapter(row)]
    return [
        _bars(
            "parameters-log",
            "Total and trainable parameters, logarithmic",
            counted,
            [("total", "total_parameters", "0.75"), ("trainable", "trainable_parameters", "")],
            log=True,
        ),
        _bars(
            "parameters-linear",
            "Trainable parameters of the adapters, linear",
            adapters if len(adapters) > 1 else [],
            [("trainable", "trainable_parameters", "")],
            log=False,
        ),
    ]


def is_adapter(row: Row) -> bool:
    """Say whether something small was trained beside a base that stayed as it was."""
    return bool(row["method"] not in _ADAPTERS_OF_NONE and 0 < row["trainable_parameters"] < row["total_parameters"])


def _bars(name: str, title: str, rows: Sequence[Row], bars: list[tuple[str, str, str]], *, log: bool) -> Chart | None:
    if not rows:
        return None
    from matplotlib.ticker import FuncFormatter, NullLocator  # noqa: PLC0415 - costs a second, needed for reports only

    figure = new_figure(7.2, 0.8 + 0.2 * len(rows) * len(bars) + 0.12 * len(rows))
    axes, height = figure.subplots(), 0.8 / len(bars)
    most = max(row[key] for row in rows for _, key, _ in bars)
    for turn, (_, key, _) in enumerate(bars):
        places = [i + (turn - (len(bars) - 1) / 2) * height for i in range(len(rows))]
        values = [row[key] for row in rows]
        colours = [look(row["place"])["color"] if key == "trainable_parameters" else LINE for row in rows]
        axes.barh(places, [max(value, 1) if log else value for value in values], height=0.9 * height, color=colours)
        for place, value in zip(places, values, strict=True):
            end = (max(value, 1), place)
            axes.annotate(count(value), end, xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    if log:
        axes.set_xscale("log")
        axes.set_xlim(1, most * 30)
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_xlim(0, most * 1.18)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: brief(value)))
    axes.set_yticks(range(len(rows)), [chart_name(row["run"]) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("parameters" + (": grey all, coloured the ones that were trained" if len(bars) > 1 else " that were trained"))
    listed = "; ".join(f"{chart_name(row['run'])} {count(row['trainable_parameters'])}" for row in rows)
    return Chart(name, title, f"Trained parameters: {listed}.", figure)


def _reliability(rows: Sequence[Row]) -> Chart | None:
    """How often answers of a confidence are right; on the diagonal where the confidence can be believed."""
    shown = [row for row in rows if row["reliability"]]
    if not shown:
        return None
    down = -(-len(shown) // _ACROSS)
    figure = new_figure(7.2, 1.95 * down + 0.35)
    grid = figure.subplots(down, _ACROSS, sharex=True, sharey=True, squeeze=False)
    for axes, row in zip(grid.flat, shown, strict=False):
        bins = [item for item in row["reliability"] if item["n"]]
        most = max(item["n"] for item in bins)
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
        places, right = [item["confidence"] for item in bins], [item["accuracy"] for item in bins]
        axes.plot(places, right, color=look(row["place"])["color"], linewidth=1)
        areas = [6 + 40 * item["n"] / most for item in bins]
        axes.scatter(places, right, s=areas, color=look(row["place"])["color"], linewidths=0)
        axes.set(xlim=(0, 1.03), ylim=(0, 1.03), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        axes.set_title(chart_name(row["run"]), fontsize=7.5)
    for axes in list(grid.flat)[len(shown) :]:
        axes.remove()
    figure.supxlabel("confidence", fontsize=9, x=0.07, ha="left")
    figure.supylabel("accuracy", fontsize=9)
    alt = f"Accuracy against confidence of {len(shown)} rows; larger points hold more answers, on the diagonal both agree."
    return Chart("reliability", "Accuracy by confidence", alt, figure)


def _by_length(rows: Sequence[Row]) -> Chart | None:
    shown = [row for row in rows if row["by_length"]]
    if not shown:
        return None
    figure = new_figure(7.2, 3.4 + _legend_height(shown))
    axes = figure.subplots()
    few = len(shown) <= 4
    for order, row in enumerate(shown):
        bins, style = [item for item in row["by_length"] if item["n"]], look(row["place"])
        beside = (order - (len(shown) - 1) / 2) * (0.08 if few else 0.0)
        places = [i + beside for i in range(len(bins))]
        _line(axes, [(x, item["accuracy"]) for x, item in zip(places, bins, strict=True)], "", style, marked=True)
        for x, item in zip(places, bins, strict=True) if few else ():
            axes.plot([x, x], [item["accuracy_low"], item["accuracy_high"]], color=style["color"], linewidth=1, alpha=0.55)
    bins = [item for item in shown[0]["by_length"] if item["n"]]
    named = [f"{count(item['low'])}–{count(item['high'])}\nn = {count(item['n'])}" for item in bins]
    axes.set_xticks(range(len(bins)), named, fontsize=8)
    axes.set_xlabel("characters of the text, and rows of that length")
    axes.set_ylabel("accuracy (test)")
    _legend(figure, axes, shown)
    alt = f"Accuracy of {len(shown)} rows in {len(bins)} classes of text length" + (" with 95 % intervals." if few else ".")
    return Chart("by-length", "Accuracy by characters of the text", alt, figure)
