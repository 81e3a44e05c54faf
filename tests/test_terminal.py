"""Progress as a person sees it: one line that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import dataclasses
import io

import pytest

from tunebench.events import Noted, Started, Step
from tunebench.terminal import Progress, clock, language, runs_text

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


def test_what_the_user_can_make_use_of_is_a_line_without_alarm() -> None:
    file = io.StringIO()
    Progress(1, file)(Noted("wandb: send the run with `wandb sync a`"))
    assert file.getvalue() == "wandb: send the run with `wandb sync a`\n"


@pytest.mark.parametrize(
    ("device", "seconds_a_step", "lines"), [("cpu", 60, 1), ("cpu", 1, 0), ("cuda", 60, 0)], ids=["long", "short", "gpu"]
)
def test_of_a_long_training_on_the_cpu_it_is_said_once_what_makes_it_faster(device: str, seconds_a_step: int, lines: int) -> None:
    file = io.StringIO()
    progress = Progress(1, file)
    progress(Started(100, 48, 1, 4, device=device))
    for step in range(1, 30):
        progress(dataclasses.replace(STEP, step=step, seconds=step * seconds_a_step))
    said = [line for line in file.getvalue().splitlines() if "faster: data.max_train_samples" in line]
    assert len(said) == lines
    assert all(line.startswith("this takes about 1:30:00 on the CPU") for line in said)


@pytest.mark.parametrize(("seconds", "text"), [(12.4, "12 s"), (185, "3:05"), (3725, "1:02:05")])
def test_seconds_read_as_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("said", "tag"),
    [
        ({}, None),
        ({"LANG": "de_AT.UTF-8"}, "de-AT"),
        ({"LANG": "de_DE.UTF-8", "LC_MESSAGES": "zh_TW"}, "zh-TW"),
        ({"LANG": "de", "LC_MESSAGES": "fr", "LC_ALL": "ca_ES@valencia"}, "ca-ES"),
        ({"LANG": "de", "LC_ALL": ""}, "de"),
        ({"LANG": "de", "LC_ALL": "C.UTF-8"}, None),
        ({"LANG": "POSIX"}, None),
    ],
)
def test_the_language_is_that_of_the_environment(said: dict[str, str], tag: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert language() == tag


def test_a_list_of_runs_shows_perplexities_only_where_there_are_some() -> None:
    line = {"run": "a", "status": "finished", "base": "b", "method": "lora", "path": "a", "accuracy": 0.9, "perplexity": None}
    assert "perplexity" not in runs_text([line])
    head, first, second = runs_text([line, line | {"run": "c", "accuracy": None, "perplexity": 49.61234}]).splitlines()
    assert head.split() == ["run", "status", "base", "method", "accuracy", "perplexity", "path"]
    assert first.split()[4:6] == ["0.9000", "-"]
    assert second.split()[4:6] == ["-", "49.6123"]
