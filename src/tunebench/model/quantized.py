"""A base in 4 or 8 bits through bitsandbytes: when that can be had, how it is loaded, what it is worth to a merge.

Only the matrices between embeddings and output layer are rounded; the rest of the base, adapters and gradients stay
float32. An adapter learns beside the *rounded* base, so it is merged into just that, dequantised to float32: merging into
the original weights would give a model that nobody has trained or scored.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel
from transformers.integrations.bitsandbytes import dequantize_bnb_weight, replace_with_bnb_linear
from transformers.quantizers.base import get_keys_to_not_convert

from tunebench.errors import InputError, MissingExtra
from tunebench.runs.bases import INDEX, WEIGHTS

Kind = Literal["nf4", "int8"]
_LAYERS = ("Linear4bit", "Linear8bitLt")


@dataclass(frozen=True)
class RoundingLoss:
    """How far quantised weights lie from those they were made of.

    ``largest`` and ``mean`` are absolute differences over all quantised weights, ``relative`` is the norm of the difference in
    proportion to that of the weights, and ``modules`` the same of every module.
    """

    largest: float
    mean: float
    relative: float
    modules: dict[str, float]


def installed() -> bool:
    """Say whether bitsandbytes is there."""
    return find_spec("bitsandbytes") is not None


def require_quantization(kind: Kind) -> None:
    """Refuse at once what this machine cannot do: InputError without a GPU, MissingExtra without bitsandbytes."""
    if not torch.cuda.is_available():
        raise InputError(
            "base.quantization",
            f"{kind} needs a GPU that torch can use, and there is none (`tunebench env` says why); train where there is one, "
            "or leave the base as it is: remove the key, or --set base.quantization=null",
        )
    if not installed():
        raise MissingExtra("bitsandbytes", "quantization", f"base.quantization: {kind}")


def quantization_config(kind: Kind) -> BitsAndBytesConfig:
    """What ``from_pretrained`` is told, beside ``dtype=torch.float32``.

    ``nf4`` rounds 64 weights at a time to 16 values and their scales to 8 bits (Dettmers et al. 2023, arXiv 2305.14314); it
    computes in float32, see ``computing_quantized``. ``int8`` rounds the inputs too, column by column of the batch at hand
    (Dettmers et al. 2022, arXiv 2208.07339).
    """
    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )


@contextlib.contextmanager
def computing_quantized(model: nn.Module, precision: str) -> Iterator[None]:
    """A block in which 4-bit layers multiply in ``precision`` (``bfloat16``, ``float16`` or ``float32``).

    Autocast does not reach their kernels. To be put around forward *and* backward pass of a training step; outside of it
    they compute in float32, as every prediction does.
    """
    layers = [layer for layer in quantized_layers(model).values() if hasattr(layer, "compute_dtype")]
    before = [layer.compute_dtype for layer in layers]
    for layer in layers:
        layer.compute_dtype = getattr(torch, precision)
    try:
        yield
    finally:
        for layer, dtype in zip(layers, before, strict=True):
            layer.compute_dtype = dtype


def quantized_layers(model: nn.Module) -> dict[str, Any]:
    """The layers with quantised weights, by name."""
    # PEFT's layers of the same names hold these, and are no nn.Linear themselves
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and type(module).__name__ in _LAYERS
    }


def weights_in(parameter: Tensor) -> int:
    """How many weights a parameter stands for: 4-bit ones are packed in pairs."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else int(torch.Size(state.shape).numel())


def dequantize(model: PreTrainedModel) -> PreTrainedModel:
    """The model with float32 layers of the same, rounded weights in place of the quantised ones."""
    for name, layer in quantized_layers(model).items():
        plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        plain.weight = nn.Parameter(_weights_of(layer), requires_grad=False)
        if layer.bias is not None:
            plain.bias = nn.Parameter(layer.bias.data.float(), requires_grad=False)
        model.set_submodule(name, plain)
    state: Any = model
    # what is left makes transformers refuse to move the model, and write into its config that it is quantised
    for flag in ("is_loaded_in_4bit", "is_loaded_in_8bit", "is_quantized"):
        setattr(state, flag, False)
    state.hf_quantizer = state.quantization_method = None
    if hasattr(state.config, "quantization_config"):
        del state.config.quantization_config
    return model


def rounder(kind: Kind, folder: Path) -> Callable[[str, Tensor], Tensor]:
    """Gives a weight of the base in ``folder``, by its name in the files, as a base of ``kind`` holds it, dequantised.

    What is not quantised is given as it is. For merging file by file, where the model is never whole in memory.
    """
    config: Any = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    layers: Any = replace_with_bnb_linear(model, get_keys_to_not_convert(model), quantization_config(kind))
    names = {f"{name}.weight" for name in quantized_layers(layers)}
    packed = import_module("bitsandbytes.nn").Int8Params if kind == "int8" else _packed_in_4_bits
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def rounded(name: str, weight: Tensor) -> Tensor:
        if name not in names:
            return weight
        parameter = packed(weight.float().contiguous(), requires_grad=False).to(device)
        plain: Tensor = dequantize_bnb_weight(parameter, _Scales(getattr(parameter, "SCB", None)))
        return plain.to("cpu", torch.float32)

    return rounded


def _packed_in_4_bits(weight: Tensor, *, requires_grad: bool) -> Any:
    kept = {"quant_type": "nf4", "compress_statistics": True}
    return import_module("bitsandbytes.nn").Params4bit(weight, requires_grad=requires_grad, **kept)


def rounding_loss(model: PreTrainedModel, folder: Path) -> RoundingLoss:
    """What quantising took from the weights in ``folder``, out of which ``model`` was loaded.

    Of a stage's base, what is lost once more where the merged weights of the stage before are rounded again.
    """
    largest = total = lost = square = 0.0
    count, modules = 0, {}
    originals = _Originals(folder, model.base_model_prefix)
    for path, layer in quantized_layers(model).items():
        name = path.replace(".base_layer", "")  # beside an adapter
        rounded = _weights_of(layer)
        original = originals.read(f"{name}.weight").to(rounded)
        difference = (rounded - original).abs()
        largest = max(largest, difference.max().item())
        total, count = total + difference.sum(dtype=torch.float64).item(), count + difference.numel()
        own_lost, own = (difference.double().square().sum().item(), original.double().square().sum().item())
        lost, square = lost + own_lost, square + own
        modules[name] = (own_lost / own) ** 0.5 if own else 0.0
    return RoundingLoss(largest, total / count if count else 0.0, (lost / square) ** 0.5 if square else 0.0, modules)


@dataclass
class _Scales:
    """Where ``dequantize_bnb_weight`` looks for the scales of 8-bit weights."""

    SCB: Tensor | None


def _weights_of(layer: Any) -> Tensor:
    weights: Tensor = dequantize_bnb_weight(layer.weight, getattr(layer, "state", None))
    return weights.float()


class _Originals:
    """The weights in a model folder, read one by one under the names that a model gives them."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self._folder, self._prefix = folder, prefix
        if (folder / WEIGHTS).is_file():
            with safe_open(folder / WEIGHTS, framework="pt") as file:
                self._files = dict.fromkeys(file.keys(), WEIGHTS)
        else:
            self._files = json.loads((folder / INDEX).read_text("utf-8"))["weight_map"]

    def read(self, name: str) -> Tensor:
        """A weight, whether or not its file stands with the prefix of a head's model or without."""
        found = name if name in self._files else name.removeprefix(f"{self._prefix}.")
        with safe_open(self._folder / self._files[found], framework="pt") as file:
            tensor: Tensor = file.get_tensor(found)
        return tensor
