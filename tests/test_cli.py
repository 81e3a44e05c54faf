"""The command line: exit codes, what goes to which stream, and no traceback for anything a user does."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import click
import pytest
from shelf import finished_run, tunebench
from tiny import write_csv, write_recipe

from tunebench import __version__, fitting, jobs
from tunebench.cli import commands
from tunebench.compare.table import HEADER
from tunebench.errors import GateFailed, TunebenchError
from tunebench.recipe.load import presets

Capture = pytest.CaptureFixture[str]
NAMES = sorted(commands.commands)
ANSI_LABEL = "\x1b[31mred\nline"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled file, a recipe and its finished run ``runs/majority``."""
    folder = tmp_path_factory.mktemp("cli")
    write_recipe(folder / "majority.yaml", data=write_csv(folder / "t.csv"))
    jobs.train(str(folder / "majority.yaml"), [], folder / "runs", lambda event: None)
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def test_the_version_is_shown(capsys: Capture) -> None:
    assert tunebench(capsys, "--version") == (0, f"tunebench, version {__version__}\n", "")


@pytest.mark.parametrize("name", NAMES)
def test_the_help_of_a_command_names_what_it_takes(name: str, capsys: Capture) -> None:
    code, out, err = tunebench(capsys, name, "--help")
    assert (code, err) == (0, "")
    for parameter in commands.commands[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.opts[0] in out
        else:
            assert (parameter.metavar or str(parameter.name).upper()) in out


def test_every_command_that_shows_a_result_can_print_json() -> None:
    with_json = {name for name in NAMES if any("--json" in parameter.opts for parameter in commands.commands[name].params)}
    assert set(NAMES) - with_json == {"app", "chat", "schema"}  # a schema is JSON, pages are for people


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nope"], "No such command 'nope'"),
        (["train"], "Missing argument 'RECIPE'"),
        (["train", "a", "b"], "Got unexpected extra argument (b)"),
        (["train", "a", "--no-such-option"], "No such option"),
        (["train", "a", "--set"], "requires an argument"),
        (["evaluate"], "Missing argument 'RUN'"),
        (["evaluate", "majority", "--answers", "t.csv"], "--answers and --id belong to --data"),
        (["predict", "majority"], "give either --text or FILE"),
        (["predict", "majority", "t.csv", "--text", "x"], "give either --text or FILE"),
        (["predict", "majority", "t.csv"], "FILE needs --output"),
        (["predict", "majority", "--text", "x", "--output", "y.csv"], "--answers-only belong to FILE"),
        (["predict", "majority", "--text", "x", "--text-column", "y"], "--answers-only belong to FILE"),
        (["predict", "majority", "--text", "\udcff"], "--text is not UTF-8"),
        (["compare"], "Missing argument 'SOURCES...'"),
        (["params", "--model", "x"], "Missing option '--method'"),
        (["params", "--model", "x", "--method", "lora", "--pooling", "max"], "'max' is not one of 'cls', 'mean'"),
        (["params", "--model", "x", "--method", "lora", "--num-labels", "1"], "not in the range"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(arguments: list[str], words: str, capsys: Capture) -> None:
    code, out, err = tunebench(capsys, *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert "Error: " in err


@pytest.mark.parametrize("verb", ["evaluate", "merge"])
def test_an_unknown_run_exits_with_2_and_lists_the_runs(verb: str, capsys: Capture) -> None:
    code, out, err = tunebench(capsys, verb, "majorty")
    assert (code, out) == (2, "")
    assert "no such run; nearest is 'majority'; runs in runs are majority" in err


def test_an_unknown_recipe_exits_with_2_and_lists_the_presets(capsys: Capture) -> None:
    code, _, err = tunebench(capsys, "train", "starter-lorra")
    assert code == 2
    assert "nearest is 'starter-lora'" in err
    assert all(name in err for name in presets())


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (TunebenchError("the disk is full"), 1, "error: the disk is full\n"),
        (GateFailed("a proof failed"), 3, "error: a proof failed\n"),
        (OSError(28, os.strerror(28), "/x/y"), 1, "error: /x/y: No space left on device; free some space there\n"),
        (OSError("odd"), 1, "error: odd\n"),
        (KeyboardInterrupt(), 130, "\ninterrupted; a training goes on where it was by the same command\n"),
    ],
)
def test_every_way_to_end_has_its_exit_code(
    error: BaseException, code: int, words: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(jobs, "evaluate", fail)
    assert tunebench(capsys, "evaluate", "majority") == (code, "", words)


def test_without_the_extra_a_verb_that_needs_it_names_it(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(fitting, "find_spec", absent)
    code, _, err = tunebench(capsys, "train", "majority.yaml", "--set", "name=other")
    assert code == 2
    assert "pip install 'tunebench[train]'" in err


def test_training_shows_progress_on_one_stream_and_its_result_on_the_other(capsys: Capture, tmp_path: Path) -> None:
    code, out, err = tunebench(capsys, "train", "majority.yaml", "--runs", tmp_path)
    assert code == 0
    assert out.startswith(f"{tmp_path}/majority is finished: test accuracy 0.")
    assert "38 training rows" in err


def test_a_finished_run_is_left_as_it_is(capsys: Capture) -> None:
    files = {path: path.stat().st_mtime_ns for path in Path("runs/majority").rglob("*")}
    code, out, err = tunebench(capsys, "train", "majority.yaml")
    assert (code, err) == (0, "")
    assert "is already finished; nothing to do: test accuracy" in out
    assert {path: path.stat().st_mtime_ns for path in Path("runs/majority").rglob("*")} == files


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (["train", "majority.yaml"], {"run", "path", "already_finished", "metrics"}),
        (["evaluate", "majority", "--data", "t.csv"], {"accuracy", "f1_macro", "per_label", "confusion", "labels", "split"}),
        (["predict", "majority", "t.csv", "--output", "out.jsonl"], {"rows", "errors", "truncated", "output", "renamed_columns"}),
        (["env"], {"versions", "hardware", "torch", "variables"}),
        (["schema"], {"$defs", "anyOf"}),
    ],
)
def test_json_is_one_object_on_standard_output(arguments: list[str], keys: set[str], capsys: Capture) -> None:
    code, out, _ = tunebench(capsys, *arguments, *([] if arguments == ["schema"] else ["--json"]))
    assert code == 0
    assert keys <= json.loads(out).keys()


def test_json_of_several_things_is_a_list(capsys: Capture) -> None:
    texts = json.loads(tunebench(capsys, "predict", "majority", "--text", "good", "--text", " ", "--json")[1])
    assert [(item["text"], item["error"]) for item in texts] == [("good", None), (" ", "the text is empty")]
    assert sum(texts[0]["probabilities"].values()) == pytest.approx(1)
    assert [item["run"] for item in json.loads(tunebench(capsys, "runs", "--json")[1])] == ["majority"]
    assert json.loads(tunebench(capsys, "runs", "--runs", "nowhere", "--json")[1]) == []


def test_evaluating_counts_the_looks_at_the_test_split(capsys: Capture, tmp_path: Path) -> None:
    tunebench(capsys, "train", "majority.yaml", "--runs", tmp_path)
    looks = [json.loads(tunebench(capsys, "evaluate", "majority", "--runs", tmp_path, "--json")[1])["look"] for _ in range(2)]
    assert looks == [2, 3]
    assert "rows; look 4" in tunebench(capsys, "evaluate", "majority", "--runs", tmp_path)[1]


def test_a_file_of_predictions_is_summed_up_in_a_line(capsys: Capture) -> None:
    code, out, _ = tunebench(capsys, "predict", "majority", "t.csv", "--output", "out.csv", "--text-column", "id")
    assert (code, out) == (0, "out.csv: 60 rows, 0 with an error, 0 cut at max_length\n")
    with open("out.csv", encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 60


def test_finished_recipes_are_compared_without_training_them_again(capfd: Capture, tmp_path: Path) -> None:
    recipes = [write_recipe(tmp_path / f"{name}.yaml", data=Path("t.csv").resolve()) for name in ("one", "two")]
    for recipe in recipes:
        jobs.train(str(recipe), [], tmp_path, lambda event: None)
    options = ["--no-bench", "--runs", tmp_path, "--output", tmp_path / "table", "--json"]
    code, out, err = tunebench(capfd, "compare", *recipes, *options)
    assert code == 0, err
    assert [row["run"] for row in json.loads(out)["rows"]] == ["one", "two"]
    assert (tmp_path / "table" / "comparison.csv").read_text().splitlines()[0] == ",".join(HEADER)
    assert err == ""


def test_no_label_can_steer_the_terminal(capsys: Capture, tmp_path: Path) -> None:
    rows = [{"id": i, "text": f"t{i}", "label": ("plain", ANSI_LABEL)[i % 2]} for i in range(40)]
    write_recipe(tmp_path / "ansi.yaml", data=write_csv(tmp_path / "t.csv", rows))
    for arguments in (["train", tmp_path / "ansi.yaml"], ["evaluate", "ansi"], ["predict", "ansi", "--text", "x"]):
        code, out, err = tunebench(capsys, *arguments, "--runs", tmp_path)
        assert code == 0
        assert "\x1b" not in out + err
    assert "\\x1b[31mred\\nline" in out


def test_damaged_runs_are_listed_with_what_is_wrong(capsys: Capture, tmp_path: Path) -> None:
    finished_run(tmp_path, "sound")
    (finished_run(tmp_path, "spoilt").path / "recipe.yaml").write_text("name: a")
    code, out, _ = tunebench(capsys, "runs", "--runs", tmp_path)
    lines = out.splitlines()
    assert code == 0
    assert lines[1].split()[:5] == ["sound", "finished", "bert-base-uncased", "lora", "0.9000"]
    assert lines[2].split()[:3] == ["spoilt", "damaged", "-"]
    assert "2 faults; data: missing" in lines[3]


def a_process(*arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tunebench.cli", *arguments], capture_output=True, text=True, check=False, **settings
    )


def test_a_process_ends_with_the_exit_code_and_no_traceback() -> None:
    done = a_process("train", "nothing.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: nothing.yaml: no such recipe file")
