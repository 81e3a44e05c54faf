"""Linear layers in 8-bit integers on a CPU: weights by output channel, activations by token, sums in 32 bits.

Every token has a scale of its own (as in LLM.int8(), Dettmers et al. 2022, arXiv 2208.07339); torch's own dynamic
quantization has one for a whole batch. Still a last bit that padding changes may round another way and grow from layer to
layer, so rows are computed alone (docs/decisions/0020).
"""

from __future__ import annotations

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from tunebench.errors import InputError
from tunebench.model.methods import merge_adapter

LEVELS = 127


class Int8Linear(nn.Module):
    """``nn.Linear`` of whose weight ``(out, in)`` only 8-bit integers and a scale per output channel are kept."""

    weight: Tensor
    scale: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        scale = layer.weight.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / LEVELS
        self.register_buffer("weight", (layer.weight / scale[:, None]).round().to(torch.int8).t().contiguous())
        self.register_buffer("scale", scale)
        self.bias = layer.bias

    def forward(self, states: Tensor) -> Tensor:
        """States ``(…, in)`` to ``(…, out)``, both float32."""
        flat = states.reshape(-1, states.shape[-1])
        scale = flat.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / LEVELS
        found = torch._int_mm((flat / scale).round_().to(torch.int8), self.weight).float().mul_(scale).mul_(self.scale)
        if self.bias is not None:
            found += self.bias
        return found.reshape(*states.shape[:-1], found.shape[-1])


@torch.no_grad()
def to_int8(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """A model for prediction with its adapter folded in and its linear layers in 8 bits; the given one is used up.

    The output layer stays as it is: few of its rows are needed. Raises InputError on a GPU, where this saves nothing.
    """
    if next(model.parameters()).device.type != "cpu":
        raise InputError("--backend torch-int8", "is for CPUs; on a GPU predict with --backend torch")
    whole = merge_adapter(model) if isinstance(model, PeftModel) else model
    for name, module in list(whole.base_model.named_modules()):
        if type(module) is nn.Linear:
            parent, _, own = name.rpartition(".")
            setattr(whole.base_model.get_submodule(parent), own, Int8Linear(module))
    return whole
