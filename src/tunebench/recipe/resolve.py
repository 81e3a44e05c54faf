"""From what a recipe says to what it means: every derived setting filled in, and the digest of the result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Any

from tunebench.errors import InputError
from tunebench.recipe.adapters import ALL_NORM, Adapter, Ia3, LnTuning
from tunebench.recipe.architectures import ARCHITECTURES, Architecture
from tunebench.recipe.methods import BASELINES, LEARNING_RATES, Method, ZeroShot
from tunebench.recipe.prompt import Prompt, template_of
from tunebench.recipe.sources import COLUMNS
from tunebench.recipe.spec import CAUSAL_TASKS, PROMPT_TASKS, TEXT_TASKS, Recipe, Task

CAUSAL = "none"
"""The pooling of a causal language model: its own output layer is the head, and nothing is new."""


def resolve(recipe: Recipe, model_type: str | None, held: Collection[str] | None = None) -> Recipe:
    """The complete recipe: rates, targets and saved modules filled in for the base's ``model_type``.

    ``held`` are the names of the weights in the base's files: a pooler that is not among them is part of the new head.
    Raises InputError where the architecture is not one that the laws are tested on, or cannot pool as told.
    """
    if recipe.method.kind in BASELINES:
        return recipe
    assert recipe.base is not None
    architecture, pooling = _architecture(model_type, held, recipe.task), pooling_of(recipe)
    if pooling != CAUSAL and not architecture.head(pooling):
        raise InputError(
            "base.pooling", f"{pooling!r} needs a head per token, which transformers does not have for {model_type!r}; use cls"
        )
    if recipe.task in PROMPT_TASKS:
        recipe = recipe.model_copy(update={"prompt": _written_out(recipe.asked, recipe.task)})
    if isinstance(recipe.method, ZeroShot):
        return recipe
    train, method = recipe.settings, resolve_method(recipe.method, architecture, pooling)
    if pooling != CAUSAL:
        _check_head_is_saved(method, architecture.head(pooling))
    if architecture.float32_only and (train.bf16 or train.fp16):
        raise InputError("train.bf16", f"{model_type} overflows in half precision (transformers); leave bf16 and fp16 out")
    update: dict[str, Any] = {
        "learning_rate": train.learning_rate or LEARNING_RATES[recipe.method.kind],
        "metric_for_best_model": train.metric_for_best_model or ("loss" if recipe.task in TEXT_TASKS else "accuracy"),
    }
    if architecture.float32_only:
        update["bf16"] = False
    return recipe.model_copy(update={"train": train.model_copy(update=update), "method": method})


def _written_out(prompt: Prompt, task: Task) -> Prompt:
    """The prompt with the text of its template: a name may stand for another one later, and a run stays what it was."""
    template = template_of(prompt, task)
    return prompt.model_copy(update={"template": template.text, "choice_template": template.choice or None})


def pooling_of(recipe: Recipe) -> str:
    """How token states become the task's answer: the base's pooling, or none where a causal language model writes."""
    assert recipe.base is not None
    return CAUSAL if recipe.task in CAUSAL_TASKS else recipe.base.pooling


def _architecture(model_type: str | None, held: Collection[str] | None, task: Task) -> Architecture:
    known = [name for name, item in ARCHITECTURES.items() if item.decoder or task not in CAUSAL_TASKS]
    if model_type not in known:
        raise InputError("base.model", f"its architecture is {model_type!r}; {task} is proved here on {', '.join(known)}")
    architecture = ARCHITECTURES[model_type]
    return architecture if held is None else architecture.over(held)


def resolve_method(method: Method, architecture: Architecture, pooling: str) -> Method:
    """The method with the architecture's targets and the modules that are saved whole (by default the new head)."""
    if not isinstance(method, Adapter):
        return method
    heads = [] if pooling == CAUSAL else architecture.head(pooling)
    settings: dict[str, Any] = {
        "target_modules": method.target_modules or _default_targets(method, architecture),
        "modules_to_save": heads if method.modules_to_save is None else method.modules_to_save,
    }
    if isinstance(method, Ia3) and method.feedforward_modules is None:
        settings["feedforward_modules"] = _default_feedforward(method.target_modules, architecture)
    return method.model_copy(update=settings)


def _default_targets(method: Adapter, architecture: Architecture) -> list[str] | str:
    if isinstance(method, LnTuning):
        return ALL_NORM
    return _plain(architecture.ia3) if isinstance(method, Ia3) else list(architecture.lora)


def _check_head_is_saved(method: Method, head: list[str]) -> None:
    """PEFT cannot reopen an adapter that lacks a part of the new head, and what it would draw instead is random."""
    if isinstance(method, Adapter) and (lacking := [name for name in head if name not in (method.modules_to_save or [])]):
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


_READING = COLUMNS
"""How files are read; what was read is digested."""
_WITHOUT_EFFECT: Any = {
    "name": True,
    "base": {"model", "revision"},
    "data": {"dataset", "dataset_config", "dataset_revision", "train", "predict", "label_names", "seed", *_READING},
    "train": {"logging_steps", "per_device_eval_batch_size", "save_strategy", "save_steps", "gradient_checkpointing"},
    "report_to": True,
    "search": True,
}


def identity(recipe: Recipe, data_digest: str, base_digest: str | None) -> dict[str, Any]:
    """All that decides a run's result, as flat keys: settings, contents of the data, contents of the base.

    Left out is what changes no result: where and how rows are read and drawn (the same rows are the same data), the run's own
    name, display names, the batch size of predictions, how often a line is printed or a checkpoint written, trackers.
    """
    settings = flatten(recipe.model_dump(mode="json", exclude=_WITHOUT_EFFECT))
    for split in ("validation", "test"):
        if recipe.data.source(split) is not None:
            settings = {key: value for key, value in settings.items() if not key.startswith(f"data.{split}.")}
            settings[f"data.{split}"] = "file"
    return settings | {"data (contents)": data_digest, "base (contents)": base_digest}


def differing_keys(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """``["method.r: 8 -> 16"]`` for two identities.

    A setting that asks for nothing is the same as one that is not there: a run stays itself when a later version knows more.
    """
    return [
        f"{key}: {one.get(key)!r} -> {other.get(key)!r}"
        for key in sorted(one.keys() | other.keys())
        if _said(one.get(key)) != _said(other.get(key))
    ]


def _said(value: Any) -> Any:
    return None if value in (False, "keep", [], {}) else value
