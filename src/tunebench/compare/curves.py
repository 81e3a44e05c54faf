"""``figures/curves.pdf``: accuracy above (where there is one), loss below, over the steps; drawn from the events alone."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tunebench.errors import MissingExtra
from tunebench.events import Evaluated, Event, Step
from tunebench.runs.cache import write_atomic

SMOOTHING_STEPS = 20


def draw_curves(events: Iterable[Event], path: Path, title: str) -> None:
    """Write the learning curves as PDF: train solid blue, validation dashed orange.

    Train accuracy is that of a fixed sample scored without dropout; train loss is the loss of the batches,
    averaged over a few steps. Raises MissingExtra without matplotlib.
    """
    try:
        from matplotlib.backends.backend_pdf import FigureCanvasPdf  # noqa: PLC0415 - costs a second, needed here only
        from matplotlib.figure import Figure  # noqa: PLC0415 - costs a second, needed for reports only
    except ImportError:
        raise MissingExtra("matplotlib", "train", "drawing learning curves") from None
    said = list(events)
    evaluated = [event for event in said if isinstance(event, Evaluated)]
    shown = ["accuracy", "loss"] if any("accuracy" in event.scores for event in evaluated) or not evaluated else ["loss"]
    figure = Figure(figsize=(7, 3.75 * len(shown)), layout="constrained")
    FigureCanvasPdf(figure)
    axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    below = axes[-1]
    for split, name, style in (("train sample", "train", "-"), ("validation", "validation", "--")) if len(shown) == 2 else ():
        points = [(event.step, event.scores["accuracy"]) for event in evaluated if event.split == split]
        _line(axes[0], points, name, style, marker="o")
    _line(below, _smoothed([(event.step, event.loss) for event in said if isinstance(event, Step)]), "train", "-", marker="")
    _line(
        below,
        [(event.step, event.scores["loss"]) for event in evaluated if event.split == "validation" and "loss" in event.scores],
        "validation",
        "--",
        marker="o",
    )
    best = next((event for event in reversed(evaluated) if event.best), None)
    for axis, label in zip(axes, shown, strict=True):
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        if best is not None:
            axis.axvline(best.step, color="0.6", linewidth=1, linestyle=":", label=f"best (step {best.step})")
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False)
    below.set_xlabel("steps")
    below.set_ylim(bottom=0)
    figure.suptitle(title)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="pdf", metadata={"CreationDate": None})
    write_atomic(path, drawn.getvalue())


def _line(axis: Any, points: Sequence[tuple[float, float]], name: str, style: str, marker: str) -> None:
    if points:
        color = "tab:blue" if name == "train" else "tab:orange"
        steps, values = zip(*points, strict=True)
        axis.plot(steps, values, style, color=color, label=name, marker=marker, markersize=4)


def _smoothed(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """Means of consecutive steps, at most ``SMOOTHING_STEPS`` each, placed at their middle."""
    width = max(1, min(SMOOTHING_STEPS, len(points) // 10))
    blocks = [points[i : i + width] for i in range(0, len(points), width)]
    return [(sum(step for step, _ in block) / len(block), sum(loss for _, loss in block) / len(block)) for block in blocks]
