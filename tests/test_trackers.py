"""Trackers hold what the run holds: every point once, also after an interruption; none of them can harm a run or call home."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from shelf import create_run, manifest, recipe, tunebench
from tiny import METHODS, World, write_recipe

from tunebench import jobs
from tunebench.errors import Interrupted
from tunebench.events import Evaluated, Event, Failed, Finished, Noted, Resumed, Scored, Started, Step, Warned
from tunebench.runs import trackers
from tunebench.runs.run import Run

STARTED = Started(10, 100, 296_450, 109_779_458)
Points = list[tuple[int, dict[str, float]]]


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever reaches for another machine fails the test."""
    connect = socket.socket.connect

    def refused(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
            pytest.fail(f"something connects to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refused)


@pytest.fixture(scope="module", autouse=True)
def trackio_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """trackio reads its folder once, when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("trackio")
        patch.setenv("TRACKIO_DIR", str(folder))
        yield Path(import_module("trackio.utils").TRACKIO_DIR)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = recipe(tmp_path.name.replace("_", "-")[:90])  # a name of its own, as trackio has one folder for all
    return create_run(tmp_path / "my runs", made, manifest(made))


def steps(first: int, last: int) -> list[Event]:
    """Steps with figures that binary fractions hold exactly, and an evaluation after every fourth."""
    told: list[Event] = []
    for i in range(first, last + 1):
        told.append(Step(i, i / 16, 1 - i / 64, 2**-10, 0.5, 8, 800, 820, 1.5 * i))
        if i % 4 == 0:
            told.append(Evaluated(i, "train sample", {"accuracy": 0.5, "loss": 0.25}, best=False, seconds=1.5 * i))
            told.append(Evaluated(i, "validation", {"accuracy": 0.75, "loss": 0.125}, best=True, seconds=1.5 * i))
    return told


def attempt(run: Run, names: list[str], *events: Event) -> list[Event]:
    """One attempt at a run, as jobs go about it: every event is recorded, then watched. Returns what was watched."""
    seen: list[Event] = []
    with trackers.copying(run, names, seen.append) as watch:
        for event in events:
            run.record(event)
            watch(event)
            sys.stderr.write("what a job prints is nobody's business\n")
    return seen


def recorded(run: Run) -> Points:
    """The points that events.jsonl holds, read without the code under test."""
    points: Points = []
    for line in (run.path / "events.jsonl").read_text("utf-8").splitlines():
        said = json.loads(line)
        if said["kind"] == "step":
            points.append((said["step"], {f"train/{key}": said[key] for key in ("loss", "learning_rate", "grad_norm", "epoch")}))
        elif said["kind"] == "evaluated":
            group = {"validation": "eval", "train sample": "train_sample"}[said["split"]]
            points.append((said["step"], {f"{group}/{key}": value for key, value in said["scores"].items()}))
        elif said["kind"] == "scored":
            points.append((points[-1][0] if points else 0, {"test/accuracy": said["accuracy"]}))
    return points


def in_tensorboard(run: Run) -> Points:
    """What TensorBoard reads out of the only file in the folder."""
    loader = import_module("tensorboard.backend.event_processing.event_file_loader").LegacyEventFileLoader
    (file,) = (run.path / "trackers" / "tensorboard").iterdir()
    events = [event for event in loader(str(file)).Load() if event.HasField("summary")]
    assert [value.tag for value in events[0].summary.value] == ["recipe"]
    return [(event.step, {value.tag: value.simple_value for value in event.summary.value}) for event in events[1:]]


def in_trackio(run: Run, folder: Path) -> Points:
    with sqlite3.connect(folder / "tunebench.db") as base:
        rows = base.execute("SELECT step, metrics FROM metrics WHERE run_name = ? ORDER BY id", (run.name,)).fetchall()
    base.close()
    return [(step, json.loads(values)) for step, values in rows]


def in_wandb(folder: Path) -> Points:
    """The history in W&B's own file: after 7 bytes, records of checksum, length and kind; here all in the first block."""
    (file,) = folder.glob("*.wandb")
    data, place, points = file.read_bytes(), 7, []
    assert len(data) < 32_768
    while place < len(data):
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        assert kind == 1
        record = import_module("wandb.proto.wandb_internal_pb2").Record()
        record.ParseFromString(data[place + 7 : place + 7 + length])
        place += 7 + length
        if record.HasField("history"):
            values = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            points.append((values.pop("train/global_step"), {key: values[key] for key in values if not key.startswith("_")}))
    return points


def test_tensorboard_holds_exactly_what_the_run_recorded(run: Run) -> None:
    seen = attempt(run, ["tensorboard"], STARTED, *steps(1, 10), Scored("test", 100, 0.5, 1), Finished([]))
    assert in_tensorboard(run) == recorded(run)
    assert [step for step, values in in_tensorboard(run) if "train/loss" in values] == list(range(1, 11))
    assert in_tensorboard(run)[-1] == (10, {"test/accuracy": 0.5})
    assert isinstance(seen[-1], Finished)


def test_the_usual_reader_of_tensorboard_finds_the_curves_and_the_recipe(run: Run) -> None:
    attempt(run, ["tensorboard"], STARTED, *steps(1, 8))
    accumulator = import_module("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    found = accumulator(str(run.path / "trackers" / "tensorboard")).Reload()
    assert [(item.step, item.value) for item in found.Scalars("eval/accuracy")] == [(4, 0.75), (8, 0.75)]
    assert b"kind: lora" in found.Tensors("recipe")[0].tensor_proto.string_val[0]
    times = [item.wall_time for item in found.Scalars("train/loss")]
    assert times[-1] - times[0] == pytest.approx(1.5 * 7, abs=1e-3)


def test_after_an_interruption_every_point_is_there_once(run: Run, trackio_folder: Path) -> None:
    names = ["tensorboard", "trackio"]
    attempt(run, names, Warned("before anything"), STARTED, *steps(1, 9))  # stopped at 9, the checkpoint is at 6
    run.cut_events(2 + 6 + 2)
    attempt(run, names, Resumed(6, 10), *steps(7, 10), Scored("test", 100, 0.5, 1), Finished([]))
    assert [step for step, values in recorded(run) if "train/loss" in values] == list(range(1, 11))
    assert in_tensorboard(run) == recorded(run)
    assert in_trackio(run, trackio_folder) == recorded(run)


def test_a_tracker_that_is_added_later_gets_the_whole_run(run: Run) -> None:
    attempt(run, [], STARTED, *steps(1, 5))
    attempt(run, ["tensorboard", "tensorboard"], Resumed(5, 10), *steps(6, 7))
    assert in_tensorboard(run) == recorded(run)


def test_a_kill_loses_nothing_that_tensorboard_was_told(run: Run) -> None:
    with trackers.copying(run, ["tensorboard"], lambda event: None) as watch:
        for event in (STARTED, *steps(1, 3)):
            run.record(event)
            watch(event)
        assert in_tensorboard(run) == recorded(run)


def test_trackio_keeps_the_recipe_and_says_how_to_look(run: Run, trackio_folder: Path) -> None:
    seen = attempt(run, ["trackio"], STARTED, *steps(1, 4), Finished([]))
    with sqlite3.connect(trackio_folder / "tunebench.db") as base:
        ((config,),) = base.execute("SELECT config FROM configs WHERE run_name = ?", (run.name,)).fetchall()
    base.close()
    assert json.loads(config)["method"]["kind"] == "lora"
    assert seen[-1] == Noted("trackio: look at the run with `trackio show --project tunebench`")


def test_a_baseline_leaves_its_score(run: Run) -> None:
    attempt(run, ["tensorboard"], Started(0, 100, 2, 2), Scored("test", 100, 0.5, 1), Finished([]))
    assert in_tensorboard(run) == [(0, {"test/accuracy": 0.5})]


def test_nothing_is_opened_where_nothing_is_trained(run: Run) -> None:
    attempt(run, ["tensorboard", "wandb", "trackio"], Warned("the data is odd"))
    assert not (run.path / "trackers").exists()


class Broken:
    """A tracker that fails at the call it is told to fail at."""

    fails = ""
    calls: list[str]

    def start(self, run: Run, begun: float) -> None:
        self._fail("start")

    def log(self, point: trackers.Point) -> None:
        self._fail("log")

    def close(self, *, finished: bool) -> None:
        self._fail("close")

    def _fail(self, call: str) -> None:
        self.calls.append(call)
        if call == self.fails:
            raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("fails", "calls"),
    [("start", ["start", "close"]), ("log", ["start", "log", "close"]), ("close", ["start"] + ["log"] * 6 + ["close"])],
)
def test_a_tracker_that_fails_is_switched_off_and_the_run_and_the_others_go_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, fails: str, calls: list[str]
) -> None:
    monkeypatch.setitem(trackers.TRACKERS, "wandb", Broken)
    monkeypatch.setattr(Broken, "fails", fails)
    monkeypatch.setattr(Broken, "calls", [], raising=False)
    seen = attempt(run, ["wandb", "tensorboard"], STARTED, *steps(1, 4), Finished([]))
    reason = "the tracker wandb is switched off, the run goes on: OSError: [Errno 28] No space left on device"
    assert [event for event in seen if isinstance(event, Warned)] == [Warned(reason)]
    assert Warned(reason) in list(run.events())
    assert Broken.calls == calls
    assert in_tensorboard(run) == recorded(run)


@pytest.mark.parametrize("name", trackers.TRACKERS)
def test_a_missing_package_is_named_with_its_extra_before_anything_is_done(
    name: str, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda package: None)
    path = write_recipe(tmp_path / "a.yaml", data=world.data, base=world.bases["bert"], report_to=name)
    code, _, err = tunebench(capsys, "train", path, "--runs", tmp_path / "runs")
    assert code == 2
    assert f"report_to: {name} needs the package '{name}'" in err
    assert f"pip install 'tunebench[{name}]'" in err
    assert not (tmp_path / "runs").exists()


def test_a_training_is_copied_from_its_first_step_to_its_test_score(world: World, warm: None, tmp_path: Path) -> None:
    path = write_recipe(
        tmp_path / "a.yaml", data=world.data, base=world.bases["bert"], method=METHODS["lora"], report_to="tensorboard"
    )
    run = jobs.train(str(path), [], tmp_path / "runs", lambda event: None).run
    copied, told = in_tensorboard(run), recorded(run)
    assert [step for step, _ in copied] == [step for step, _ in told]
    assert [list(values) for _, values in copied] == [list(values) for _, values in told]
    assert [list(values.values()) for _, values in copied] == [
        pytest.approx(list(values.values()), rel=1e-6) for _, values in told
    ]
    assert {"train/loss", "eval/accuracy", "eval/loss", "test/accuracy"} <= {name for _, values in copied for name in values}
    assert "trackers" in next(event.files for event in run.events() if isinstance(event, Finished))
    assert jobs.train(str(path), [], tmp_path / "runs", lambda event: None).already_finished
    assert in_tensorboard(run) == copied


def test_an_interrupted_training_goes_on_in_its_copy(world: World, warm: None, tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "a.yaml", data=world.data, base=world.bases["bert"], report_to="tensorboard")

    def stop(event: Event) -> None:
        if isinstance(event, Step) and event.step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        jobs.train(str(path), [], tmp_path / "runs", stop)
    run = jobs.train(str(path), [], tmp_path / "runs", lambda event: None).run
    assert [step for step, values in in_tensorboard(run) if "train/loss" in values] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in in_tensorboard(run)] == [step for step, _ in recorded(run)]
    assert any(isinstance(event, Resumed) for event in run.events())


@pytest.fixture
def ear(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Stands where W&B's server and every proxy are looked for, and keeps who calls."""
    calls: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    calls.append(server.accept())
                except OSError:
                    return

        threading.Thread(target=listen, daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        for name in ("WANDB_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, address)
        yield calls
        server.shutdown(socket.SHUT_RDWR)


def test_without_a_key_wandb_stays_offline_asks_nobody_and_names_its_folder(
    run: Run, tmp_path: Path, ear: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "XDG_CONFIG_HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.chdir(tmp_path)
    first = attempt(run, ["wandb"], STARTED, *steps(1, 9))
    run.cut_events(1 + 6 + 2)
    second = attempt(run, ["wandb"], Resumed(6, 10), *steps(7, 10), Finished([]))
    kept = run.path / "trackers" / "wandb"
    (folder,) = kept.glob("offline-run-*")
    assert Noted("wandb: no API key is found, so the run is kept offline") in first
    assert second[-1] == Noted(f"wandb: send the run with `wandb sync {shlex.quote(str(folder))}`")
    assert second[-1] in list(run.events())
    assert in_wandb(folder) == recorded(run)
    assert not list(kept.rglob("requirements.txt")) + list(kept.rglob("wandb-metadata.json")) + list(kept.rglob("output.log"))
    assert [path.name for path in tmp_path.iterdir() if path.name == "wandb"] == []
    assert ear == []


class FakeRun:
    """A run on a server that already holds the points up to step 6."""

    def __init__(self, mode: str) -> None:
        self.resumed, self.summary, self.settings = True, {"train/global_step": 6}, SimpleNamespace(mode=mode)
        self.logged: list[dict[str, float]] = []
        self.ended: list[int] = []

    def define_metric(self, *_: Any, **__: Any) -> None:
        pass

    def log(self, values: dict[str, float]) -> None:
        self.logged.append(values)

    def finish(self, exit_code: int) -> None:
        self.ended.append(exit_code)


def fake_wandb(found: FakeRun, asked: dict[str, Any]) -> SimpleNamespace:
    def init(**settings: Any) -> FakeRun:
        asked.update(settings)
        return found

    return SimpleNamespace(
        Settings=lambda **settings: settings,
        setup=lambda settings: SimpleNamespace(settings=found.settings),
        login=lambda **_: True,
        init=init,
        teardown=lambda: None,
    )


@pytest.mark.parametrize(("last", "code"), [(Finished([]), 0), (Failed("the disk is full"), 1)], ids=["finished", "failed"])
def test_online_wandb_goes_on_with_its_run_and_sends_no_step_twice(
    run: Run, monkeypatch: pytest.MonkeyPatch, last: Event, code: int
) -> None:
    found, asked = FakeRun("online"), dict[str, Any]()
    monkeypatch.setitem(sys.modules, "wandb", fake_wandb(found, asked))
    monkeypatch.setenv("WANDB_PROJECT", "films")
    attempt(run, [], STARTED, *steps(1, 4))
    seen = attempt(run, ["wandb"], Resumed(4, 10), *steps(5, 8), last)
    assert [values["train/global_step"] for values in found.logged if "train/loss" in values] == [7, 8]
    assert [values["train/global_step"] for values in found.logged if "eval/loss" in values] == [8]
    assert (asked["project"], asked["name"], asked["resume"], asked["mode"]) == ("films", run.name, "allow", None)
    assert asked["id"].startswith(f"{run.name}-")
    assert asked["config"]["method"]["r"] == 8
    assert found.ended == [code]
    assert not [event for event in seen if isinstance(event, Noted | Warned)]


def test_another_recipe_is_another_run_of_the_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for folder, rank in (("a", 8), ("b", 8), ("c", 16)):
        made = recipe("same", method={"kind": "lora", "r": rank})
        found: dict[str, Any] = {}
        monkeypatch.setitem(sys.modules, "wandb", fake_wandb(FakeRun("online"), found))
        attempt(create_run(tmp_path / folder, made, manifest(made)), ["wandb"], STARTED)
        asked.append(found["id"])
    assert asked[0] == asked[1] != asked[2]


def test_no_package_of_a_tracker_is_loaded_before_a_run_asks_for_it(run: Run) -> None:
    script = f"""
import sys
from pathlib import Path
from tunebench.events import Warned
from tunebench.runs import trackers
from tunebench.runs.run import Run
with trackers.copying(Run(Path({str(run.path)!r})), ["tensorboard", "wandb", "trackio"], print) as watch:
    watch(Warned("the data is odd"))
print([name for name in ("tensorboard", "wandb", "trackio") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
