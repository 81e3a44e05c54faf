"""PiSSA and OLoRA train on a changed base and leave plain LoRA for the unchanged one."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tiny import World, write_recipe
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, PreTrainedModel

from tunebench import jobs
from tunebench.errors import InputError
from tunebench.events import Started
from tunebench.model.methods import apply_method, expected_warnings, trainable_state
from tunebench.model.residual import save_adapter, to_plain_lora
from tunebench.recipe.adapters import Lora

TARGETS: dict[str, Any] = {"target_modules": ["query", "dense"], "modules_to_save": ["classifier"]}
STARTS = ("pissa", "pissa_niter_4", "olora")
IDS = torch.arange(2, 26).reshape(2, 12)


def base() -> PreTrainedModel:
    torch.manual_seed(7)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    return BertForSequenceClassification(BertConfig(vocab_size=100, initializer_range=0.2, **sizes)).eval()


def trained(**settings: Any) -> PeftModel:
    """A model whose every trainable weight was moved."""
    model = apply_method(base(), Lora(**TARGETS, **settings), "cls")
    assert isinstance(model, PeftModel)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for tensor in trainable_state(model).values():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return model.eval()


@torch.no_grad()
def logits(model: nn.Module) -> Tensor:
    found: Tensor = model(input_ids=IDS).logits
    return found


@pytest.mark.parametrize("start", STARTS)
def test_training_begins_at_the_base_with_its_largest_parts_in_the_adapter(start: str) -> None:
    plain = base()
    model = apply_method(copy.deepcopy(plain), Lora(**TARGETS, init_lora_weights=start), "cls").eval()
    torch.testing.assert_close(logits(model), logits(plain), atol=1e-5, rtol=0)
    weight = "bert.encoder.layer.0.intermediate.dense"
    layer = model.get_submodule(f"base_model.model.{weight}")
    taken = plain.get_parameter(f"{weight}.weight") - layer.get_parameter("base_layer.weight")
    assert torch.linalg.matrix_rank(taken, rtol=1e-3) == 8
    if start != "olora":  # by the theorem of Eckart and Young no eight others leave less behind
        singular = torch.linalg.svdvals(plain.get_parameter(f"{weight}.weight").detach())
        left = float(layer.get_parameter("base_layer.weight").detach().norm())
        assert left == pytest.approx(float(singular[8:].norm()), rel=2e-2 if "niter" in start else 1e-5)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("scale", [{}, {"use_rslora": True}, {"r": 3, "lora_alpha": 5}, {"use_dora": True, "use_rslora": True}])
def test_what_is_saved_is_plain_lora_of_twice_the_rank_and_so_is_the_model_in_memory(
    start: str, scale: dict[str, Any], tmp_path: Path
) -> None:
    model = trained(init_lora_weights=start, **scale)
    before = logits(model)
    save_adapter(model, tmp_path)
    torch.testing.assert_close(logits(model), before, atol=1e-5, rtol=1e-5)

    config = json.loads((tmp_path / "adapter_config.json").read_text("utf-8"))
    rank = 2 * scale.get("r", 8)
    assert (config["r"], config["init_lora_weights"], config["use_rslora"]) == (rank, True, False)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert {min(tensor.shape) for name, tensor in saved.items() if ".lora_" in name and tensor.ndim == 2} == {rank}
    assert "base_model.model.classifier.weight" in saved

    with expected_warnings():
        reopened = PeftModel.from_pretrained(base(), str(tmp_path)).eval()
    assert torch.equal(logits(reopened), logits(model))


def test_the_base_in_memory_gets_its_own_bytes_back() -> None:
    model = trained(init_lora_weights="pissa")
    changed = model.get_parameter("base_model.model.bert.encoder.layer.0.output.dense.base_layer.weight")
    original = base().get_parameter("bert.encoder.layer.0.output.dense.weight")
    assert not torch.equal(changed, original)
    to_plain_lora(model)
    assert torch.equal(changed, original)
    again = copy.deepcopy(trainable_state(model))
    to_plain_lora(model)  # what is plain already stays
    assert all(torch.equal(tensor, again[name]) for name, tensor in trainable_state(model).items())


def test_other_starts_are_saved_as_they_are(tmp_path: Path) -> None:
    save_adapter(trained(init_lora_weights="gaussian", use_rslora=True), tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text("utf-8"))
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (8, 16, True)


@pytest.mark.parametrize("start", STARTS)
def test_a_rank_that_the_layers_do_not_have_is_refused(start: str) -> None:
    with pytest.raises(InputError, match=r"method\.r: expected at most 32, the smaller side of 'bert\..*', found 33"):
        trained(init_lora_weights=start, r=33)


def test_a_run_scores_and_proves_what_it_saves_and_counts_what_it_trained(world: World, warm: None, tmp_path: Path) -> None:
    method = {"kind": "lora", "r": 4, "lora_alpha": 8, "init_lora_weights": "pissa"}
    recipe = write_recipe(tmp_path / "pissa.yaml", data=world.data, base=world.bases["distilbert"], method=method)
    run = jobs.train(str(recipe), [], tmp_path / "runs", lambda event: None).run
    proved = jobs.merge(run.name, tmp_path / "runs", lambda event: None)["proof"]
    assert [proof["largest_difference"] for proof in run.metrics["proofs"] if proof["name"] == "reload"] == [0.0]
    assert proved["passed"]
    (started,) = (event for event in run.events() if isinstance(event, Started))
    assert run.metrics["parameters"]["trainable"] == started.trainable_parameters
