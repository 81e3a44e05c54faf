"""The trained run that comes in the wheel: small, finished, proved, and the model that its metrics speak of."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest

from tunebench import jobs
from tunebench.recipe.load import load_recipe
from tunebench.runs.index import find_run
from tunebench.runs.run import Run

SHIPPED = Path(str(resources.files("tunebench") / "starter_run"))


def test_it_is_under_a_megabyte_with_recipe_card_and_proof() -> None:
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_000_000
    names = {path.relative_to(SHIPPED).as_posix() for path in files}
    assert names >= {"recipe.yaml", "manifest.json", "metrics.json", "adapter/adapter_model.safetensors", "adapter/README.md"}
    assert [proof["passed"] for proof in Run(SHIPPED).metrics["proofs"]] == [True]


def test_its_weights_are_the_ones_that_were_scored() -> None:
    run = Run(SHIPPED)
    assert run.status() == "finished"
    run.check_weights()


def test_it_names_no_folder_of_the_machine_it_was_trained_on() -> None:
    manifest = json.loads((SHIPPED / "manifest.json").read_text("utf-8"))
    assert {item["source"] for item in manifest["data"].values()} == {"starter:reviews", "cut from train"}
    assert manifest["base"]["model"] == "starter:minilm"


def test_it_was_made_by_the_preset_of_its_name() -> None:
    preset, shipped = load_recipe("starter"), Run(SHIPPED).recipe
    assert (shipped.name, shipped.seed, shipped.data) == (preset.name, preset.seed, preset.data)
    derived = {"metric_for_best_model": "accuracy"}  # filled in where the preset leaves it out
    assert shipped.settings == preset.settings.model_copy(update=derived)


def test_work_with_it_goes_to_a_copy_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEBENCH_HOME", str(tmp_path / "home"))
    run = find_run("starter", tmp_path / "runs")
    assert run.path.is_relative_to(tmp_path / "home")
    assert run.name == "starter"


@pytest.mark.slow
def test_it_answers_right_after_the_starter_files_are_unpacked(tmp_path: Path) -> None:
    texts = {"A dull, lifeless mess of a film.": "negative", "Funny, warm and beautifully acted.": "positive"}
    found = jobs.predict_texts("starter", tmp_path, list(texts))
    assert [item["predicted"] for item in found] == list(texts.values())
    assert all(item["probabilities"][item["predicted"]] > 0.9 for item in found)
