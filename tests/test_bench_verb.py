"""``bench`` times every form in a process of its own, in turns, over the same texts, and never over a sealed row."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from shelf import create_run, manifest, recipe, tunebench
from tiny import World, make_rows, write_csv, write_recipe

from tunebench import jobs
from tunebench.benching import bench as verb
from tunebench.benching.bench import Entry, OpenForms, bench, store
from tunebench.benching.contestants import Asked, Contestant, contestants, drawn
from tunebench.benching.stopwatch import OtherwiseAsked
from tunebench.data.items import Question
from tunebench.errors import InputError, TunebenchError
from tunebench.runs import exports
from tunebench.runs.exports import BENCH
from tunebench.runs.run import Run
from tunebench.training import open_scorer

SCRIPT = """
import sys
from tunebench.cli import main
try:
    main()
finally:
    print("heavy:", [name for name in ("torch", "transformers", "sklearn") if name in sys.modules], file=sys.stderr)
"""


class FakeStopwatch:
    """Opens nothing and takes a second per item, times a factor; notes who had a turn, and who was open then."""

    said: ClassVar[list[str]] = []
    alive: ClassVar[list[str]] = []
    most_alive: ClassVar[int] = 0
    factors: ClassVar[dict[str, list[float]]] = {}
    broken: ClassVar[set[str]] = set()

    def __init__(self, run: Path, backend: str, items: list[Any], singles: int, batch_size: int, max_length: int | None) -> None:
        self.name, self.items, self.singles, self.load_seconds = f"{run.name} {backend}", items, singles, 2.0
        FakeStopwatch.alive.append(self.name)
        FakeStopwatch.most_alive = max(FakeStopwatch.most_alive, len(FakeStopwatch.alive))

    def time(self) -> dict[str, Any]:
        FakeStopwatch.said.append(self.name)
        if self.name in FakeStopwatch.broken:
            raise TunebenchError("the process was killed; is the memory too small?")
        factor = FakeStopwatch.factors.get(self.name, [1.0])
        seconds = len(self.items) * factor[FakeStopwatch.said.count(self.name) % len(factor)]
        latencies = [0.001 * (i + 1) for i in range(self.singles)]
        return {
            "seconds": seconds,
            "latencies": latencies,
            "peak_memory_bytes": 10**6,
            "peak_gpu_memory_bytes": None,
            "unscored": 0,
        }

    def close(self) -> None:
        FakeStopwatch.alive.remove(self.name)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeStopwatch]:
    for name, value in {"said": [], "alive": [], "most_alive": 0, "factors": {}, "broken": set()}.items():
        monkeypatch.setattr(FakeStopwatch, name, value)
    monkeypatch.setattr(verb, "Stopwatch", FakeStopwatch)
    return FakeStopwatch


@pytest.fixture
def two(baseline_run: Callable[[str], Run], tmp_path: Path) -> list[Run]:
    """Two finished runs over the same rows, of their own."""
    return [Run(Path(shutil.copytree(baseline_run(name).path, tmp_path / name))) for name in ("majority", "tfidf")]


def nothing(line: str) -> None:
    pass


def test_forms_take_turns_and_medians_over_the_rounds_are_kept(two: list[Run], fake: type[FakeStopwatch]) -> None:
    fake.factors = {"tfidf torch": [4.0, 1.0, 2.0], "majority torch": [1.0, 3.0]}
    said: ClassVar[list[str]] = []
    found = bench([two[1], two[0], two[1]], Asked(rows=5), said.append)
    assert fake.said == ["tfidf torch", "majority torch"] * 3
    assert fake.alive == []
    assert [line.split(":")[0] for line in said] == [
        f"[{i}/3] {name}" for i in (1, 2, 3) for name in ("tfidf torch", "majority torch")
    ]
    assert [run["run"] for run in found["runs"]] == ["tfidf", "majority"]
    (figures,) = found["runs"][0]["forms"].values()
    assert (figures["seconds"], figures["rows_per_second"], figures["rounds"]) == (10.0, 0.5, 3)
    assert figures["spread"]["seconds"] == [5.0, 20.0]
    (even,) = bench(two[:1], Asked(rows=5, rounds=2), nothing)["runs"][0]["forms"].values()
    assert (even["seconds"], even["rows_per_second"], even["spread"]["seconds"]) == (10.0, 0.5, [5.0, 15.0])
    assert (figures["p50_ms"], figures["p99_ms"]) == (pytest.approx(3.0), pytest.approx(4.96))


def test_where_memory_is_short_forms_are_closed_and_opened_again_in_the_same_order(
    two: list[Run], fake: type[FakeStopwatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "room", lambda: 10**9)
    bench(two, Asked(rows=5, rounds=2), nothing)
    assert fake.most_alive == 2
    fake.most_alive, fake.said = 0, []
    monkeypatch.setattr(verb, "room", lambda: 10**6)
    found = bench(two, Asked(rows=5, rounds=2), nothing)
    assert (fake.most_alive, fake.alive) == (1, [])
    assert fake.said == ["majority torch", "tfidf torch"] * 2
    assert {form["rounds"] for run in found["runs"] for form in run["forms"].values()} == {2}


def test_the_form_that_rested_longest_is_closed_first(two: list[Run], fake: type[FakeStopwatch]) -> None:
    who = Contestant(two[0], "linear", ("torch",), ["a"], 1, None)
    entries = [Entry(who, name) for name in ("torch", "onnx", "openvino")]
    with OpenForms(Asked(), 2 * entries[0].bytes) as forms:
        for place in (0, 1, 0, 2):
            forms.get(entries[place])
        assert fake.alive == ["majority torch", "majority openvino"]
        assert [len(entry.load_seconds) for entry in entries] == [1, 1, 1]
    assert fake.alive == []


def test_a_form_that_dies_is_told_and_the_others_go_on(
    two: list[Run], fake: type[FakeStopwatch], capsys: pytest.CaptureFixture[str]
) -> None:
    fake.broken = {"majority torch"}
    code, out, told = tunebench(capsys, "bench", *[run.path for run in two], "--rounds", 2)
    assert (code, "error: majority torch could not be timed" in told) == (1, True)
    assert fake.said == ["majority torch", "tfidf torch", "tfidf torch"]
    assert "majority torch: the process was killed" in out
    assert not (two[0].path / BENCH).exists()
    assert list(json.loads((two[1].path / BENCH).read_text("utf-8"))["forms"]) == ["torch"]


def test_runs_over_the_same_rows_get_the_same_texts_and_others_are_told(
    two: list[Run], fake: type[FakeStopwatch], tmp_path: Path
) -> None:
    found = bench(two, Asked(rows=5), nothing)
    assert len({run["texts"] for run in found["runs"]}) == 1
    assert found["remarks"] == []
    source = write_recipe(tmp_path / "other.yaml", data=write_csv(tmp_path / "other.csv", make_rows(seed=77)))
    other = jobs.train(str(source), [], tmp_path / "runs", lambda event: None).run
    (told,) = bench([*two, other], Asked(rows=5), nothing)["remarks"]
    assert told.startswith("other: other texts than those of majority, so rows per second cannot be compared")
    asked = tmp_path / "asked.csv"
    asked.write_text("text\ngood\n\ndull film\na,b\nwarm\n", encoding="utf-8")
    entered = contestants([*two, other], Asked(data=str(asked)))
    assert [sorted(who.items) for who in entered] == [["dull film", "good", "warm"]] * 3  # type: ignore[type-var]


def test_texts_are_drawn_by_what_they_say_and_a_smaller_draw_begins_a_larger_one() -> None:
    items = [f"text {i}" for i in range(50)] + [Question("p", "q", ("a", "b"))]
    assert drawn(items[::-1], 20) == drawn(items, 20) == drawn(items, 40)[:20]
    assert sorted(map(str, drawn(items, 99))) == sorted(map(str, items))


def test_no_test_row_is_read_whether_it_has_a_file_or_is_cut_from_the_training_rows(
    two: list[Run], world: World, tmp_path: Path
) -> None:
    ids = json.loads((two[0].path / "splits.json").read_text("utf-8"))
    texts = {row["id"]: row["text"] for row in make_rows()}
    (who,) = contestants([two[0]], Asked())
    assert sorted(map(str, who.items)) == sorted(texts[name] for name in ids["validation"])
    test = write_csv(tmp_path / "test.csv", make_rows(20, seed=9))
    source = write_recipe(tmp_path / "sealed.yaml", data=world.data, validation=None)
    text = source.read_text("utf-8").replace("test:\n    fraction: 0.2\n    stratify: true", f"test: {test}")
    source.write_text(
        text.replace("validation:\n    fraction: 0.2\n    stratify: true\n  ", "").replace("validation: null\n", "")
    )
    run = jobs.train(str(source), [], tmp_path / "runs", lambda event: None).run
    test.unlink()
    (who,) = contestants([run], Asked())
    assert sorted(map(str, who.items)) == sorted(row["text"] for row in make_rows())  # without validation rows: training rows


def test_everything_that_cannot_be_asked_is_said_at_once(two: list[Run], tmp_path: Path) -> None:
    made = recipe("half")
    half = create_run(tmp_path, made, manifest(made))
    with pytest.raises(InputError) as caught:
        contestants([half, two[1]], Asked(rows=0, batch_size=0, rounds=-1, max_length=2, backends=("onnx-int8",)))
    assert caught.value.faults == [
        "--rows: expected 1 or more, found 0",
        "--batch-size: expected 1 or more, found 0",
        "--rounds: expected 1 or more, found -1",
        "--max-length: expected 4 or more, found 2",
        "half: is interrupted, and only a finished run is timed; finish it with `tunebench train`",
        "tfidf: has no form 'onnx-int8'; it has torch, and `tunebench export` or `merge` makes others",
    ]


def test_changed_or_lost_data_names_the_way_out(two: list[Run], tmp_path: Path) -> None:
    changed = two[0].manifest
    changed["data"]["validation"]["digest"] = "0" * 64
    two[0].write_json("manifest.json", changed)
    with pytest.raises(InputError, match=r"validation rows have changed(.|\n)*--data FILE"):
        contestants([two[0]], Asked())


def test_more_rows_than_there_are_is_said(two: list[Run], fake: type[FakeStopwatch]) -> None:
    found = bench([two[0]], Asked(rows=1000), nothing)
    assert found["remarks"] == ["majority: 1,000 rows were asked for, and 10 are there"]
    assert (found["runs"][0]["rows"], bench([two[0]], Asked(), nothing)["remarks"]) == (10, [])


def test_figures_of_the_same_settings_stay_beside_each_other_and_others_go(two: list[Run]) -> None:
    settings: dict[str, Any] = {
        "rows": 5,
        "batch_size": 32,
        "max_length": 8,
        "texts": "t",
        "threads": 2,
        "hardware": {},
        "weights": "w",
    }

    def kept() -> dict[str, Any]:
        found: dict[str, Any] = json.loads((two[0].path / BENCH).read_text("utf-8"))
        return found

    store(two[0], settings, {"torch": {"seconds": 1.0}})
    store(two[0], settings, {"onnx": {"seconds": 2.0}, "openvino": {"error": "died"}})
    assert kept() == {"format": 1, **settings, "forms": {"torch": {"seconds": 1.0}, "onnx": {"seconds": 2.0}}}
    for name, other in {"rows": 6, "max_length": None, "weights": "x", "threads": 1}.items():
        store(two[0], settings | {name: other}, {"onnx": {"seconds": 3.0}})
        assert kept()["forms"] == {"onnx": {"seconds": 3.0}}
        store(two[0], settings, {"torch": {"seconds": 1.0}})
    two[0].write_text(BENCH, "[3")
    store(two[0], settings, {"onnx": {"seconds": 4.0}})
    assert kept()["forms"] == {"onnx": {"seconds": 4.0}}


def test_a_run_that_cannot_be_written_is_timed_and_not_stored(
    two: list[Run], fake: type[FakeStopwatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: path != two[0].path)
    found = bench(two, Asked(rows=5), nothing)
    assert [run["stored"] for run in found["runs"]] == [False, True]
    assert [(run.path / BENCH).exists() for run in two] == [False, True]
    assert found["remarks"] == [f"{two[0].path} is read-only: timed, and not stored there"]


def test_a_run_asked_otherwise_cuts_its_texts_earlier_and_is_the_same_model(tiny_run: Callable[..., Run]) -> None:
    run = tiny_run("bert", "lora", "cls")
    texts = ["good " * 6, "good"]
    as_it_is, shorter = open_scorer(run, "torch").score(texts), open_scorer(OtherwiseAsked(run.path, 1, 5), "torch").score(texts)
    assert (as_it_is.truncated, shorter.truncated) == ([False, False], [True, False])
    assert shorter.logits[1] == pytest.approx(as_it_is.logits[1], abs=1e-5)
    asked = OtherwiseAsked(run.path, 3, None).recipe
    assert (asked.settings.per_device_eval_batch_size, asked.base and asked.base.max_length) == (3, 32)
    with pytest.raises(InputError, match="was made for 32 tokens, found --max-length 33"):
        contestants([run], Asked(max_length=33))
    (who,) = contestants([run], Asked(max_length=16))
    assert (who.max_length, who.family) == (16, "encoder")
    assert exports.TORCH_INT8 not in who.backends  # only where it is asked for
    assert contestants([run], Asked(backends=("torch-int8", "torch", "torch")))[0].backends == ("torch-int8", "torch")


def test_forms_are_timed_in_processes_of_their_own_and_torch_stays_out_of_this_one(
    tiny_run: Callable[..., Run], two: list[Run], tmp_path: Path
) -> None:
    run = shutil.copytree(tiny_run("bert", "lora", "cls").path, tmp_path / "bert")
    options = ["--rows", "6", "--rounds", "1", "--batch-size", "4", "--backend", "torch", "--json"]
    command = [sys.executable, "-P", "-c", SCRIPT, "bench", str(run), str(two[1].path), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "heavy: []" in done.stderr
    found = json.loads(done.stdout)
    encoder, linear = (entry["forms"]["torch"] for entry in found["runs"])
    assert (encoder["unscored"], linear["unscored"], found["failed"]) == (0, 0, 0)
    assert encoder["peak_memory_bytes"] > 2 * linear["peak_memory_bytes"] > 0
    assert 0 < encoder["p50_ms"] <= encoder["p99_ms"]
    assert linear["rows_per_second"] == pytest.approx(6 / linear["seconds"])
    assert json.loads((run / BENCH).read_text("utf-8"))["forms"]["torch"] == encoder


def test_weights_that_were_not_scored_are_not_timed(two: list[Run], capsys: pytest.CaptureFixture[str]) -> None:
    (two[0].weights / "majority.json").write_text('{"shares": [0.1, 0.9]}')
    code, out, _ = tunebench(capsys, "bench", two[0].path, "--rounds", 1, "--rows", 3)
    assert (code, "holds other files than the ones that were scored" in out) == (1, True)
