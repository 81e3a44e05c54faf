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
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from tunebench.errors import InputError
from tunebench.model.methods import ADAPTER, adapter_prefix, apply_method, count_parameters, deployed_parameters, is_adapter
from tunebench.model.shapes import Described, describe
from tunebench.model.tasks import MODEL_CLASSES
from tunebench.recipe.architectures import ARCHITECTURES
from tunebench.recipe.methods import BASELINES, Ia3, Lora, Method
from tunebench.recipe.resolve import resolve_method

FLOAT32_BYTES = 4
_ADAPTER_GROUPS = {"lora": "LoRA A/B", "ia3": "IA3 vectors"}
# The first part of a name that fits decides; the order is also that of the table.
_GROUPS = (
    ("normalisation", ("norm",)),
    ("embeddings", ("embed",)),
    ("attention", (".attention.", ".attn.", ".self_attn.")),
    ("feed-forward", (".intermediate.", ".output.dense", ".ffn.", ".mlp.")),
    ("pooler", (".pooler.", ".head.")),
    ("output layer", (".lm_head.",)),
)
_ORDER = ("embeddings", "attention", "feed-forward", "normalisation", "pooler", "output layer", "other", "head")


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
        raise InputError("method.kind", f"expected full, head, lora or ia3, found the baseline {method.kind!r}; it has no model")
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
    rows = _rows(tuned, heads, method)
    total, trainable = count_parameters(tuned)
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
        adapter_parameters=sum(row.total for row in rows if row.group in _ADAPTER_GROUPS.values()),
        head_parameters=sum(row.total for row in rows if row.group == "head"),
        saved_bytes=sum(row.saved for row in rows),
        warnings=_warnings(tuned, new, plain, method),
    )


def _build(base: Described, pooling: str, num_labels: int) -> PreTrainedModel:
    if pooling == "none":
        decoder: PreTrainedModel = AutoModelForCausalLM.from_config(base.config)
        return decoder
    if pooling not in MODEL_CLASSES:
        raise InputError("base.pooling", f"expected {' or '.join(MODEL_CLASSES)}, found {pooling!r}")
    base.config.num_labels = num_labels
    encoder: PreTrainedModel = MODEL_CLASSES[pooling].from_config(base.config)
    return encoder


def _rows(model: nn.Module, heads: Collection[str], method: Method) -> tuple[ParameterRow, ...]:
    prefix, whole = adapter_prefix(model), not isinstance(method, Lora | Ia3)
    sums: dict[str, list[int]] = {}
    for name, parameter in deployed_parameters(model).items():
        adapter = prefix is not None and is_adapter(name, prefix)
        group = _ADAPTER_GROUPS[method.kind] if adapter else _group(_plain(name), heads)
        size, trainable = parameter.numel(), parameter.requires_grad
        row = sums.setdefault(group, [0, 0, 0])
        row[0] += size
        row[1] += size if trainable else 0
        row[2] += size * FLOAT32_BYTES if trainable or whole else 0
    order = [*_ORDER, *_ADAPTER_GROUPS.values()]
    return tuple(ParameterRow(group, *sums[group]) for group in order if group in sums)


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
    if not isinstance(method, Lora | Ia3):
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
