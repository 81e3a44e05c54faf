"""A quantised base: what refuses it, that only storage is rounded, what it is merged into, and what the rounding costs.

bitsandbytes has kernels for the CPU, so the mathematics is tried where there is no GPU, which recipes refuse; the speed is not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from tunebench.errors import InputError, MissingExtra
from tunebench.model import quantized
from tunebench.model.methods import apply_method, expected_warnings, keep_fewer_activations, merge_adapter, trainable_state
from tunebench.recipe.adapters import Ia3, Lora
from tunebench.recipe.methods import Method

KINDS: list[quantized.Kind] = ["nf4", "int8"]
METHODS: list[Method] = [
    Lora(target_modules=["q_proj", "v_proj"], modules_to_save=[]),
    Lora(target_modules="all-linear", modules_to_save=[]),
    Ia3(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], modules_to_save=[]),
]
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
IDS = torch.tensor([[1, 20, 30, 40, 50, 60, 70, 80]])
needs_package = pytest.mark.skipif(
    not quantized.installed(), reason="bitsandbytes is not installed: pip install 'tunebench[quantization]'"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama as narrow as a block of 64 weights allows, in several files."""
    folder = tmp_path_factory.mktemp("quantized") / "base"
    sizes = {"vocab_size": 128, "hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": 64}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.2}
    torch.manual_seed(5)
    LlamaForCausalLM(LlamaConfig(**sizes, **heads)).save_pretrained(str(folder), max_shard_size="100KB")
    return folder


def load(base: Path, kind: quantized.Kind) -> PreTrainedModel:
    config = quantized.quantization_config(kind)
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32, quantization_config=config)
    for layer in quantized.quantized_layers(model).values():
        layer.support_avx512bf16_for_cpu = False  # a way to compute that no GPU has
    return model.eval()


def logits(model: Any, ids: Tensor = IDS) -> Tensor:
    with torch.no_grad():
        found: Tensor = model.eval()(input_ids=ids).logits
    return found


def train(model: Any, steps: int = 4) -> list[float]:
    optimizer, losses = torch.optim.SGD(list(trainable_state(model).values()), lr=0.1), []
    model.train()
    for _ in range(steps):
        with quantized.computing_quantized(model, "bfloat16"), torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(input_ids=IDS, labels=IDS).loss
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("kind", KINDS)
def test_a_machine_without_a_gpu_refuses_and_says_what_to_do(kind: quantized.Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=rf"base\.quantization: {kind} needs a GPU .*--set base\.quantization=null"):
        quantized.require_quantization(kind)


def test_a_gpu_without_the_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(quantized, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"base\.quantization: nf4 needs .* 'bitsandbytes'.*tunebench\[quantization\]"):
        quantized.require_quantization("nf4")
    monkeypatch.setattr(quantized, "find_spec", lambda name: object())
    quantized.require_quantization("nf4")


@needs_package
@pytest.mark.parametrize("kind", KINDS)
def test_the_projections_are_rounded_and_nothing_else(base: Path, kind: quantized.Kind) -> None:
    model = load(base, kind)
    layers = quantized.quantized_layers(model)
    ends = {f"{part}.{name}" for name in PROJECTIONS for part in ("self_attn", "mlp")}
    assert len(layers) == 2 * len(PROJECTIONS)
    assert all(".".join(name.split(".")[-2:]) in ends for name in layers)
    others = {name: tensor for name, tensor in model.named_parameters() if name.removesuffix(".weight") not in layers}
    assert {tensor.dtype for tensor in others.values()} == {torch.float32}
    plain = LlamaForCausalLM.from_pretrained(str(base))
    assert all(torch.equal(tensor, plain.get_parameter(name)) for name, tensor in others.items())
    counted = sum(quantized.weights_in(parameter) for parameter in model.parameters())
    assert counted == sum(parameter.numel() for parameter in plain.parameters())


@needs_package
def test_in_4_bits_the_model_computes_as_its_dequantised_self_whatever_its_neighbours(base: Path) -> None:
    model = load(base, "nf4")
    alone, neighbour = logits(model), torch.arange(2, 10).unsqueeze(0)
    assert torch.allclose(logits(model, torch.cat([neighbour, IDS]))[1:], alone, atol=1e-5)
    with quantized.computing_quantized(model, "bfloat16"):
        assert 1e-4 < (logits(model) - alone).abs().max() < 1
    assert torch.equal(logits(model), alone)
    assert torch.allclose(logits(quantized.dequantize(model)), alone, atol=1e-5)


@needs_package
@pytest.mark.parametrize("kind", KINDS)
def test_dequantised_weights_are_saved_and_open_as_plain_ones(base: Path, kind: quantized.Kind, tmp_path: Path) -> None:
    plain = quantized.dequantize(load(base, kind))
    assert quantized.quantized_layers(plain) == {}
    plain.to(torch.float32).save_pretrained(str(tmp_path))
    assert "quantization" not in (tmp_path / "config.json").read_text("utf-8")
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.float32}
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(str(tmp_path))), logits(plain))


@needs_package
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_rounded_by_itself_is_the_one_in_the_model(base: Path, kind: quantized.Kind, tied: bool, tmp_path: Path) -> None:  # noqa: FBT001
    if tied:
        model = LlamaForCausalLM.from_pretrained(str(base), tie_word_embeddings=True)
        base = tmp_path / "tied"
        model.save_pretrained(str(base))
    rounded, whole = quantized.rounder(kind, base), quantized.dequantize(load(base, kind)).state_dict()
    original = LlamaForCausalLM.from_pretrained(str(base)).state_dict()
    again = {name: rounded(name, weight) for name, weight in original.items()}
    assert all(torch.equal(again[name], weight) for name, weight in whole.items())
    assert sum(not torch.equal(again[name], weight) for name, weight in original.items()) == 2 * len(PROJECTIONS)


@needs_package
@pytest.mark.parametrize("method", METHODS, ids=["lora", "all-linear", "ia3"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_learns_and_merges_into_the_base_it_was_trained_on(
    base: Path, kind: quantized.Kind, method: Method, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    model = apply_method(load(base, kind), method, "none")
    assert {tensor.dtype for tensor in trainable_state(model).values()} == {torch.float32}
    losses = train(model)
    assert losses[-1] < 0.95 * losses[0]
    scored = logits(model)
    model.save_pretrained(str(tmp_path))
    with expected_warnings():
        adapted = PeftModel.from_pretrained(quantized.dequantize(load(base, kind)), str(tmp_path))
    unmerged = logits(adapted)
    merged = logits(merge_adapter(adapted))
    assert torch.allclose(merged, unmerged, atol=2e-5)
    if kind == "nf4":  # int8 rounds the inputs too
        assert torch.allclose(merged, scored, atol=2e-5)
    with expected_warnings():
        elsewhere = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(str(base)), str(tmp_path))
    assert (logits(merge_adapter(elsewhere)) - unmerged).abs().max() > 1e-3  # the original weights are another model


@needs_package
def test_fewer_activations_change_nothing_in_4_bits(base: Path) -> None:
    courses = []
    for keep in (False, True):
        torch.manual_seed(1)
        model = apply_method(load(base, "nf4"), METHODS[0], "none")
        if keep:
            keep_fewer_activations(model)
        courses.append(train(model))
    assert courses[0] == courses[1]


@needs_package
@pytest.mark.parametrize(("kind", "least", "most"), [("nf4", 0.08, 0.11), ("int8", 0.003, 0.012)])
def test_what_rounding_takes_is_measured_against_the_files(base: Path, kind: quantized.Kind, least: float, most: float) -> None:
    loss = quantized.rounding_loss(load(base, kind), base)
    assert least < loss.relative < most
    assert 0 < loss.mean < loss.largest < 1
    assert len(loss.modules) == 14
    assert all(least / 2 < value < most * 2 for value in loss.modules.values())
    original = LlamaForCausalLM.from_pretrained(str(base)).get_submodule("model.layers.1.mlp.up_proj").weight
    rounded = quantized.dequantize(load(base, kind)).get_submodule("model.layers.1.mlp.up_proj").weight
    lost = ((rounded - original).norm() / original.norm()).item()
    assert loss.modules["model.layers.1.mlp.up_proj"] == pytest.approx(lost, rel=1e-4)


@needs_package
def test_rounding_once_more_takes_hardly_anything_from_what_is_rounded_already(base: Path, tmp_path: Path) -> None:
    quantized.dequantize(load(base, "nf4")).save_pretrained(str(tmp_path))
    assert quantized.rounding_loss(load(tmp_path, "nf4"), tmp_path).relative < 1e-3  # the scales are rounded too
    weights = load_file(tmp_path / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    weights[name] = weights[name] + 0.05 * torch.randn(weights[name].shape, generator=torch.Generator().manual_seed(1))
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    again = quantized.rounding_loss(load(tmp_path, "nf4"), tmp_path).modules
    assert again.pop(name.removesuffix(".weight")) > 0.05
    assert max(again.values()) < 5e-3


@needs_package
def test_files_of_a_bare_body_are_found_under_the_names_of_a_model_with_a_head(base: Path, tmp_path: Path) -> None:
    LlamaForCausalLM.from_pretrained(str(base)).model.save_pretrained(str(tmp_path))
    assert quantized.rounding_loss(load(tmp_path, "nf4"), tmp_path) == quantized.rounding_loss(load(base, "nf4"), base)
