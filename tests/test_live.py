"""What the studio makes of a run at work: curves and figures folded from events, counts asked beside the page."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunebench.app.estimates import Estimate, Estimates
from tunebench.app.live import Follower, Live, smoothed, thinned
from tunebench.app.live_plots import loss_figure, score_figure, step_figure
from tunebench.app.memory import in_use
from tunebench.errors import TunebenchError
from tunebench.events import Evaluated, Event, Failed, Finished, Resumed, Scored, Started, Step, Stopped, as_record
from tunebench.runs.run import Run

SAID = {name: name for name in ("step", "loss", "raw", "train", "validation", "score", "grad_norm", "learning_rate")}


def step(number: int, *, seconds: float | None = None) -> Step:
    """A step at two seconds each."""
    return Step(number, number / 10, 1 / number, 1e-3, 0.5, 8, 100, 120, 2.0 * number if seconds is None else seconds)


def evaluated(number: int, accuracy: float, *, best: bool = True) -> Evaluated:
    """Scores of the validation rows."""
    return Evaluated(number, "validation", {"accuracy": accuracy, "loss": 1 - accuracy}, best, 2.0 * number)


STARTED = Started(10, 80, 100, 1000)
TOLD = [STARTED, *map(step, range(1, 6)), evaluated(5, 0.7), *map(step, range(6, 11)), Stopped(10, 5, "finished", 20.0)]


def written(path: Path, events: list[Event], mode: str = "a") -> None:
    """Events as lines at the end of a file."""
    with path.open(mode) as file:
        file.writelines(json.dumps(as_record(event)) + "\n" for event in events)


def folded(events: list[Event]) -> Live:
    """All events at once."""
    live = Live()
    for event in events:
        live.add(event)
    return live


def test_reading_on_gives_what_reading_at_once_gives_and_reads_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    follower = Follower(path)
    assert follower.read() == Live()
    for number in range(len(TOLD)):
        written(path, TOLD[number : number + 1])
        if number % 3 == 0:
            assert follower.read() == folded(TOLD[: number + 1])
    assert follower.read() == follower.read() == folded(TOLD)


def test_half_a_line_waits_for_its_end_and_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    follower = Follower(path)
    written(path, TOLD[:3])
    line = json.dumps(as_record(step(3))) + "\n"
    with path.open("a") as file:
        file.write("not an event\n[]\n" + line[:20])
    assert follower.read().step == 2
    with path.open("a") as file:
        file.write(line[20:])
    assert follower.read().step == 3


CUTS: dict[str, Callable[[Path], None]] = {
    "cut shorter": lambda path: written(path, TOLD[:3], "w"),
    "replaced by as much": lambda path: path.write_text(path.read_text().replace('"rows": 8', '"rows": 9')),
    "deleted": Path.unlink,
}


@pytest.mark.parametrize("kind", CUTS)
def test_a_file_that_goes_on_elsewhere_is_read_anew(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "events.jsonl"
    written(path, TOLD)
    follower = Follower(path)
    follower.read()
    CUTS[kind](path)
    assert follower.read() == Follower(path).read() != folded(TOLD)


@pytest.mark.parametrize(
    ("events", "phase", "share"),
    [
        ([], "preparing", 0.0),
        (TOLD[:1], "training", 0.0),
        (TOLD[:6], "training", 0.5),
        ([*TOLD[:6], Resumed(5, 10)], "training", 0.5),
        ([Started(10, 8, 1, 1), Resumed(4, 10)], "training", 0.4),
        (TOLD, "scoring", 1.0),
        ([*TOLD, Scored("test", 10, 0.5, 1)], "proving", 1.0),
        ([*TOLD, Finished()], "finished", 1.0),
        ([Failed("no room")], "failed", 0.0),
    ],
)
def test_how_far_a_run_is(events: list[Event], phase: str, share: float) -> None:
    assert (folded(events).phase, folded(events).share) == (phase, share)


def test_the_time_left_goes_by_the_pace_of_late() -> None:
    assert folded(TOLD[:6]).seconds_left() == pytest.approx(10.0)
    assert folded(TOLD[:2]).seconds_left() is None
    assert folded([*TOLD[:6], step(6, seconds=1.0)]).seconds_left() is None  # its clock began anew
    slow = [Started(1000, 8, 1, 1), step(1, seconds=500.0), *(step(i, seconds=500.0 + i) for i in range(2, 101))]
    assert folded(slow).seconds_left() == pytest.approx(900.0)


def test_curves_show_every_kind_of_value() -> None:
    live = folded(TOLD)
    assert [list(line.x) for line in loss_figure(live, SAID).data] == [list(range(1, 11)), list(range(1, 11)), [5]]
    assert list(score_figure(live, SAID).data[0].y) == [0.7]
    assert set(step_figure(live, "grad_norm", SAID).data[0].y) == {0.5}
    long = [step(i) for i in range(1, 5001)]
    assert len(thinned(long)) <= 600
    assert thinned(long)[-1] is long[-1]
    assert smoothed([3.0] * 20) == pytest.approx([3.0] * 20)


def test_memory_is_that_of_the_process_which_holds_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert in_use(tmp_path) is None
    with run.locked():
        held = in_use(tmp_path)
        assert held is None or held > 10_000_000  # None where the system does not tell
    assert in_use(tmp_path) is None


class Counting:
    """Counts slowly: each question is answered when ``go`` is set."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go = threading.Event()

    def params(self, recipe_text: str) -> dict[str, Any]:
        """Remembers the question."""
        self.asked.append(recipe_text)
        assert self.go.wait(10)
        return {"of": recipe_text}

    def plan(self, recipe_text: str) -> dict[str, Any]:
        """Fails."""
        raise TunebenchError("no plan")


def test_counts_never_keep_the_page_waiting_and_only_the_newest_question_waits() -> None:
    counting = Counting()
    estimates = Estimates(counting)
    begun = time.monotonic()
    assert [estimates.of(text) for text in ("a", "b", "c", "d")] == [Estimate()] * 4
    assert time.monotonic() - begun < 1
    counting.go.set()
    until = time.monotonic() + 10
    while not estimates.of("d").is_whole and time.monotonic() < until:
        time.sleep(0.01)
    assert estimates.of("d") == Estimate({"of": "d"}, None, ("no plan",), is_whole=True)
    assert set(counting.asked) <= {"a", "d"}
