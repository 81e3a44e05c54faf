"""Progress as a person sees it: one line that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io

import pytest

from tunebench.events import Started, Step
from tunebench.terminal import Progress, clock

STEP = Step(step=3, epoch=0.3, loss=0.7, learning_rate=1e-4, grad_norm=1.0, rows=16, tokens=400, padded_tokens=420, seconds=6.0)


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_moving_line_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    screen = Screen()
    Progress(1, screen)(STEP)
    assert screen.getvalue().startswith("\rstep 3/")
    assert len(screen.getvalue().removeprefix("\r")) < 40


def test_elsewhere_every_nth_step_is_a_line_with_an_eta() -> None:
    file = io.StringIO()
    progress = Progress(3, file)
    progress(Started(total_steps=30, train_rows=48, trainable_parameters=1, total_parameters=4))
    progress(STEP)
    lines = file.getvalue().splitlines()
    assert lines[0] == "48 training rows, 30 steps; trainable parameters 1 of 4 (25.00 %)"
    assert lines[1].endswith("ETA 54 s")


@pytest.mark.parametrize(("seconds", "text"), [(12.4, "12 s"), (185, "3:05"), (3725, "1:02:05")])
def test_seconds_read_as_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
