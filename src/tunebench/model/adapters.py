"""From an adapter's settings to PEFT's: which layers it lies on, and what PEFT is told.

The names in a recipe are PEFT's, so most settings pass as they are. Targets are made exact here, because PEFT wraps a module
twice when a target also fits one that it saves whole (DistilBERT's ``pre_classifier``: TypeError).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import peft
from peft import PeftConfig
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tunebench.errors import InputError, listing, nearest
from tunebench.recipe.adapters import ALL_LINEAR, ALL_NORM, Adapter, Ia3, LnTuning, Lora

ADAPTER = "default"
"""PEFT's name of the one adapter that a model carries here; it is part of parameter names."""

CONFIGS: dict[str, Callable[..., PeftConfig]] = {
    "lora": peft.LoraConfig,
    "ia3": peft.IA3Config,
    "oft": peft.OFTConfig,
    "hra": peft.HRAConfig,
    "road": peft.RoadConfig,
    "loha": peft.LoHaConfig,
    "lokr": peft.LoKrConfig,
    "delora": peft.DeloraConfig,
    "gralora": peft.GraloraConfig,
    "randlora": peft.RandLoraConfig,
    "vera": peft.VeraConfig,
    "vblora": peft.VBLoRAConfig,
    "fourierft": peft.FourierFTConfig,
    "waveft": peft.WaveFTConfig,
    "c3a": peft.C3AConfig,
    "miss": peft.MissConfig,
    "ln_tuning": peft.LNTuningConfig,
}
_NOT_PEFTS = {"kind", "target_modules", "feedforward_modules", "modules_to_save", "loraplus_lr_ratio"}
# PEFT draws these updates at random unless told otherwise; here training always starts from the base.
_ALWAYS: dict[str, dict[str, Any]] = {"fourierft": {"init_weights": True}, "c3a": {"init_weights": True}}


def adapter_config(model: PreTrainedModel, method: Adapter, layers: Sequence[str]) -> PeftConfig:
    """PEFT's settings for a resolved method on a model; ``layers`` are the names of those that may carry an adapter.

    Raises InputError where a name in the method fits no such layer, or fits something else.
    """
    asked = _asked(model, method, layers)
    if not _is_shorthand(method):
        _check_targets(asked, layers, model, method, "method.target_modules")
    settings = {key: value for key, value in method if key not in _NOT_PEFTS} | _ALWAYS.get(method.kind, {})
    if isinstance(method, Lora):
        settings["lora_alpha"] = whole(method.lora_alpha)
    if isinstance(method, Ia3):
        settings["feedforward_modules"] = feedforward = method.feedforward_modules or []
        targeted = [name for name in layers if matches(name, asked)]
        _check_targets(feedforward, targeted, model, method, "method.feedforward_modules")
    if any(matches(name, asked) and name not in layers for name, _ in model.named_modules()):
        asked = [name for name in layers if matches(name, asked)]  # whole names, which fit nothing else
    return CONFIGS[method.kind](**settings, target_modules=asked)


def targets_of(config: PeftConfig, layers: Sequence[str]) -> list[str]:
    """The names of the layers that get an adapter."""
    return [name for name in layers if matches(name, getattr(config, "target_modules"))]  # noqa: B009  # not of every config


def can_carry(method: Adapter, module: nn.Module) -> bool:
    """Say whether a module is of the kind that the adapter lies on: linear layers, or norms for ``ln_tuning``."""
    return _is_norm(module) if isinstance(method, LnTuning) else isinstance(module, nn.Linear | Conv1D)


def matches(name: str, targets: object, key: str = "method.target_modules") -> bool:
    """PEFT's rule: a text is a pattern for the whole name, a list holds ends of names."""
    if not isinstance(targets, str):
        return names_module(name, targets)  # type: ignore[arg-type]  # PEFT types it loosely: a list or set of names
    try:
        return re.fullmatch(targets, name) is not None
    except re.error as fault:
        raise InputError(
            key, f"{targets!r} is no valid pattern ({fault}); give a list of names or a regular expression"
        ) from None


def names_module(name: str, ends: Iterable[str]) -> bool:
    """Say whether a module's full name is, or ends with, one of the given whole parts of names."""
    return any(name == end or name.endswith(f".{end}") for end in ends)


def ends_of(names: Iterable[str]) -> list[str]:
    """The last parts of names, each once."""
    return list(dict.fromkeys(name.rpartition(".")[2] for name in names))


def _is_shorthand(method: Adapter) -> bool:
    return method.target_modules == (ALL_NORM if isinstance(method, LnTuning) else ALL_LINEAR)


def _asked(model: PreTrainedModel, method: Adapter, layers: Sequence[str]) -> list[str] | str:
    """The targets as ends of names or one pattern; a causal LM's output layer is not one of ``all-linear``."""
    targets = method.target_modules or []
    if _is_shorthand(method):
        output = model.get_output_embeddings()
        return ends_of(name for name in layers if output is None or model.get_submodule(name) is not output)
    return targets if isinstance(targets, str) else list(targets)


def _check_targets(targets: str | Sequence[str], layers: Sequence[str], model: nn.Module, method: Adapter, key: str) -> None:
    """Refuse targets that fit no layer of the right kind (each name of a list must fit one) or fit something else as well."""
    known, kind = ends_of(layers), "norms" if isinstance(method, LnTuning) else "linear layers"
    faults = []
    for target in [targets] if isinstance(targets, str) else targets:
        one = target if isinstance(targets, str) else [target]
        others = [name for name, module in model.named_modules() if matches(name, one, key) and not can_carry(method, module)]
        if others:
            found = type(model.get_submodule(others[0])).__name__
            faults.append(f"{target!r} fits {others[0]!r}, of type {found}; expected {kind}, such as {listing(known)}")
        elif not any(matches(name, one, key) for name in layers):
            faults.append(f"{target!r} fits no module{nearest(target, known)}; those that can be named here are {listing(known)}")
    if faults:
        raise InputError(key, faults)


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower() and isinstance(getattr(module, "weight", None), nn.Parameter)


def whole(alpha: float) -> float:
    """An alpha as PEFT writes it, which takes fractions too: 16 rather than 16.0."""
    return int(alpha) if float(alpha).is_integer() else alpha
