"""Law 10: whatever does not train or load a model starts without torch, and ``--help`` at once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import World, write_csv, write_recipe

from tunebench.runs.run import Run

HEAVY = ("torch", "transformers", "peft", "accelerate", "sklearn", "scipy", "pandas", "matplotlib")
SCRIPT = f"""
import sys
from tunebench.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("heavy:", [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""
HELP_SECONDS = 0.25


def heavy_modules_of(*arguments: str) -> tuple[str, list[str]]:
    """Standard output of a command, and which heavy packages its process had loaded at the end."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stderr.splitlines() if line.startswith("heavy:"))
    return done.stdout, json.loads(line.removeprefix("heavy:").replace("'", '"'))


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["train", "--help"], ["predict", "--help"], ["schema"], ["env"], ["env", "--json"]],
    ids=" ".join,
)
def test_help_schema_and_env_load_nothing_heavy(arguments: list[str]) -> None:
    shown, heavy = heavy_modules_of(*arguments)
    assert heavy == []
    assert shown


@pytest.mark.parametrize("method", ["majority", "tfidf"])
def test_a_baseline_evaluates_predicts_and_is_listed_without_torch(
    baseline_run: Callable[[str], Run], tmp_path: Path, method: str
) -> None:
    run = baseline_run(method)
    source = write_csv(tmp_path / "in.csv")
    for arguments, word in (
        (["evaluate", str(run.path)], "Accuracy"),
        (["evaluate", str(run.path), "--data", str(source), "--json"], "f1_macro"),
        (["predict", str(run.path), "--text", "a good film"], "positive"),
        (["predict", str(run.path), str(source), "--output", str(tmp_path / "out.csv")], "60 rows"),
        (["runs", "--runs", str(run.path.parent)], method),
    ):
        shown, heavy = heavy_modules_of(*arguments)
        assert heavy == [], arguments
        assert word in shown


def test_a_trained_model_is_listed_without_torch(tiny_run: Callable[..., Run]) -> None:
    run = tiny_run("bert", "lora", "cls")
    shown, heavy = heavy_modules_of("runs", "--runs", str(run.path.parent))
    assert heavy == []
    assert run.name in shown


def test_bad_input_is_refused_before_torch_is_loaded(world: World, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "bad.csv", [{"id": "1", "text": "good", "label": ""}, {"id": "2", "text": "", "label": "x"}])
    recipe = write_recipe(tmp_path / "bad.yaml", data=data, base=world.bases["bert"])
    script = SCRIPT.replace("assert not end.code, end.code", "assert end.code == 2, end.code")
    command = [sys.executable, "-c", script, "train", str(recipe), "--runs", str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "heavy: []"
    assert "row 1: 'label' is empty" in done.stderr
    assert "row 2: 'text' is empty" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_help_is_there_in_a_quarter_of_a_second() -> None:
    def seconds() -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "tunebench.cli", "--help"], stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - begun

    best = min(seconds() for _ in range(7))
    assert best <= HELP_SECONDS
