"""Law 3: the same recipe on the same machine gives the same bytes; the seed is set before anything is built."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import METHODS, World, write_recipe

from tunebench import binding, jobs
from tunebench.model import bundle
from tunebench.model.methods import trainable_state
from tunebench.runs.run import Run

MAY_DIFFER = {"train_seconds", "seconds", "rows_per_second", "peak_memory_bytes", "peak_gpu_memory_bytes"}
MAY_DIFFER |= {"time", "created", "files"}
"""Keys that tell of time and memory; ``files`` because jobs in this process draw no figures (warm.py)."""


def recipe_of(world: World, folder: Path, method: str, **changes: Any) -> str:
    return str(write_recipe(folder / "twin.yaml", data=world.data, base=world.bases["bert"], method=METHODS[method], **changes))


def train(recipe: str, runs: Path, *overrides: str) -> Run:
    return jobs.train(recipe, overrides, runs, lambda event: None).run


def untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: untimed(inner) for key, inner in value.items() if key not in MAY_DIFFER}
    return [untimed(inner) for inner in value] if isinstance(value, list) else value


def lasting(run: Run) -> dict[str, Any]:
    """Every file of a run: bytes, or for JSON the values without time and memory."""
    found: dict[str, Any] = {}
    for path in sorted(run.path.rglob("*")):
        name = str(path.relative_to(run.path))
        if path.name in ("manifest.json", "metrics.json"):
            found[name] = untimed(json.loads(path.read_text("utf-8")))
        elif path.name == "events.jsonl":
            found[name] = [untimed(json.loads(line)) for line in path.read_text("utf-8").splitlines()]
        elif path.is_file() and path.suffix != ".pdf":
            found[name] = path.read_bytes()
    return found


def disturb_generators(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)
    torch.rand(number)


@pytest.mark.parametrize("method", METHODS)
def test_one_recipe_trained_twice_leaves_the_same_bytes(world: World, warm: None, tmp_path: Path, method: str) -> None:
    recipe = recipe_of(world, tmp_path, method)
    disturb_generators(1)
    one = lasting(train(recipe, tmp_path / "one"))
    disturb_generators(99)
    other = lasting(train(recipe, tmp_path / "other"))
    assert list(one) == list(other)
    assert [name for name in one if one[name] != other[name]] == []
    assert {"metrics.json", "predictions.parquet", "splits.json", "events.jsonl"} <= set(one)
    assert any(name.endswith(".safetensors") for name in one)


def test_a_new_process_with_other_hash_seeds_leaves_the_same_bytes(world: World, warm: None, tmp_path: Path) -> None:
    recipe = recipe_of(world, tmp_path, "lora")
    wide = ["method.target_modules=all-linear"]
    here = lasting(train(recipe, tmp_path / "here", *wide))
    command = [sys.executable, "-m", "tunebench.cli", "train", recipe, "--runs", str(tmp_path / "there"), "--set", *wide]
    done = subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": "4711"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    there = lasting(Run(tmp_path / "there" / "twin"))
    assert set(there) == set(here)
    assert [name for name in here if here[name] != there[name]] == []


def test_another_seed_starts_and_ends_elsewhere(world: World, warm: None, tmp_path: Path) -> None:
    recipe = recipe_of(world, tmp_path, "lora")
    one, other = (train(recipe, tmp_path / str(seed), f"seed={seed}") for seed in (3, 4))
    assert (one.weights / "adapter_model.safetensors").read_bytes() != (other.weights / "adapter_model.safetensors").read_bytes()
    splits = [json.loads((run.path / "splits.json").read_text("utf-8")) for run in (one, other)]
    assert splits[0]["test"] != splits[1]["test"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_new_weights_are_drawn_from_the_seed_alone(world: World, tmp_path: Path, method: str, pooling: str) -> None:
    bound = binding.bind(recipe_of(world, tmp_path, method), [f"base.pooling={pooling}"])
    starts = []
    for noise in (1, 99):
        disturb_generators(noise)
        model, new = bundle.compose(bound.recipe, bound.data.labels, bound.recipe.seed)
        assert any("classifier" in name for name in new)
        starts.append({name: tensor.detach().clone() for name, tensor in trainable_state(model).items()})
    assert list(starts[0]) == list(starts[1])
    assert all(torch.equal(starts[0][name], starts[1][name]) for name in starts[0])
    elsewhere, _ = bundle.compose(bound.recipe, bound.data.labels, bound.recipe.seed + 1)
    assert not all(torch.equal(starts[0][name], tensor) for name, tensor in trainable_state(elsewhere).items())
