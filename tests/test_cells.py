"""The cells of a comparison: a matrix spread out, further seeds on the same rows, children within memory, and what stops them."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from shelf import create_run, finished_run, manifest, recipe, tunebench
from tiny import World, make_rows, write_csv, write_recipe

from tunebench import jobs
from tunebench.benching.bench import threads_here
from tunebench.binding import bind, bind_recipe, manifest_of, sealed_rows
from tunebench.cells_text import CellLines
from tunebench.comparing import cells, memory, outcome, soundness
from tunebench.comparing.processes import Task, fault_of, fits, run_tasks, steps_of
from tunebench.comparing.telling import Begun, Ended, Told
from tunebench.errors import InputError, Interrupted
from tunebench.events import Finished, Looked, Scored
from tunebench.recipe.load import load_recipe
from tunebench.recipe.matrix import expand
from tunebench.recipe.resolve import identity
from tunebench.runs import environment
from tunebench.runs.exports import BENCH
from tunebench.runs.folder import Folder
from tunebench.runs.looks import count_looks
from tunebench.runs.run import Run, open_run

DATA = {"train": "in.csv", "validation": {"fraction": 0.2, "stratify": True}, "test": {"fraction": 0.2, "stratify": True}}
COMMON = {"seed": 7, "base": {"model": "org/one", "revision": "abc", "max_length": 32}, "data": DATA, "method": {"kind": "full"}}
COMMON |= {"train": {"max_steps": 3, "learning_rate": 1e-3}}

PAGES = {"report.html", "report.pdf", "comparison.csv", "comparison.json"}


def spread(**settings: Any) -> list[tuple[str, str | None, str, float | None, tuple[int, ...]]]:
    """Name, base, method, rate and seeds of every combination."""
    found = expand({"name": "m", "recipe": COMMON} | settings, "m.yaml", Path("/nowhere"))
    return [
        (
            one.recipe.name,
            one.recipe.base.model if one.recipe.base else None,
            one.recipe.method.kind,
            one.recipe.train.learning_rate if one.recipe.train else None,
            one.seeds,
        )
        for one in found
    ]


MATRICES: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "the recipe alone": ({}, [("m", "org/one", "full", 1e-3, (7,))]),
    "methods": (
        {"methods": ["lora", {"kind": "ia3", "train": {"learning_rate": 0.01}}]},
        [("m-lora", "org/one", "lora", 1e-3, (7,)), ("m-ia3", "org/one", "ia3", 0.01, (7,))],
    ),
    "bases, one of them named": (
        {"bases": ["org/one", {"model": "org/one", "name": "short", "max_length": 8}], "methods": ["lora"]},
        [("m-one", "org/one", "lora", 1e-3, (7,)), ("m-short", "org/one", "lora", 1e-3, (7,))],
    ),
    "a baseline has no base, no rate and one seed": (
        {"bases": ["org/a", "pypi:x==1/y/B.gguf"], "methods": ["full", "tfidf"], "seeds": [7, 1]},
        [
            ("m-a-full", "org/a", "full", 1e-3, (7, 1)),
            ("m-tfidf", None, "tfidf", None, (7,)),
            ("m-B-full", "pypi:x==1/y/B.gguf", "full", 1e-3, (7, 1)),
        ],
    ),
}


@pytest.mark.parametrize("name", MATRICES)
def test_a_matrix_is_every_base_with_every_method(name: str) -> None:
    settings, expected = MATRICES[name]
    assert spread(**settings) == expected


def test_a_base_takes_the_place_of_the_recipes_but_not_of_its_other_settings() -> None:
    (one,) = expand({"name": "m", "recipe": COMMON, "bases": ["org/two"]}, "m.yaml", Path("/nowhere"))
    assert one.recipe.base is not None
    assert (one.recipe.base.model, one.recipe.base.revision, one.recipe.base.max_length) == ("org/two", None, 32)


FAULTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "keys and values, all at once": (
        {"metods": ["lora"], "methods": [3], "seeds": [-1], "name": "a b"},
        [
            "metods: unknown key; nearest is 'methods'; known are name, recipe, bases, methods, seeds",
            "name: expected letters",
            "methods.0: expected text or settings, found 3",
            "seeds.0: expected at least 0, found -1",
        ],
    ),
    "one fault of all recipes is told once, one of a method with its name": (
        {"recipe": {**COMMON, "sed": 1}, "methods": ["full", {"kind": "lora", "rr": 8}]},
        ["sed: unknown key; nearest is 'seed'", "m-lora: method.rr: unknown key; nearest is 'r'"],
    ),
    "a baseline refuses what is said for it": (
        {"methods": ["full", {"kind": "tfidf", "train": {"max_steps": 1}}]},
        ["m-tfidf: train: the baseline 'tfidf' has no use for it"],
    ),
    "two methods of one name": (
        {"methods": ["lora", {"kind": "lora", "r": 4}]},
        ["methods: 2 entries make runs of the name 'lora'; give each a name of its own, as name: lora-2"],
    ),
    "a name that is no file name": ({"bases": [{"model": "x", "name": "../x"}]}, ["bases: expected a name of letters"]),
    "two combinations of one name": (
        {"bases": [{"model": "x", "name": "a"}, {"model": "y", "name": "a-b"}]}
        | {"methods": [{"kind": "lora", "name": "b-c"}, {"kind": "lora", "name": "c"}]},
        ["two combinations make runs of the name 'm-a-b-c'"],
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_faults_of_a_matrix_are_told_at_once(name: str) -> None:
    settings, expected = FAULTS[name]
    with pytest.raises(InputError) as caught:
        spread(**settings)
    found = caught.value.faults
    assert [any(fault.startswith(begin) for fault in found) for begin in expected] == [True] * len(expected), found
    assert len(found) == len(expected)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "in.csv", make_rows(90))


def rows(tmp_path: Path, *sources: Path, seeds: int = 1) -> list[cells.Row]:
    return cells.rows_of([str(one) for one in sources], seeds, tmp_path / "runs", tmp_path / "out", lambda _: None)


def test_further_seeds_have_the_same_rows(data: Path, tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "a.yaml", data=data)
    one = load_recipe(str(path), ["data.max_train_samples=20"])
    first, other = bind_recipe(one), bind_recipe(cells.under_seed(one, 8))  # type: ignore[arg-type]
    assert (first.recipe.seed, other.recipe.seed, other.recipe.data.seed) == (3, 8, 3)
    assert first.data.digests() == other.data.digests()
    assert bind(str(path), ["data.max_train_samples=20", "seed=8"]).data.digests() != first.data.digests()
    assert {**first.identity, "seed": 8} == other.identity


def test_a_seed_of_the_data_that_is_not_set_leaves_identities_as_they_were() -> None:
    assert "data.seed" not in identity(recipe(), "data", "base")


def test_the_test_rows_of_a_further_seed_are_found_again(data: Path, tmp_path: Path) -> None:
    one = load_recipe(str(write_recipe(tmp_path / "a.yaml", data=data)))
    bound = bind_recipe(cells.under_seed(one, 8))  # type: ignore[arg-type]
    assert bound.data.test is not None
    decided = {"labels": bound.data.labels.as_dict(), "data": {"test": {"digest": bound.data.test.digest()}}}
    run = create_run(tmp_path / "runs", bound.recipe, manifest(bound.recipe) | decided)
    assert sealed_rows(run).ids == bound.data.test.ids


def test_a_recipe_is_trained_under_its_own_seed_and_those_after_it(data: Path, tmp_path: Path) -> None:
    trained = write_recipe(tmp_path / "a.yaml", data=data, base=Path("org/base"))
    found = rows(tmp_path, trained, write_recipe(tmp_path / "b.yaml", data=data, method={"kind": "tfidf"}), seeds=3)
    assert [[cell.name for cell in row.cells] for row in found] == [["a", "a-seed4", "a-seed5"], ["b"]]
    own, *further = found[0].cells
    assert (own.source, own.written) == (str(trained), False)
    cells.write_recipes(found)
    assert [load_recipe(cell.source) for cell in further] == [cell.recipe for cell in further]


def test_runs_that_a_comparison_made_under_several_seeds_are_one_row_again(tmp_path: Path) -> None:
    one = finished_run(tmp_path, "a")
    other = finished_run(tmp_path, "a-seed43", seed=43)
    alien = finished_run(tmp_path, "a-seed44", seed=44, method={"kind": "ia3"})
    found = rows(tmp_path, one.path, alien.path, other.path)
    assert [[cell.name for cell in row.cells] for row in found] == [["a", "a-seed43"], ["a-seed44"]]


def test_two_cells_of_one_name_are_refused_with_both(data: Path, tmp_path: Path) -> None:
    one = write_recipe(tmp_path / "one.yaml", data=data, base=Path("org/base"), name="a")
    other = write_recipe(tmp_path / "other.yaml", data=data, name="A-seed4")
    with pytest.raises(InputError, match="are runs of one name") as caught:
        rows(tmp_path, one, other, seeds=2)
    assert all(words in str(caught.value) for words in (f"{one} (a-seed4)", f"{other} (A-seed4)"))


def test_a_comparison_of_one_is_refused(data: Path, tmp_path: Path) -> None:
    for source in (write_recipe(tmp_path / "one.yaml", data=data), finished_run(tmp_path, "a").path):
        with pytest.raises(InputError, match=r"is alone.*`tunebench report"):
            rows(tmp_path, source)


def look_over(tmp_path: Path, *sources: Path) -> list[soundness.Sound]:
    return soundness.looked_over(rows(tmp_path, *sources), tmp_path / "runs")


def test_what_cannot_be_compared_is_refused_before_anything_is_trained(data: Path, tmp_path: Path) -> None:
    one = write_recipe(tmp_path / "one.yaml", data=data)
    cut, three = "  test:\n    fraction: 0.2\n    stratify: true\n", make_rows(90, ("negative", "positive", "mixed"))
    none, given, labels = (
        write_recipe(tmp_path / f"{name}.yaml", data=path)
        for name, path in (("none", data), ("given", data), ("labels", write_csv(tmp_path / "three.csv", three)))
    )
    for path, text in ((none, ""), (given, f"  test: {write_csv(tmp_path / 'test.csv')}\n"), (labels, "  test: test.csv\n")):
        assert cut in path.read_text()
        path.write_text(path.read_text().replace(cut, text))
    run = finished_run(tmp_path, "run").path
    for words, *pair in (
        ("rows: other test rows than one", one, write_recipe(tmp_path / "rows.yaml", data=data, seed=4)),
        ("labels: other labels than given", given, labels),
        ("none: has no test scores; its recipe has no test split", one, none),
        ("run: has no predictions.parquet", one, run),
    ):
        with pytest.raises(InputError) as caught:
            look_over(tmp_path, *pair)
        assert words in str(caught.value)
    with pytest.raises(InputError) as caught:
        look_over(tmp_path, one, none, run)
    assert len(caught.value.faults) == 2
    assert not (tmp_path / "runs").exists()


def test_a_run_of_other_settings_in_the_place_of_a_cell_is_refused_with_its_keys(data: Path, tmp_path: Path) -> None:
    paths = [write_recipe(tmp_path / f"{name}.yaml", data=data, method={"kind": "tfidf"}) for name in "ab"]
    bound = bind(str(paths[0]), ["method.min_df=3"])
    run = create_run(tmp_path / "runs", bound.recipe, manifest(bound.recipe) | {"identity": bound.identity})
    assert [known.finished for known in look_over(tmp_path, *paths)] == [frozenset(), frozenset()]  # it came to nothing
    run.record(Finished([]))
    with pytest.raises(InputError, match=r"a run of this name exists and differs: method\.min_df: 3 -> 2"):
        look_over(tmp_path, *paths)


def child(code: str, *arguments: object) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *map(str, arguments))


SLEEPS = "import sys, time; time.sleep(float(sys.argv[1]))"
CATCHES = """
import signal, sys, time
def hear(*_):
    open(sys.argv[1], "a").write("heard ")
    sys.exit(130)
signal.signal(signal.SIGINT, hear)
open(sys.argv[1], "w").write("ready ")
time.sleep(20)
"""


@pytest.mark.parametrize(
    ("sizes", "most"),
    [((40, 50, 60), 2), ((60, 60, 60), 1), ((200, 10, 10), 2), ((None, 10, None), 1)],
    ids=["two fit", "one fits", "one is too large and runs alone", "one of unknown size runs alone"],
)
def test_no_more_run_at_once_than_the_memory_holds(sizes: Sequence[int | None], most: int, tmp_path: Path) -> None:
    told: list[Told] = []
    tasks = [
        Task(str(i), child(SLEEPS, 0.3), tmp_path / f"{i}.log", needs=None if size is None else {"ram": size})
        for i, size in enumerate(sizes)
    ]
    assert run_tasks(tasks, 2, {"ram": 100}, told.append) == {"0": None, "1": None, "2": None}
    running, seen = set[str](), list[set[str]]()
    for event in told:
        running = running | {event.name} if isinstance(event, Begun) else running - {getattr(event, "name", "")}
        seen.append(running)
    assert max(map(len, seen)) == most
    assert all(sum(sizes[int(name)] or 101 for name in names) <= 100 for names in seen if len(names) > 1)


def test_room_is_by_resource() -> None:
    assert fits({"ram": 5, "gpu": 5}, [{"ram": 5}], {"ram": 10, "gpu": 5})
    assert not fits({"ram": 1, "gpu": 5}, [{"ram": 1, "gpu": 1}], {"ram": 10, "gpu": 5})


def test_the_processor_is_shared_among_those_that_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    code = "import os, sys; open(sys.argv[1], 'w').write(os.environ.get('OMP_NUM_THREADS', 'all'))"
    for at_once, threads in ((2, "4"), (1, "all")):
        tasks = [Task(str(i), child(code, tmp_path / str(i)), tmp_path / "log", needs={}) for i in range(2)]
        run_tasks(tasks, at_once, {}, lambda _: None)
        assert (tmp_path / "0").read_text() == threads


def test_ctrl_c_is_heard_once_by_every_child_and_ends_the_comparison(tmp_path: Path) -> None:
    said = [tmp_path / name for name in "ab"]
    tasks = [Task(path.name, child(CATCHES, path), tmp_path / "log", needs={}) for path in said]

    def press() -> None:
        until = time.monotonic() + 20
        while not all(path.is_file() and path.read_text() for path in said) and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    with pytest.raises(Interrupted, match="the same command goes on") as caught:
        run_tasks([*tasks, Task("c", child(SLEEPS, 9), tmp_path / "log")], 2, {}, lambda _: None)
    assert caught.value.exit_code == 130
    assert [path.read_text() for path in said] == ["ready heard ", "ready heard "]


ENDS: dict[str, tuple[str, int, str]] = {
    "words of the program": ("step 1\nerror: a.yaml: 2 faults\n  - one\n  - two\n", 2, "a.yaml: 2 faults; - one; - two"),
    "a traceback": ("Traceback (most recent call last):\n  File x\nValueError: no\n", 1, "ValueError: no"),
    "nothing": ("", 4, "ended with exit code 4"),
    "the system": ("step 1\n", -9, "ended by SIGKILL, as the system does where memory runs out"),
    "a fault of the program itself": ("", -11, "ended by SIGSEGV"),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_last_words_of_a_child_are_its_error(name: str, tmp_path: Path) -> None:
    text, code, words = ENDS[name]
    (tmp_path / "log").write_text(text)
    assert fault_of(tmp_path / "log", code) == words
    assert fault_of(tmp_path / "log", 0) is None


def test_progress_is_a_line_per_cell_with_what_is_left(tmp_path: Path) -> None:
    out = io.StringIO()
    show = CellLines(out)
    show(Begun("a", 1, 4, 1_270_000_000))
    show(Ended("a", 1, 4, 90.0, None, done=1, elapsed=90.0, left=270.0))
    show(Ended("b", 2, 4, 5.0, "it \x1b[31m died", done=2, elapsed=95.0, left=95.0))
    assert out.getvalue().splitlines() == [
        "[1/4] a: begins, planned to need 1.27 GB at most",
        "[1/4] a: finished in 1:30; 1 of 4 done in 1:30, about 4:30 left",
        "[2/4] b: FAILED after 5 s: it \\x1b[31m died; 2 of 4 done in 1:35, about 1:35 left",
    ]
    assert steps_of(finished_run(tmp_path).path) == (40, 40)


def test_a_container_with_a_limit_has_no_more_than_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {"most": "1000", "held": "900", "memory.stat": "anon 300\nfiles 250\n"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(environment, "_CONTAINERS", ((tmp_path, "most", "held", "files"),))
    assert environment.available_memory_bytes() == 350
    (tmp_path / "most").write_text("max")
    assert environment.available_memory_bytes() > 10**6
    assert memory.room()["ram"] > 10**6


@pytest.fixture
def sources(data: Path, tmp_path: Path) -> list[str]:
    return [str(write_recipe(tmp_path / f"{name}.yaml", data=data)) for name in ("one", "two", "three")]


def compare(tmp_path: Path, sources: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The comparison, and which cells were trained for it."""
    told: list[Told] = []
    found = jobs.compare(sources, tmp_path / "runs", tmp_path / "out", told.append, timed=False)
    return found, [event.name for event in told if isinstance(event, Begun)]


def test_a_cell_that_fails_stands_in_the_table_and_only_it_is_tried_again(sources: list[str], tmp_path: Path) -> None:
    first, _ = bind(sources[0]), jobs.train(sources[2], [], tmp_path / "runs", lambda _: None)
    with open_run(tmp_path / "runs" / "one", first.recipe, manifest_of(first)):
        pass  # killed at its very beginning
    (busy := Folder(tmp_path / "runs" / "two")).make()
    with busy.locked():
        found, trained = compare(tmp_path, sources)
    assert trained == ["one", "two"]
    assert [(row["run"], row["error"] is None) for row in found["rows"]] == [("one", True), ("three", True), ("two", False)]
    assert "another process is at work on this run" in found["rows"][2]["error"]
    before = {name: (tmp_path / "runs" / name / "metrics.json").read_bytes() for name in ("one", "three")}
    found, trained = compare(tmp_path, sources)
    assert trained == ["two"]
    assert [row["error"] for row in found["rows"]] == [None] * 3
    assert before == {name: (tmp_path / "runs" / name / "metrics.json").read_bytes() for name in before}
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == found
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*PAGES, "logs"}


def test_every_comparison_is_a_look_at_the_test_rows(
    sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for source in sources[:2]:
        jobs.train(source, [], tmp_path / "runs", lambda _: None)
    found, trained = compare(tmp_path, sources[:2])
    assert [cell["looks"] for row in found["rows"] for cell in row["cells"]] == [2, 2]
    assert trained == []
    *_, last = Run(tmp_path / "runs" / "one").events()
    assert last == Looked("test", "compare", 2)
    assert tunebench(capsys, "evaluate", "one", "--runs", tmp_path / "runs", "--json")[0] == 0
    *_, last = Run(tmp_path / "runs" / "one").events()
    assert isinstance(last, Scored)
    assert last.look == 3


def test_a_run_that_cannot_be_written_is_shown_and_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = finished_run(tmp_path, "one"), finished_run(tmp_path, "other")
    (one.path / "events.jsonl").rename(one.path / "kept")
    (one.path / "events.jsonl").mkdir()
    monkeypatch.setattr(Run, "events", lambda run: iter([]))
    (words,) = count_looks([one, other], "report")
    assert words.startswith("one: its test rows are shown and that look cannot be counted")


def test_figures_of_other_settings_another_machine_or_other_weights_are_taken_anew(tmp_path: Path) -> None:
    run = finished_run(tmp_path, method={"kind": "tfidf"}, base=None)
    based = finished_run(tmp_path, "based", base={"model": "bert-base-uncased", "max_length": 64})
    fitting: dict[str, Any] = {"batch_size": 32, "threads": threads_here(), "hardware": environment.hardware(), "weights": None}
    forms = {"torch": {}, "torch-merged": {}}
    for one, length in ((run, None), (based, 64)):
        one.write_json(BENCH, fitting | {"max_length": length, "forms": forms})
        assert outcome.is_timed(one)
        for change in ({"max_length": 16}, {"batch_size": 8}, {"hardware": {}}, {"weights": "x"}, {"threads": 99}, {"forms": {}}):
            one.write_json(BENCH, fitting | {"max_length": length, "forms": forms} | change)
            assert not outcome.is_timed(one), change


def test_a_failed_cell_ends_the_command_with_1_and_its_table_on_standard_output(
    sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs.train(sources[0], [], tmp_path / "runs", lambda _: None)
    options = ["--runs", tmp_path / "runs", "--output", tmp_path / "out", "--no-bench", "--json"]
    (busy := Folder(tmp_path / "runs" / "two")).make()
    with busy.locked():
        code, out, err = tunebench(capsys, "compare", *sources[:2], *options)
    assert (code, [row["run"] for row in json.loads(out)["rows"]]) == (1, ["one", "two"])
    assert "[1/1] two: FAILED" in err
    assert "error: 1 of 2 trainings failed (two)" in err
    assert "another process is at work" in (tmp_path / "out" / "logs" / "two.log").read_text()


def test_what_every_row_needs_is_planned_in_another_process(world: World, tmp_path: Path) -> None:
    sources = [
        write_recipe(tmp_path / "lora.yaml", data=world.data, base=world.bases["bert"]),
        write_recipe(tmp_path / "tfidf.yaml", data=world.data, method={"kind": "tfidf"}),
        write_recipe(tmp_path / "lost.yaml", data=world.data, base=world.bases["bert"]),
    ]
    found = rows(tmp_path, *sources)
    known = soundness.looked_over(found, tmp_path / "runs")
    Path(found[2].cells[0].source).unlink()
    needs = memory.planned(found, known, tmp_path / "runs")
    (lora, tfidf), size = (needs["lora"], needs["tfidf"]), known[1].characters
    assert lora is not None
    assert list(lora) == ["ram"]
    assert 0.9e9 < lora["ram"] < 1.5e9
    assert tfidf == {"ram": memory.FITTING + memory.PER_CHARACTER * size}
    assert size > 1000
    assert needs["lost"] is None


def test_a_child_ends_with_a_comparison_that_is_killed(tmp_path: Path) -> None:
    told = tmp_path / "told"
    child = [
        "import os, signal, time; from pathlib import Path",
        "signal.signal(signal.SIGINT, signal.default_int_handler)",  # it may be ignored where the tests run in the background
        f"Path({str(told)!r}).write_text(str(os.getpid())); time.sleep(60)",
    ]
    lines = [
        "import sys, time; from pathlib import Path; from tunebench.comparing.processes import start",
        f"start([sys.executable, '-c', {chr(10).join(child)!r}], Path({str(tmp_path / 'log')!r})); time.sleep(60)",
    ]
    parent = subprocess.Popen([sys.executable, "-c", "\n".join(lines)])
    wait_until(lambda: told.is_file() and told.read_text() != "")
    pid = int(told.read_text())
    assert Path(f"/proc/{pid}").exists()
    parent.kill()
    parent.wait()
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or " Z" in Path(f"/proc/{pid}/stat").read_text())


def wait_until(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < until, "it did not happen within 20 s"
        time.sleep(0.05)
