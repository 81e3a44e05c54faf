"""Saving an adapter so that it stands on the unchanged base, whatever it was trained on.

PiSSA (arXiv 2404.02948) and OLoRA (arXiv 2406.01775) begin by taking s·B₀A₀ out of the weights W that they lie on, so what they
train is no adapter of W. Since (W - s·B₀A₀) + s·BA = W + s·(BA - B₀A₀), it is one of twice the rank: A over A₀, B beside -B₀.
PEFT's own conversion leaves out the modules saved whole, and computes the decomposition again when it opens the adapter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

import torch
from peft import PeftModel
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn

from tunebench.errors import InputError
from tunebench.model.adapters import ADAPTER, whole
from tunebench.recipe.adapters import Lora

_A, _B = f"lora_A.{ADAPTER}.weight", f"lora_B.{ADAPTER}.weight"
_ORIGINAL, _START_A, _START_B = "original_weight", "start_a", "start_b"


def takes_from_base(method: object) -> TypeGuard[Lora]:
    """Say whether a method begins by moving a part of the base's weights into the adapter."""
    return isinstance(method, Lora) and str(method.init_lora_weights).startswith(("pissa", "olora"))


def original_weights(model: nn.Module, names: Sequence[str], rank: int) -> dict[str, Tensor]:
    """Copies of the weights that are about to be changed. Raises InputError where one has no ``rank`` parts to take."""
    weights = {name: model.get_submodule(name).get_parameter("weight") for name in names}
    for name, weight in weights.items():
        if rank > (most := min(weight.shape)):
            raise InputError("method.r", f"expected at most {most}, the smaller side of {name!r}, found {rank}")
    return {name: weight.detach().clone() for name, weight in weights.items()}


def remember_start(model: PeftModel, originals: Mapping[str, Tensor]) -> None:
    """Keep the original weights and A₀, B₀ beside the layers, on their device, in no file."""
    for name, weight in originals.items():
        layer = model.get_submodule(f"base_model.model.{name}")
        start = {_ORIGINAL: weight, _START_A: layer.get_parameter(_A).detach(), _START_B: layer.get_parameter(_B).detach()}
        for key, tensor in start.items():
            layer.register_buffer(key, tensor.clone(), persistent=False)


@torch.no_grad()
def to_plain_lora(model: PeftModel) -> None:
    """Put the base's weights back and make the adapter plain LoRA of twice the rank, in place; others stay as they are."""
    config = model.peft_config[ADAPTER]
    for layer in model.modules():
        if isinstance(layer, LoraLinear) and hasattr(layer, _ORIGINAL):
            rank = 2 * layer.r[ADAPTER]
            alpha = layer.scaling[ADAPTER] * rank  # plain LoRA's alpha / r is then the same scale, rank-stabilised or not
            a = torch.cat([layer.get_parameter(_A), layer.get_buffer(_START_A)])
            b = torch.cat([layer.get_parameter(_B), -layer.get_buffer(_START_B)], dim=1)
            layer.get_base_layer().get_parameter("weight").copy_(layer.get_buffer(_ORIGINAL))
            layer.lora_A[ADAPTER], layer.lora_B[ADAPTER] = _linear(a), _linear(b)
            layer.r[ADAPTER], layer.lora_alpha[ADAPTER], layer.scaling[ADAPTER] = rank, alpha, alpha / rank
            for key in (_ORIGINAL, _START_A, _START_B):
                delattr(layer, key)
            settings = {"r": rank, "lora_alpha": whole(alpha), "use_rslora": False, "init_lora_weights": True}
            for key, value in settings.items():
                setattr(config, key, value)


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write a plain PEFT folder that opens on the unchanged base.

    A model trained with PiSSA or OLoRA is made plain LoRA first, in place, so that the model in memory is the one on disk.
    """
    to_plain_lora(model)
    model.peft_config[ADAPTER].inference_mode = True
    model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)


def _linear(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")  # draws nothing
    layer.weight = nn.Parameter(weight)
    return layer
