"""From what a recipe says to what it means: every derived setting filled in, and the digest of the result."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tunebench.errors import InputError
from tunebench.recipe.architectures import ARCHITECTURES, TRAINABLE, Architecture
from tunebench.recipe.methods import BASELINES, Ia3, Lora, Method
from tunebench.recipe.spec import Recipe

# PEFT's suite and this project's lab log: LoRA wants about ten times the rate of full fine-tuning, IA3 more.
LEARNING_RATES = {"full": 5e-5, "lora": 5e-4, "ia3": 5e-3, "head": 5e-3}


def resolve(recipe: Recipe, model_type: str | None) -> Recipe:
    """The complete recipe: rates, targets and saved modules filled in for the base's ``model_type``.

    Raises InputError where the architecture is not one that the laws are tested on.
    """
    if recipe.method.kind in BASELINES:
        return recipe
    if model_type not in TRAINABLE:
        raise InputError(
            "base.model", f"its architecture is {model_type!r}; text-classification is proved here on {', '.join(TRAINABLE)}"
        )
    assert recipe.base is not None
    train, method = recipe.settings, resolve_method(recipe.method, ARCHITECTURES[model_type], recipe.base.pooling)
    _check_head_is_saved(method, ARCHITECTURES[model_type].head(recipe.base.pooling))
    rate = train.learning_rate or LEARNING_RATES[recipe.method.kind]
    return recipe.model_copy(
        update={
            "train": train.model_copy(update={"learning_rate": rate}),
            "method": method,
        }
    )


def resolve_method(method: Method, architecture: Architecture, pooling: str) -> Method:
    """The method with the architecture's targets and the modules that are saved whole (by default the new head)."""
    heads = [] if pooling == "none" else architecture.head(pooling)
    if isinstance(method, Lora):
        return method.model_copy(
            update={
                "target_modules": method.target_modules or list(architecture.lora),
                "modules_to_save": heads if method.modules_to_save is None else method.modules_to_save,
            }
        )
    if isinstance(method, Ia3):
        return method.model_copy(
            update={
                "target_modules": method.target_modules or _plain(architecture.ia3),
                "feedforward_modules": _default_feedforward(method.target_modules, architecture)
                if method.feedforward_modules is None
                else method.feedforward_modules,
                "modules_to_save": heads if method.modules_to_save is None else method.modules_to_save,
            }
        )
    return method


def _check_head_is_saved(method: Method, head: list[str]) -> None:
    """PEFT cannot reopen an adapter that lacks a part of the new head, and what it would draw instead is random."""
    if isinstance(method, Lora | Ia3) and (lacking := [name for name in head if name not in (method.modules_to_save or [])]):
        raise InputError(
            "method.modules_to_save",
            f"lacks {', '.join(lacking)} of the new head; list all of {', '.join(head)}, or leave the key out",
        )


def _default_feedforward(targets: list[str] | str | None, architecture: Architecture) -> list[str] | str:
    """The architecture's feed-forward modules, as far as the recipe's own list of targets holds them."""
    default = architecture.ia3_feedforward
    if not isinstance(targets, list):
        return _plain(default)
    ends = ("output.dense",) if isinstance(default, str) else default
    return [name for name in targets if name in ends]


def _plain(names: tuple[str, ...] | str) -> list[str] | str:
    return names if isinstance(names, str) else list(names)


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings as ``{"train.learning_rate": 0.0005}``; lists stay values."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= flatten(inner, f"{prefix}.{key}" if prefix else key)
    return flat


def digest_of(value: Any) -> str:
    """sha256 of a JSON-able value, the same for the same content whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


_READING = ("text", "label", "id", "encoding", "delimiter")
"""How files are read; what was read is digested."""
_WITHOUT_EFFECT: Any = {
    "name": True,
    "base": {"model", "revision"},
    "data": {"dataset", "dataset_config", "dataset_revision", "train", "label_names", *_READING},
    "train": {"logging_steps", "per_device_eval_batch_size", "save_strategy", "save_steps"},
    "report_to": True,
}


def identity(recipe: Recipe, data_digest: str, base_digest: str | None) -> dict[str, Any]:
    """All that decides a run's result, as flat keys: settings, contents of the data, contents of the base.

    Left out is what changes no result: where and how rows are read (the same rows are the same data), the run's own name,
    display names, the batch size of predictions, how often a line is printed or a checkpoint written, trackers.
    """
    settings = flatten(recipe.model_dump(mode="json", exclude=_WITHOUT_EFFECT))
    for split in ("validation", "test"):
        if recipe.data.source(split) is not None:
            settings = {key: value for key, value in settings.items() if not key.startswith(f"data.{split}.")}
            settings[f"data.{split}"] = "file"
    return settings | {"data (contents)": data_digest, "base (contents)": base_digest}


def differing_keys(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """``["method.r: 8 -> 16"]`` for two identities."""
    return [
        f"{key}: {one.get(key)!r} -> {other.get(key)!r}"
        for key in sorted(one.keys() | other.keys())
        if one.get(key) != other.get(key)
    ]
