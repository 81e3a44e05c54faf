"""The run directory: what was said can be read again, and no run is taken for another or worked on twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from shelf import create_run, finished_run, manifest, recipe

from tunebench.errors import InputError, TunebenchError
from tunebench.events import (
    KINDS,
    Evaluated,
    Event,
    Failed,
    Finished,
    Looked,
    Noted,
    Proved,
    Resumed,
    Scored,
    Staged,
    Started,
    Step,
    Stopped,
    Warned,
    as_record,
    from_record,
)
from tunebench.runs.index import find_run, list_runs, summary
from tunebench.runs.run import Run

EVERY_KIND: list[Event] = [
    Started(10, 100, 5, 50),
    Step(1, 0.1, 0.7, 1e-4, 1.5, 8, 80, 96, 0.25),
    Evaluated(1, "validation", {"accuracy": 0.5, "loss": 0.7}, best=True, seconds=1.0),
    Stopped(10, 1, "early stopping", 9.5),
    Scored("test", 20, 0.85, 1),
    Looked("test", "compare", 2),
    Proved("reload", 64, 1e-7, 0, 1e-6, passed=True),
    Warned("two texts stand there twice: „ä“ 😀\nsecond line"),
    Noted("wandb sync x"),
    Staged(1, 2, "cpt", "language-modeling", 10),
    Resumed(5, 10),
    Finished(["metrics.json"]),
    Failed("the disk is full"),
]
HOLD = """
import sys
from pathlib import Path
from tunebench.runs.run import Run
with Run(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create_run(tmp_path / "runs", recipe(), manifest(recipe()))


@contextmanager
def another_process_at_work(run: Run) -> Iterator[None]:
    command = [sys.executable, "-c", HOLD, str(run.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.communicate("")


def lines_of(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.path / "events.jsonl").read_text("utf-8").splitlines()]


def test_every_kind_of_event_is_here() -> None:
    assert {type(event) for event in EVERY_KIND} == set(KINDS.values())


@pytest.mark.parametrize("event", EVERY_KIND, ids=lambda event: type(event).__name__)
def test_an_event_comes_back_as_it_was(event: Event, run: Run) -> None:
    assert from_record(json.loads(json.dumps(as_record(event)))) == event
    run.record(event)
    assert list(run.events()) == [event]


def test_events_are_numbered_and_dated_in_order(run: Run) -> None:
    for event in EVERY_KIND:
        run.record(event)
    assert [line["number"] for line in lines_of(run)] == list(range(len(EVERY_KIND)))
    assert all(line["time"] > 1_700_000_000 for line in lines_of(run))


def test_a_run_that_is_opened_again_goes_on_counting(run: Run) -> None:
    run.record(Warned("first"))
    Run(run.path).record(Warned("second"))
    assert [line["number"] for line in lines_of(run)] == [0, 1]


def test_a_half_written_last_line_is_left_out_and_cut_by_the_next_event(run: Run) -> None:
    run.record(Warned("whole"))
    with (run.path / "events.jsonl").open("a") as file:
        file.write('{"number": 1, "kind": "warn')
    assert list(run.events()) == [Warned("whole")]
    Run(run.path).record(Warned("next"))
    assert [line["number"] for line in lines_of(run)] == [0, 1]


@pytest.mark.parametrize("line", ["garbage", "[]", '{"kind": "nope"}', '{"kind": "warned"}', "{}"])
def test_a_line_that_is_no_event_names_file_and_line(line: str, run: Run) -> None:
    run.record(Warned("sound"))
    with (run.path / "events.jsonl").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(InputError, match=r"events.jsonl: line 2 is no event .* the run directory is damaged"):
        list(run.events())


def test_the_status_is_a_fold_over_the_events(run: Run) -> None:
    assert run.status() == "interrupted"
    run.record(Failed("x"))
    assert run.status() == "failed"
    run.record(Finished([]))
    assert run.status() == "finished"
    run.record(Scored("test", 2, 0.5, 2))
    assert run.status() == "finished"


def test_a_run_is_running_while_another_process_holds_it_and_refused_to_this_one(run: Run) -> None:
    run.record(Started(1, 1, 1, 1))
    with another_process_at_work(run):
        assert run.status() == "running"
        with pytest.raises(TunebenchError, match="another process is at work on this run"), run.locked():
            pass
        with pytest.raises(TunebenchError, match="another process is at work on this run"):
            create_run(run.path.parent, recipe(), manifest(recipe()))
        assert list(run.events()) == [Started(1, 1, 1, 1)]
    assert run.status() == "interrupted"
    with run.locked():
        assert run.status() == "running"


def test_an_unfinished_run_of_the_same_recipe_begins_again(run: Run) -> None:
    run.record(Failed("x"))
    again = create_run(run.path.parent, recipe(), manifest(recipe()))
    assert (again.path, list(again.events())) == (run.path, [])


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    again = create_run(tmp_path, recipe(), manifest(recipe()) | {"created": "later"})
    assert again.is_finished()
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before


def test_a_run_that_lost_its_events_begins_again(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    (run.path / "events.jsonl").unlink()
    assert not create_run(tmp_path, recipe(), manifest(recipe())).is_finished()


@pytest.mark.parametrize(
    "event", [EVERY_KIND[1], Stopped(0, 0, "finished", 0.1), Finished([])], ids=lambda event: type(event).__name__
)
def test_a_run_of_the_same_name_from_another_recipe_is_refused_naming_the_keys(event: Event, run: Run) -> None:
    other = recipe(seed=7, method={"kind": "lora", "r": 16})
    run.record(event)
    with pytest.raises(InputError) as caught:
        create_run(run.path.parent, other, manifest(other))
    assert caught.value.faults == [
        "a run of this name exists and differs: method.r: 8 -> 16",
        "a run of this name exists and differs: seed: 42 -> 7",
        "give the recipe another name, or train it anew in place of that run with --force",
    ]
    assert Run(run.path).recipe == recipe()
    assert list(run.events()) == [event]


def test_an_attempt_that_failed_before_its_first_step_gives_way_to_the_mended_recipe(run: Run) -> None:
    for event in (Started(1, 1, 1, 1), Failed("no such module")):
        run.record(event)
    mended = recipe(method={"kind": "lora", "r": 16})
    assert create_run(run.path.parent, mended, manifest(mended)).recipe == mended
    assert list(run.events()) == []


def test_a_folder_that_is_no_run_is_never_written_into(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="exists and is not a run"):
        create_run(tmp_path, recipe(), manifest(recipe()))
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["thesis.tex"]


def test_a_file_in_the_place_of_the_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(TunebenchError, match=r"cannot be made .* give --runs another folder"):
        create_run(tmp_path, recipe(), manifest(recipe()))
    with pytest.raises(TunebenchError, match="cannot be made"):
        create_run(tmp_path / "a", recipe(), manifest(recipe()))


def test_a_runs_folder_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(30, os.strerror(30), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(TunebenchError, match=r"cannot be made \(Read-only file system\); make the folder writable") as caught:
        create_run(tmp_path / "runs", recipe(), manifest(recipe()))
    assert caught.value.exit_code == 1


def test_an_event_that_cannot_be_written_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28), str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(TunebenchError, match=r"cannot be written \(No space left on device.*\); free some space"):
        run.record(Warned("x"))


def test_a_run_is_found_by_its_name_and_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = finished_run(tmp_path / "runs", "a").path
    monkeypatch.chdir(tmp_path)
    for name in ("a", "runs/a", "runs/a/", str(path), "./runs/../runs/a"):
        assert find_run(name, Path("runs")).path.resolve() == path.resolve()
    monkeypatch.chdir(path)
    assert find_run(".", Path("runs")).name == "a"


@pytest.mark.parametrize("name", ["lora-2", "runs", "x" * 300, "", "a\0b"])
def test_an_unknown_run_lists_the_ones_there_are(name: str, tmp_path: Path) -> None:
    finished_run(tmp_path, "lora-1")
    with pytest.raises(InputError, match=r"no such run.*lora-1"):
        find_run(name, tmp_path)


def test_without_any_run_the_way_to_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is none in .*`tunebench train RECIPE` makes one"):
        find_run("x", tmp_path / "runs")


def damage(name: str, content: str | None) -> Callable[[Run], None]:
    def act(run: Run) -> None:
        (run.path / name).unlink() if content is None else (run.path / name).write_text(content)

    return act


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.json", "{"),
        ("manifest.json", "[]"),
        ("manifest.json", "{}"),
        ("metrics.json", "null"),
        ("recipe.yaml", None),
        ("recipe.yaml", "name: a"),
        ("recipe.yaml", "\x00"),
        ("events.jsonl", "x\n"),
    ],
)
def test_a_damaged_run_is_listed_as_damaged_beside_sound_ones(name: str, content: str | None, tmp_path: Path) -> None:
    finished_run(tmp_path, "sound")
    damage(name, content)(finished_run(tmp_path, "spoilt"))
    listed = {item["run"]: item for item in map(summary, list_runs(tmp_path))}
    assert listed["sound"] | {"path": ""} == {
        "run": "sound",
        "status": "finished",
        "base": "bert-base-uncased",
        "method": "lora",
        "accuracy": 0.9,
        "perplexity": None,
        "best_step": 20,
        "path": "",
    }
    assert listed["spoilt"]["status"] == "damaged"
    assert name in listed["spoilt"]["error"]


def test_only_folders_with_a_manifest_are_runs(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "file").write_text("x")
    finished_run(tmp_path, "b")
    finished_run(tmp_path, "a")
    assert [run.name for run in list_runs(tmp_path)] == ["a", "b"]
    assert list_runs(tmp_path / "nowhere") == []


def test_the_recipe_of_a_run_is_the_resolved_one(tmp_path: Path) -> None:
    assert finished_run(tmp_path).recipe == recipe()
    assert recipe().settings.learning_rate == 5e-4


def test_of_a_long_run_only_the_events_that_are_asked_for_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished_run(tmp_path)
    everything, decoded = list(run.events()), []
    for kind in {type(event) for event in everything}:
        assert list(run.events(kind)) == [event for event in everything if isinstance(event, kind)]
    monkeypatch.setattr("tunebench.runs.run.from_record", lambda record: decoded.append(record["kind"]) or from_record(record))
    assert summary(run)["best_step"] == 20
    assert decoded == ["stopped", "finished"]


def test_events_that_another_program_wrote_anew_are_read_all_the_same(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    events = run.path / "events.jsonl"
    compact = [json.dumps(json.loads(line), separators=(",", ":")) for line in events.read_text("utf-8").splitlines()]
    events.write_text("\n".join(compact) + "\n", "utf-8")
    assert (summary(run)["status"], summary(run)["best_step"]) == ("finished", 20)
    assert list(run.events(Finished)) == [Finished(["metrics.json"])]
    events.write_text("\n".join([*compact, "x"]) + "\n", "utf-8")
    assert summary(run)["status"] == "damaged"
