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

from tunebench.errors import TunebenchError
from tunebench.model.worker import ProofWorker
from tunebench.runs.run import Run

HEAVY = ("torch", "transformers", "peft", "accelerate", "sklearn", "scipy", "pandas", "matplotlib")
SCRIPT = f"""
import json, sys
from tunebench.cli import main
for sys.argv[1:] in json.loads(sys.argv[1]):
    try:
        main()
    except SystemExit as end:
        print("exit code", end.code)
print("heavy:", json.dumps([name for name in {HEAVY} if name in sys.modules]))
"""
HELP_SECONDS = 0.25


def shown_and_heavy(*commands: list[str]) -> tuple[str, list[str]]:
    """What these commands show in one process, and which heavy packages it has loaded at its end."""
    script = [sys.executable, "-c", SCRIPT, json.dumps(commands)]
    done = subprocess.run(script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    shown, _, heavy = done.stdout.rpartition("heavy:")
    return shown, json.loads(heavy)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["train", "--help"], ["predict", "--help"], ["schema"], ["env"]],
    ids=" ".join,
)
def test_help_schema_and_env_load_nothing_heavy(arguments: list[str]) -> None:
    shown, heavy = shown_and_heavy(arguments)
    assert heavy == []
    assert shown
    assert "exit code" not in shown


@pytest.mark.parametrize("method", ["majority", "tfidf"])
def test_a_baseline_evaluates_predicts_and_is_listed_without_torch(
    baseline_run: Callable[[str], Run], tmp_path: Path, method: str
) -> None:
    run = baseline_run(method)
    source = write_csv(tmp_path / "in.csv")
    shown, heavy = shown_and_heavy(
        ["evaluate", str(run.path)],
        ["evaluate", str(run.path), "--data", str(source), "--json"],
        ["predict", str(run.path), "--text", "a good film"],
        ["predict", str(run.path), str(source), "--output", str(tmp_path / "out.csv")],
        ["runs", "--runs", str(run.path.parent)],
    )
    assert heavy == []
    assert [word for word in ("Accuracy", "f1_macro", "positive", "60 rows", f"{method}  ") if word not in shown] == []
    assert "exit code" not in shown


def test_a_trained_model_is_listed_without_torch(tiny_run: Callable[..., Run]) -> None:
    run = tiny_run("bert", "lora", "cls")
    shown, heavy = shown_and_heavy(["runs", "--runs", str(run.path.parent)])
    assert heavy == []
    assert run.name in shown


def test_bad_input_is_refused_before_torch_is_loaded(world: World, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "bad.csv", [{"id": "1", "text": "good", "label": ""}, {"id": "2", "text": "", "label": "x"}])
    recipe = write_recipe(tmp_path / "bad.yaml", data=data, base=world.bases["bert"])
    shown, heavy = shown_and_heavy(["train", str(recipe), "--runs", str(tmp_path / "runs")])
    assert heavy == []
    assert "exit code 2" in shown
    assert "row 1: 'label' is empty" in shown
    assert "row 2: 'text' is empty" in shown
    assert not (tmp_path / "runs").exists()


def test_a_comparison_itself_loads_nothing_heavy(baseline_run: Callable[[str], Run], tmp_path: Path) -> None:
    runs = [str(baseline_run(method).path) for method in ("majority", "tfidf")]
    shown, heavy = shown_and_heavy(["compare", *runs, "--no-bench", "--json", "--output", str(tmp_path)])
    assert "exit code" not in shown, shown
    assert set(heavy) <= {"matplotlib", "pandas"}  # the charts, and what pyarrow looks for


def test_help_is_there_in_a_quarter_of_a_second() -> None:
    def seconds() -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "tunebench.cli", "--help"], stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - begun

    best = min(seconds() for _ in range(7))
    assert best <= HELP_SECONDS


def test_files_in_the_users_folder_shadow_no_module_of_a_child_process(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('code out of the data folder was run')")
    data = write_csv(tmp_path / "in.csv")
    recipes = [write_recipe(tmp_path / f"{name}.yaml", data=data, method={"kind": "majority"}).name for name in ("one", "two")]
    script = "from tunebench.cli import main; main()"
    command = [sys.executable, "-P", "-c", script, "compare", *recipes, "--no-bench", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [row["run"] for row in json.loads(done.stdout)["rows"]] == ["one", "two"]


def test_the_proof_worker_runs_no_code_of_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('code out of the data folder was run')")
    monkeypatch.chdir(tmp_path)
    with ProofWorker() as worker, pytest.raises(TunebenchError, match=r"manifest\.json|recipe\.yaml"):
        worker.logits(tmp_path, "saved", ["a text"], 1)
