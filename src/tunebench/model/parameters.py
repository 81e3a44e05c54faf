"""What a method costs on a base: weights in all, weights trained, bytes saved. Counted without any weights.

The model is built on torch's ``meta`` device (shapes without memory), so a 13-billion-parameter base takes a second.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from tunebench.errors import InputError
from tunebench.model.adapters import ADAPTER
from tunebench.model.methods import adapter_prefix, apply_method, count_parameters, deployed_parameters, is_adapter
from tunebench.model.residual import to_plain_lora
from tunebench.model.shapes import Described, describe
from tunebench.model.tasks import MODEL_CLASSES
from tunebench.recipe.adapters import Adapter
from tunebench.recipe.architectures import ARCHITECTURES
from tunebench.recipe.methods import BASELINES, Method
from tunebench.recipe.resolve import CAUSAL, resolve_method

_ADAPTER = "adapter"
# The first part of a name that fits decides; the order is also that of the table.
_GROUPS = (
    ("normalisation", ("norm",)),
    ("embeddings", ("embed",)),
    ("attention", (".attention.", ".attn.", ".self_attn.")),
    ("feed-forward", (".intermediate.", ".output.dense", ".ffn.", ".mlp.")),
    ("pooler", (".pooler.", ".head.")),
    ("output layer", (".lm_head.",)),
)
_ORDER = ("embeddings", "attention", "feed-forward", "normalisation", "pooler", "output layer", "other", "head", _ADAPTER)


@dataclass(frozen=True)
class ParameterRow:
    """One kind of layer: weights in all, of these trained, and the float32 bytes of those that are saved."""

    group: str
    total: int
    trainable: int
    saved: int


@dataclass(frozen=True)
class ParameterReport:
    """The parameters of a base with a method.

    ``total_parameters`` is base and head without the adapter, the size of the merged model, and ``trainable_percent``
    a share of it. ``saved_bytes`` is the tensor data in float32 of ``adapter/`` or ``model/``, without file headers.
    ``warnings`` name new layers that the method neither trains nor saves.
    """

    model: str
    architecture: str
    method: str
    pooling: str
    num_labels: int | None
    rows: tuple[ParameterRow, ...]
    total_parameters: int
    trainable_parameters: int
    trainable_percent: float
    adapter_parameters: int
    head_parameters: int
    saved_bytes: int
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return asdict(self) | {"rows": [asdict(row) for row in self.rows], "warnings": list(self.warnings)}

    def as_text(self) -> str:
        """An aligned table of the groups, the sums below it, and the warnings."""
        about = f"{self.architecture}, " + ("causal LM" if self.num_labels is None else f"{self.num_labels} labels")
        cells = [("group", "total", "trainable", "saved")]
        cells += [(row.group, f"{row.total:,}", f"{row.trainable:,}", _size(row.saved)) for row in self.rows]
        trained = f"{self.trainable_parameters:,} ({self.trainable_percent:.3f} % of the total)"
        sums = [
            ("total, without adapter", f"{self.total_parameters:,}"),
            ("trainable", trained),
            ("of these in the adapter", f"{self.adapter_parameters:,}"),
            ("new head", f"{self.head_parameters:,}"),
            ("saved", f"{_size(self.saved_bytes)} in float32"),
        ]
        width = max(len(label) for label, _ in sums)
        lines = [f"{self.model} ({about}) with {self.method}", "", *_aligned(cells), ""]
        lines += [f"{label:<{width}}  {value}" for label, value in sums]
        return "\n".join(lines + ([""] if self.warnings else []) + [f"warning: {warning}" for warning in self.warnings])


def parameter_table(model_name: str, method: Method, pooling: str = "cls", num_labels: int = 2) -> ParameterReport:
    """Count the parameters of a base with a method; no weights are read and nothing is trained.

    ``model_name`` is a known name, a local folder or a hub id (``shapes.describe``); a decoder counts as a causal LM,
    whatever the pooling. Raises InputError for an unknown base, a baseline, or module names that fit nothing.
    """
    if method.kind in BASELINES:
        raise InputError("method.kind", f"the baseline {method.kind!r} has no model; choose another kind")
    base = describe(model_name)
    architecture = ARCHITECTURES[base.config.model_type]
    pooling = "none" if architecture.decoder else pooling
    heads = [] if pooling == "none" else architecture.head(pooling)
    method = resolve_method(method, architecture, pooling)
    with torch.device("meta"):
        model = _build(base, pooling, num_labels)
        new = _new_parameters(model, base.folder, heads)
        plain = list(dict(model.named_parameters()))
        tuned = apply_method(model, method, pooling)
    total, trainable = count_parameters(tuned)
    counts = _counts(tuned, heads)
    warnings = _warnings(tuned, new, plain, method)
    rows = _with_saved(counts, tuned, heads, plain)
    return ParameterReport(
        model=base.name,
        architecture=base.config.model_type,
        method=method.kind,
        pooling=pooling,
        num_labels=None if pooling == "none" else num_labels,
        rows=rows,
        total_parameters=total,
        trainable_parameters=trainable,
        trainable_percent=100 * trainable / total,
        adapter_parameters=sum(row.total for row in rows if row.group == _ADAPTER),
        head_parameters=sum(row.total for row in rows if row.group == "head"),
        saved_bytes=sum(row.saved for row in rows),
        warnings=warnings,
    )


def _build(base: Described, pooling: str, num_labels: int) -> PreTrainedModel:
    if pooling == CAUSAL:
        decoder: PreTrainedModel = AutoModelForCausalLM.from_config(base.config)
        return decoder
    known = [name for name in MODEL_CLASSES if name != CAUSAL]
    if pooling not in known:
        raise InputError("base.pooling", f"expected {' or '.join(known)}, found {pooling!r}")
    base.config.num_labels = num_labels
    encoder: PreTrainedModel = MODEL_CLASSES[pooling].from_config(base.config)
    return encoder


def _counts(model: nn.Module, heads: Collection[str]) -> dict[str, tuple[int, int]]:
    """Weights in all and trained ones, by group."""
    prefix = adapter_prefix(model)
    sums: dict[str, tuple[int, int]] = {}
    for name, parameter in deployed_parameters(model).items():
        group = _ADAPTER if prefix is not None and is_adapter(name, prefix) else _group(_plain(name), heads)
        total, trainable = sums.get(group, (0, 0))
        size = parameter.numel()
        sums[group] = (total + size, trainable + (size if parameter.requires_grad else 0))
    return sums


def _with_saved(
    counts: Mapping[str, tuple[int, int]], model: nn.Module, heads: Collection[str], plain: Collection[str]
) -> tuple[ParameterRow, ...]:
    """The rows with the bytes of what is saved, which may be more than what is trained: VeRA's random matrices, for one."""
    if isinstance(model, PeftModel):
        to_plain_lora(model)
        saved: Mapping[str, torch.Tensor] = get_peft_model_state_dict(model, save_embedding_layers=False)
    else:
        saved = dict(model.named_parameters())
    sizes: dict[str, int] = {}
    for name, tensor in saved.items():
        group = _group(_plain(name), heads) if _plain(name) in plain else _ADAPTER
        sizes[group] = sizes.get(group, 0) + tensor.numel() * tensor.element_size()
    return tuple(ParameterRow(group, *counts[group], sizes.get(group, 0)) for group in _ORDER if group in counts)


def _group(name: str, heads: Collection[str]) -> str:
    if any(name.startswith(f"{head}.") for head in heads):
        return "head"
    dotted = f".{name.lower()}"
    return next((group for group, parts in _GROUPS if any(part in dotted for part in parts)), "other")


def _plain(name: str) -> str:
    """A parameter's name as the base alone has it."""
    return name.removeprefix("base_model.model.").replace(f".modules_to_save.{ADAPTER}", "").replace(".base_layer", "")


def _new_parameters(model: PreTrainedModel, folder: Path | None, heads: Collection[str]) -> set[str]:
    """Names that the pretrained checkpoint does not hold: by its header, or for a base without files by its head."""
    shapes = _header(folder) if folder else {}
    own = {name: list(parameter.shape) for name, parameter in model.named_parameters()}
    if not shapes:
        return {name for name in own if any(name.startswith(f"{head}.") for head in heads)}
    prefix = f"{model.base_model_prefix}."
    held = {name.removeprefix(prefix): shape for name, shape in shapes.items()}
    return {name for name, shape in own.items() if held.get(name.removeprefix(prefix)) != shape}


def _header(folder: Path) -> Mapping[str, list[int]]:
    """Shapes by name from the headers of a folder's safetensors; LayerNorms under their present names."""
    shapes: dict[str, list[int]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                shapes |= {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise InputError(str(path), f"is not readable as safetensors ({error}); fetch or save it again") from None
    renamed = {".gamma": ".weight", ".beta": ".bias"}
    for old, present in renamed.items():
        shapes = {name.removesuffix(old) + present if name.endswith(old) else name: shape for name, shape in shapes.items()}
    return shapes


def _warnings(model: nn.Module, new: Collection[str], plain: Collection[str], method: Method) -> tuple[str, ...]:
    if not isinstance(method, Adapter):
        return ()
    kept = {_plain(name) for name, parameter in deployed_parameters(model).items() if parameter.requires_grad}
    lost = {name for name in new if name not in kept}
    modules = dict.fromkeys(_widest(name, lost, plain) for name in plain if name in lost)
    return tuple(
        f"{module!r} is new (not in the pretrained checkpoint), and {method.kind} neither trains nor saves it: "
        f"it would be random after a reload; add it to method.modules_to_save"
        for module in modules
    )


def _widest(name: str, lost: Collection[str], plain: Collection[str]) -> str:
    """The outermost module around a lost parameter of which every parameter is lost."""
    module = name.rpartition(".")[0] or name
    while "." in module:
        wider = module.rpartition(".")[0]
        if any(other.startswith(f"{wider}.") and other not in lost for other in plain):
            break
        module = wider
    return module


def _aligned(cells: list[tuple[str, str, str, str]]) -> list[str]:
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    lines = [
        f"{row[0]:<{widths[0]}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in cells
    ]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]


def _size(count: int) -> str:
    """Bytes with a decimal unit: ``1.2 MB``."""
    if count < 1000:
        return f"{count} B"
    power = min(int(math.log10(count)) // 3, 4)
    return f"{count / 1000**power:.1f} {['', 'kB', 'MB', 'GB', 'TB'][power]}"
