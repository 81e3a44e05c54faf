"""Learning curves: train solid blue, validation dashed orange, over the steps, as a PDF."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from shelf import finished_run

from tunebench.compare.curves import draw_curves
from tunebench.errors import MissingExtra
from tunebench.events import Evaluated, Event, Started, Step


def lines_of(events: Iterable[Event], path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What is drawn on the axis ``accuracy`` and the axis ``loss``: colour, dash and points of every line."""
    figures = pytest.importorskip("matplotlib.figure")
    made: list[Any] = []
    save = figures.Figure.savefig
    monkeypatch.setattr(figures.Figure, "savefig", lambda self, *args, **kwargs: (made.append(self), save(self, *args, **kwargs)))
    draw_curves(events, path, "a run")
    (figure,) = made
    return {
        axis.get_ylabel(): {
            line.get_label(): (line.get_color(), line.get_linestyle(), list(zip(*line.get_data(), strict=True)))
            for line in axis.get_lines()
        }
        for axis in figure.axes
    }


def test_a_pdf_is_written_below_the_run(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = finished_run(tmp_path)
    path = run.path / "figures" / "curves.pdf"
    draw_curves(run.events(), path, run.name)
    assert path.read_bytes().startswith(b"%PDF-")


def test_the_same_events_give_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    events = list(finished_run(tmp_path).events())
    for name in ("one.pdf", "two.pdf"):
        draw_curves(events, tmp_path / name, "a")
    assert (tmp_path / "one.pdf").read_bytes() == (tmp_path / "two.pdf").read_bytes()


def test_train_is_solid_blue_and_validation_dashed_orange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = lines_of(finished_run(tmp_path).events(), tmp_path / "c.pdf", monkeypatch)
    assert list(drawn) == ["accuracy", "loss"]
    for lines in drawn.values():
        assert lines["train"][:2] == ("tab:blue", "-")
        assert lines["validation"][:2] == ("tab:orange", "--")


def test_the_horizontal_axis_counts_steps_and_the_best_one_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = lines_of(finished_run(tmp_path).events(), tmp_path / "c.pdf", monkeypatch)
    assert drawn["accuracy"]["train"][2] == [(20, 0.7), (40, 0.8)]
    assert drawn["accuracy"]["validation"][2] == [(20, 0.75), (40, 0.7)]
    assert drawn["loss"]["validation"][2] == [(20, 0.6), (40, 0.65)]
    assert {step for step, _ in drawn["loss"]["best (step 20)"][2]} == {20}
    steps = [step for step, _ in drawn["loss"]["train"][2]]
    assert steps == sorted(steps)
    assert 1 <= steps[0] < steps[-1] <= 40


@pytest.mark.parametrize(
    "events",
    [
        [],
        [Started(1, 1, 1, 1)],
        [Step(1, 1.0, 0.5, 1e-3, 1.0, 1, 9, 9, 0.1)],
        [Step(1, 1.0, float("nan"), 1e-3, 1.0, 1, 9, 9, 0.1)],
        [Evaluated(1, "validation", {"accuracy": 1.0, "loss": 0.1}, best=True, seconds=1.0)],
    ],
    ids=["nothing", "no step", "one step", "a loss that is none", "one evaluation"],
)
def test_few_events_give_a_figure_too(events: list[Event], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_curves(events, tmp_path / "c.pdf", "a")
    assert (tmp_path / "c.pdf").is_file()


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.backends.backend_pdf", None)
    with pytest.raises(MissingExtra, match=r"pip install 'tunebench\[train\]'"):
        draw_curves([], tmp_path / "c.pdf", "a")
