"""Linear layers in 8-bit integers: near what was scored, and each row by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_causal_runs import TASKS, folder, train, trained, write  # noqa: F401 - fixtures among them
from torch import nn

from tunebench import jobs
from tunebench.errors import InputError
from tunebench.model import bundle
from tunebench.model.int8 import Int8Linear
from tunebench.runs.exports import TORCH_INT8
from tunebench.runs.index import find_run
from tunebench.training import open_scorer

TEXTS = ["good film", "a dull flat and very cold plot with a tired actor", "warm", "the story is bright and funny"]


@torch.no_grad()
def test_a_layer_is_within_its_rounding_of_the_exact_one() -> None:
    torch.manual_seed(0)
    layer, states = nn.Linear(48, 32), torch.randn(3, 5, 48) * torch.tensor([1.0, 30.0, 0.01])[:, None, None]
    exact, found = layer(states), Int8Linear(layer)(states)
    norms = states.norm(dim=-1, keepdim=True) * layer.weight.norm(dim=1)
    assert float(((found - exact).abs() / norms).max()) < 0.02
    assert float((found - exact).abs().max()) > 0
    assert torch.equal(Int8Linear(layer)(torch.zeros(2, 48)), layer.bias.expand(2, -1))


def test_a_row_gets_the_same_answer_whatever_stands_beside_it(folder: Path, trained: object) -> None:  # noqa: F811
    trained("prompt-classification")  # type: ignore[operator]
    run = find_run("prompt-classification-lora", folder / "runs")
    scorer, exact = open_scorer(run, TORCH_INT8), open_scorer(run)
    together = scorer.score(TEXTS).logits
    assert all(np.array_equal(scorer.score([text]).logits[0], row) for text, row in zip(TEXTS, together, strict=True))
    difference = np.abs(scorer.score(TEXTS).probabilities - exact.score(TEXTS).probabilities).max()
    assert 0 < difference < 0.1
    model = bundle.open_scorer(run, int8=True).backend.model  # type: ignore[attr-defined]
    layers = [name for name, module in model.named_modules() if isinstance(module, Int8Linear)]
    assert len(layers) == 14, "seven in each of two layers, with the adapter folded in"


def test_evaluate_and_predict_take_the_backend(folder: Path, trained: object) -> None:  # noqa: F811
    trained("prompt-classification")  # type: ignore[operator]
    name, runs = "prompt-classification-lora", folder / "runs"
    assert jobs.evaluate(name, runs, str(folder / "texts.csv"), backend=TORCH_INT8)["backend"] == TORCH_INT8
    (found,) = jobs.predict_texts(name, runs, ["good film"], TORCH_INT8)
    assert sum(found["probabilities"].values()) == pytest.approx(1)


def test_a_baseline_has_one_form_only(folder: Path, warm: None) -> None:  # noqa: F811
    settings = {"data": TASKS["prompt-classification"]["data"], "method": {"kind": "majority"}, "base": None, "train": None}
    run = train(folder, write(folder, "constant", "prompt-classification", **settings))
    with pytest.raises(InputError, match="one form only"):
        open_scorer(run, TORCH_INT8)
