"""Law 1: what was scored is what was saved, for every architecture, method and way of pooling."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plain import Saved, plain_probabilities
from safetensors.torch import load_file, save_file
from scored import scored_probabilities, scored_texts
from tiny import ARCHITECTURES, METHODS, World, write_recipe

from tunebench import jobs
from tunebench.errors import GateFailed, TunebenchError
from tunebench.events import Proved
from tunebench.model import bundle
from tunebench.runs.run import Run

TinyRun = Callable[..., Run]
EVERY = [(kind, method, pooling) for kind in ARCHITECTURES for method in METHODS for pooling in ("cls", "mean")]
ADAPTERS = [key for key in EVERY if key[1] in ("lora", "ia3")]


@pytest.fixture(scope="module")
def merged_run(tiny_run: TinyRun) -> TinyRun:
    """A tiny run with ``merged/``."""

    def merged(*key: str) -> Run:
        run = tiny_run(*key)
        if not (run.path / "merged").is_dir():
            jobs.merge(str(run.path), run.path.parent, lambda event: None)
        return run

    return merged


@pytest.fixture(scope="module")
def opened_plainly(
    tiny_run: TinyRun, merged_run: TinyRun, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, ...], np.ndarray]:
    """Probabilities of every saved folder out of a process that cannot import tunebench, by run and folder."""
    models: dict[tuple[str, ...], Saved] = {}
    for key in EVERY:
        run = tiny_run(*key)
        models[(*key, run.weights.name)] = Saved(run.path, run.weights.name, scored_texts(run))
        if key in ADAPTERS:
            models[(*key, "merged")] = Saved(merged_run(*key).path, "merged", scored_texts(run))
    found = plain_probabilities(list(models.values()), tmp_path_factory.mktemp("plain"))
    return {key: np.array(rows) for key, rows in zip(models, found, strict=True)}


@pytest.mark.parametrize("key", EVERY, ids="-".join)
def test_another_process_finds_the_logits_that_were_scored(tiny_run: TinyRun, key: tuple[str, str, str]) -> None:
    run = tiny_run(*key)
    assert run.status() == "finished"
    proof = run.metrics["proofs"][0]
    assert (proof["name"], proof["passed"], proof["label_flips"]) == ("reload", True, 0)
    assert proof["rows"] == 10
    assert proof["largest_difference"] <= 1e-6


@pytest.mark.parametrize("key", ADAPTERS, ids="-".join)
def test_merging_changes_nothing_beyond_rounding(merged_run: TinyRun, key: tuple[str, str, str]) -> None:
    run = merged_run(*key)
    proof = run.metrics["proofs"][-1]
    assert (proof["name"], proof["passed"], proof["label_flips"]) == ("merge", True, 0)
    assert proof["largest_difference"] <= 1e-4
    assert [event.name for event in run.events() if isinstance(event, Proved)] == ["reload", "merge"]


@pytest.mark.parametrize("key", ADAPTERS, ids="-".join)
def test_the_adapter_matters_to_what_the_proofs_compare(tiny_run: TinyRun, key: tuple[str, str, str]) -> None:
    run = tiny_run(*key)
    scorer = bundle.open_scorer(run)
    assert np.abs(scorer.score(scored_texts(run)).probabilities - scored_probabilities(run)).max() <= 1e-6
    with torch.no_grad():
        for name, parameter in scorer.backend.model.named_parameters():  # type: ignore[attr-defined]
            if "lora_B" in name or "ia3_" in name:
                parameter.fill_(float("ia3_" in name))
    assert np.abs(scorer.score(scored_texts(run)).probabilities - scored_probabilities(run)).max() > 1e-3


@pytest.mark.parametrize("key", EVERY, ids="-".join)
def test_plain_peft_and_transformers_open_what_was_saved_by_the_lines_of_its_card(
    tiny_run: TinyRun, opened_plainly: dict[tuple[str, ...], np.ndarray], key: tuple[str, str, str]
) -> None:
    run = tiny_run(*key)
    folders = ["adapter", "merged"] if key in ADAPTERS else ["model"]
    assert [folder for folder in ("adapter", "model", "merged") if (run.path / folder).exists()] == folders
    for folder in folders:
        assert np.abs(opened_plainly[(*key, folder)] - scored_probabilities(run)).max() <= 1e-5, folder


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_adapter_names_its_local_base_by_the_way_from_the_run_directory(
    tiny_run: TinyRun, world: World, architecture: str
) -> None:
    run = tiny_run(architecture, "lora", "cls")
    named = json.loads((run.weights / "adapter_config.json").read_text("utf-8"))["base_model_name_or_path"]
    assert not Path(named).is_absolute()
    assert (run.path / named).resolve() == world.bases[architecture].resolve()


def test_a_run_folder_can_be_moved_and_still_predicts_what_it_scored(tiny_run: TinyRun, tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(tiny_run("bert", "lora", "cls").path, tmp_path / "elsewhere" / "bert-lora-cls")))
    again = jobs.evaluate(str(run.path), tmp_path)
    assert again["look"] == 2
    assert {key: again[key] for key in run.metrics["test"]} == run.metrics["test"]


def spoil(folder: Path, part: str) -> None:
    """Turn the sign of one weight matrix in a saved model."""
    (path,) = folder.glob("*.safetensors")
    weights = load_file(path)
    name = next(name for name in weights if part in name)
    save_file(weights | {name: -weights[name]}, path, metadata={"format": "pt"})


def train_and_save_wrongly(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch, method: str, part: str) -> None:
    save = bundle.save_trained

    def save_wrongly(model: Any, run: Run, recipe: Any) -> Path:
        folder = save(model, run, recipe)
        spoil(folder, part)
        return folder

    monkeypatch.setattr(bundle, "save_trained", save_wrongly)
    recipe = write_recipe(folder / "wrong.yaml", data=world.data, base=world.bases["bert"], method=METHODS[method])
    jobs.train(str(recipe), [], folder / "runs", lambda event: None)


@pytest.mark.parametrize(
    ("method", "part"), [("lora", "lora_B"), ("ia3", "ia3_l"), ("lora", "classifier"), ("full", "query.weight")]
)
def test_a_model_that_was_saved_wrongly_fails_the_run(
    world: World, warm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, part: str
) -> None:
    with pytest.raises(GateFailed, match="proof 'reload' failed on 10 rows") as failure:
        train_and_save_wrongly(world, tmp_path, monkeypatch, method, part)
    assert failure.value.exit_code == 3
    run = Run(tmp_path / "runs" / "wrong")
    assert run.status() == "failed"
    assert run.metrics == {}


def test_a_run_whose_proof_failed_does_not_predict_as_if_nothing_had_happened(
    world: World, warm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(GateFailed):
        train_and_save_wrongly(world, tmp_path, monkeypatch, "lora", "lora_B")
    with pytest.raises(TunebenchError, match="failed"):
        jobs.predict_texts("wrong", tmp_path / "runs", ["good film"])


def test_a_merge_that_goes_wrong_is_refused_and_never_called_merged(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(Path(shutil.copytree(tiny_run("bert", "lora", "mean").path, tmp_path / "bert-lora-mean")))
    shutil.rmtree(run.path / "merged", ignore_errors=True)
    before = run.metrics
    save = bundle.save_merged

    def save_wrongly(run: Run, folder: Path) -> None:
        save(run, folder)
        spoil(folder, "query.weight")

    monkeypatch.setattr(bundle, "save_merged", save_wrongly)
    for _ in range(2):
        with pytest.raises(GateFailed, match="proof 'merge' failed"):
            jobs.merge(str(run.path), tmp_path, lambda event: None)
    assert not (run.path / "merged").exists()
    assert run.metrics == before


def test_a_failed_merge_leaves_an_earlier_good_one_alone(
    merged_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(Path(shutil.copytree(merged_run("bert", "lora", "mean").path, tmp_path / "bert-lora-mean")))
    before = (run.path / "merged" / "model.safetensors").read_bytes()
    save = bundle.save_merged

    def save_wrongly(run: Run, folder: Path) -> None:
        save(run, folder)
        spoil(folder, "query.weight")

    monkeypatch.setattr(bundle, "save_merged", save_wrongly)
    with pytest.raises(GateFailed, match="proof 'merge' failed"):
        jobs.merge(str(run.path), tmp_path, lambda event: None)
    assert (run.path / "merged" / "model.safetensors").read_bytes() == before


def test_a_run_whose_data_is_gone_can_still_be_merged(world: World, warm: None, tmp_path: Path) -> None:
    data = Path(shutil.copyfile(world.data, tmp_path / "gone.csv"))
    recipe = write_recipe(tmp_path / "recipe.yaml", data=data, base=world.bases["bert"])
    run = jobs.train(str(recipe), [], tmp_path / "runs", lambda event: None).run
    data.unlink()
    assert jobs.merge(run.name, tmp_path / "runs", lambda event: None)["proof"]["passed"]
