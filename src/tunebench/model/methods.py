"""How a method lies on a model: what trains, what an adapter adds, what is saved whole.

The adapters come from PEFT; this module makes its choices exact, because PEFT silently saves more modules than asked (any
whose name *ends* in ``classifier``).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from peft import PeftModel, TaskType, get_peft_model
from peft.utils.other import ModulesToSaveWrapper
from torch import Tensor, nn
from transformers import PreTrainedModel

from tunebench.errors import InputError, listing, nearest
from tunebench.model.adapters import ADAPTER, adapter_config, can_carry, ends_of, names_module, targets_of
from tunebench.model.quantized import weights_in
from tunebench.model.residual import original_weights, remember_start, takes_from_base
from tunebench.recipe.adapters import Adapter
from tunebench.recipe.architectures import ARCHITECTURES
from tunebench.recipe.methods import Full, Head, Method

TASK_TYPES = {"cls": TaskType.SEQ_CLS, "mean": TaskType.TOKEN_CLS, "none": TaskType.CAUSAL_LM}
"""PEFT's word for the model class that a way of pooling stands on."""

_ADDED_BY_PEFT = ("classifier", "score")


def apply_method(model: PreTrainedModel, method: Method, pooling: str) -> PreTrainedModel | PeftModel:
    """Compose a resolved method onto a model, in place, and return what is to be trained.

    ``model`` is an ``AutoModelForSequenceClassification`` with pooling ``cls``, an ``AutoModelForTokenClassification``
    with ``mean`` (the masked mean of its logits per token equals a linear head on the mean state), a causal LM with
    ``none``. ``full`` and ``head`` return the model itself; an adapter wraps it. New weights are drawn from
    torch's generator: seed it first. Exactly ``modules_to_save`` is trained and saved whole; a list that leaves part of
    the head out is composed too, for its figures, but PEFT cannot reopen such an adapter. Raises InputError where a
    name in the method fits no module of the model, or a size none of its layers.
    """
    if isinstance(method, Full):
        model.requires_grad_(requires_grad=True)
        return model
    if isinstance(method, Head):
        return _train_head(model, pooling)
    if isinstance(method, Adapter):
        return _adapt(model, method, pooling)
    raise InputError("method.kind", f"the baseline {method.kind!r} trains no model; choose another kind")


@contextmanager
def expected_warnings() -> Iterator[None]:
    """Silence what PEFT 0.21 always warns of: a name that transformers 5.23 renamed, and norms, which it lies on all the same.

    To be put around whatever makes a ``PeftModel``, opening a saved one included.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        warnings.filterwarnings("ignore", message="Unsupported layer type .*Norm", category=UserWarning)
        yield


def merge_adapter(model: PeftModel) -> PreTrainedModel:
    """Fold an adapter into its base and put the modules saved whole in place; the given model is used up.

    PEFT's own ``merge_and_unload`` fails for IA3 beside a head of several layers (RoBERTa's), hence the heads first.
    Raises ValueError where the merged weights are not finite.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            _replace(model, name, module.modules_to_save[ADAPTER])
    merged: PreTrainedModel = model.merge_and_unload(safe_merge=True)
    return merged


def keep_fewer_activations(model: nn.Module) -> None:
    """Gradient checkpointing: what the backward pass needs is computed again instead of kept. Changes no result."""
    assert isinstance(model, PreTrainedModel | PeftModel)
    # transformers 5.23 renamed the method; the older name warns there, and is the only one before.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """The live parameters that training changes, by name, in the order of the model; a tied one appears once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def deployed_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Every parameter in use, by name: without the frozen originals that PEFT keeps beside modules saved whole."""
    idle = tuple(f"{name}.original_module." for name, module in model.named_modules() if isinstance(module, ModulesToSaveWrapper))
    return {name: parameter for name, parameter in model.named_parameters() if not (idle and name.startswith(idle))}


def adapter_prefix(model: nn.Module) -> str | None:
    """What the names of adapter parameters have in common (``lora_``, ``ia3_``), or None without an adapter."""
    return str(model.base_model.prefix) if isinstance(model, PeftModel) else None


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """``(total, trainable)`` numbers of weights.

    The total is that of base and head, equally of the merged model: an adapter is not part of it, and a module that is
    saved whole counts once although PEFT keeps its original too. Trainable includes the adapter and the saved modules.
    """
    prefix = adapter_prefix(model)
    sizes = [(name, weights_in(parameter)) for name, parameter in deployed_parameters(model).items()]
    total = sum(size for name, size in sizes if prefix is None or not is_adapter(name, prefix))
    return total, sum(tensor.numel() for tensor in trainable_state(model).values())


def is_adapter(name: str, prefix: str) -> bool:
    """Say whether a parameter's name is one of the adapter's: ``….query.lora_A.default.weight``."""
    return f".{prefix}" in name


def _train_head(model: PreTrainedModel, pooling: str) -> PreTrainedModel:
    architecture = ARCHITECTURES.get(model.config.model_type)
    names = architecture.head(pooling) if architecture and pooling != "none" else []
    heads = [module for name, module in model.named_modules() if names_module(name, names)]
    if not heads:
        raise InputError(
            "method.kind", f"'head' needs a classification head, and {type(model).__name__} has none; use full or an adapter"
        )
    model.requires_grad_(requires_grad=False)
    for head in heads:
        head.requires_grad_(requires_grad=True)
    return model


def _adapt(model: PreTrainedModel, method: Adapter, pooling: str) -> PeftModel:
    if pooling not in TASK_TYPES:
        raise InputError("base.pooling", f"expected one of {', '.join(TASK_TYPES)}, found {pooling!r}")
    saved = list(method.modules_to_save or [])
    _check_saved(model, saved)
    wrapped = saved if pooling == "none" else [*saved, *_ADDED_BY_PEFT]
    layers = [name for name, module in model.named_modules() if can_carry(method, module) and not _lies_in(name, wrapped)]
    config = adapter_config(model, method, layers)
    config.task_type = TASK_TYPES[pooling]
    setattr(config, "modules_to_save", list(saved) or None)  # noqa: B010  # PEFT types the config too widely
    originals = original_weights(model, targets_of(config, layers), method.r) if takes_from_base(method) else {}
    try:
        with expected_warnings():
            adapted: PeftModel = get_peft_model(model, config)
    except ValueError as error:  # a size that does not fit a layer's, mostly
        raise InputError("method", f"{method.kind!r} does not fit this base: {error}") from None
    remember_start(adapted, originals)
    _save_exactly(adapted, saved)
    return adapted


def _check_saved(model: nn.Module, saved: Sequence[str]) -> None:
    names = [name for name, _ in model.named_modules() if name]
    known = list(dict.fromkeys([*(name for name, _ in model.named_children()), *ends_of(_leaves(model))]))
    faults = [
        f"{wanted!r} fits no module{nearest(wanted, known)}; the model's are {listing(known)}"
        for wanted in saved
        if not any(names_module(name, [wanted]) for name in names)
    ]
    if faults:
        raise InputError("method.modules_to_save", faults)


def _lies_in(name: str, wrapped: Sequence[str]) -> bool:
    """Say whether PEFT would save the module, or one that holds it, whole: it compares bare ends of names."""
    parts = name.split(".")
    return any(".".join(parts[: depth + 1]).endswith(end) for depth in range(len(parts)) for end in wrapped)


def _leaves(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if name and any(True for _ in module.parameters(recurse=False))]


def _save_exactly(model: PeftModel, saved: Sequence[str]) -> None:
    """Undo what PEFT saves whole unasked, and put the lists of its config in an order that is the same every time."""
    for name, module in list(model.named_modules()):
        if isinstance(module, ModulesToSaveWrapper) and not names_module(name, saved):
            _replace(model, name, module.original_module)
    config = model.peft_config[ADAPTER]
    setattr(config, "modules_to_save", list(saved) or None)  # noqa: B010  # PEFT types the config too widely
    for key in ("target_modules", "feedforward_modules"):
        if isinstance(getattr(config, key, None), set | list):
            setattr(config, key, sorted(getattr(config, key)))


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)
