"""How a method lies on a model: what trains, what an adapter adds, what is saved whole.

LoRA: Hu et al. 2021 (arXiv 2106.09685). IA3: Liu et al. 2022 (arXiv 2205.05638). Both come from PEFT; this module
makes its choices exact, because PEFT silently saves more modules than asked (any whose name *ends* in ``classifier``)
and wraps a module twice when ``all-linear`` meets such a one (DistilBERT's ``pre_classifier``: TypeError).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from peft import IA3Config, LoraConfig, PeftModel, TaskType, get_peft_model
from peft.utils.other import ModulesToSaveWrapper
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tunebench.errors import InputError, listing, nearest
from tunebench.recipe.architectures import ARCHITECTURES
from tunebench.recipe.methods import Full, Head, Ia3, Lora, Method

TASK_TYPES = {"cls": TaskType.SEQ_CLS, "mean": TaskType.TOKEN_CLS, "none": TaskType.CAUSAL_LM}
"""PEFT's word for the model class that a way of pooling stands on."""

ADAPTER = "default"
"""PEFT's name of the one adapter that a model carries here; it is part of parameter names."""

_ADDED_BY_PEFT = ("classifier", "score")


def apply_method(model: PreTrainedModel, method: Method, pooling: str) -> PreTrainedModel | PeftModel:
    """Compose a resolved method onto a model, in place, and return what is to be trained.

    ``model`` is an ``AutoModelForSequenceClassification`` with pooling ``cls``, an ``AutoModelForTokenClassification``
    with ``mean`` (the masked mean of its logits per token equals a linear head on the mean state), a causal LM with
    ``none``. ``full`` and ``head`` return the model itself; ``lora`` and ``ia3`` wrap it. New weights are drawn from
    torch's generator: seed it first. Exactly ``modules_to_save`` is trained and saved whole; a list that leaves part of
    the head out is composed too, for its figures, but PEFT cannot reopen such an adapter. Raises InputError where a
    name in the method fits no module of the model.
    """
    if isinstance(method, Full):
        model.requires_grad_(requires_grad=True)
        return model
    if isinstance(method, Head):
        return _train_head(model, pooling)
    if isinstance(method, Lora | Ia3):
        return _adapt(model, method, pooling)
    raise InputError(
        "method.kind", f"expected full, head, lora or ia3, found the baseline {method.kind!r}, which trains no model"
    )


@contextmanager
def expected_warnings() -> Iterator[None]:
    """Silence the one warning that PEFT 0.21 always draws from transformers 5.23: it asks for a name that was renamed.

    To be put around whatever makes a ``PeftModel``, opening a saved one included.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
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
    sizes = [(name, parameter.numel()) for name, parameter in deployed_parameters(model).items()]
    total = sum(size for name, size in sizes if prefix is None or not is_adapter(name, prefix))
    return total, sum(tensor.numel() for tensor in trainable_state(model).values())


def is_adapter(name: str, prefix: str) -> bool:
    """Say whether a parameter's name is one of the adapter's: ``….query.lora_A.default.weight``."""
    return f".{prefix}" in name


def names_module(name: str, ends: Iterable[str]) -> bool:
    """Say whether a module's full name is, or ends with, one of the given whole parts of names."""
    return any(name == end or name.endswith(f".{end}") for end in ends)


def _train_head(model: PreTrainedModel, pooling: str) -> PreTrainedModel:
    architecture = ARCHITECTURES.get(model.config.model_type)
    names = architecture.head(pooling) if architecture and pooling != "none" else []
    heads = [module for name, module in model.named_modules() if names_module(name, names)]
    if not heads:
        raise InputError(
            "method.kind", f"'head' needs a classification head, and {type(model).__name__} has none; use full, lora or ia3"
        )
    model.requires_grad_(requires_grad=False)
    for head in heads:
        head.requires_grad_(requires_grad=True)
    return model


def _adapt(model: PreTrainedModel, method: Lora | Ia3, pooling: str) -> PeftModel:
    if pooling not in TASK_TYPES:
        raise InputError("base.pooling", f"expected one of {', '.join(TASK_TYPES)}, found {pooling!r}")
    saved = list(method.modules_to_save or [])
    _check_saved(model, saved)
    wrapped = saved if pooling == "none" else [*saved, *_ADDED_BY_PEFT]
    inside = [name for name, _ in model.named_modules() if _lies_in(name, wrapped)]
    linear = [name for name, module in model.named_modules() if _is_linear(module) and name not in inside]
    if isinstance(method, Lora):
        config: LoraConfig | IA3Config = _lora(model, method, linear)
    else:
        config = _ia3(model, method, linear)
    config.task_type = TASK_TYPES[pooling]
    config.modules_to_save = list(saved) or None
    matched = [name for name in inside if _is_linear(model.get_submodule(name)) and _matches(name, config.target_modules)]
    config.exclude_modules = matched or None
    with expected_warnings():
        adapted: PeftModel = get_peft_model(model, config)
    _save_exactly(adapted, saved)
    return adapted


def _lora(model: PreTrainedModel, method: Lora, linear: Sequence[str]) -> LoraConfig:
    targets = method.target_modules or []
    if targets == "all-linear":
        targets = _all_linear(model, linear)
    _check_targets(targets, linear, model, "method.target_modules")
    alpha = int(method.lora_alpha) if float(method.lora_alpha).is_integer() else method.lora_alpha
    return LoraConfig(
        r=method.r,
        lora_alpha=alpha,  # type: ignore[arg-type]  # PEFT divides by it; fractions work
        lora_dropout=method.lora_dropout,
        bias=method.bias,
        use_rslora=method.use_rslora,
        target_modules=list(targets),
    )


def _ia3(model: PreTrainedModel, method: Ia3, linear: Sequence[str]) -> IA3Config:
    targets, feedforward = method.target_modules or [], method.feedforward_modules or []
    if targets == "all-linear":
        targets = _all_linear(model, linear)
    _check_targets(targets, linear, model, "method.target_modules")
    _check_targets(feedforward, [name for name in linear if _matches(name, targets)], model, "method.feedforward_modules")
    return IA3Config(target_modules=targets, feedforward_modules=feedforward)


def _all_linear(model: PreTrainedModel, linear: Sequence[str]) -> list[str]:
    """The ends of the names of all linear layers; neither those saved whole nor a causal LM's output layer."""
    output = model.get_output_embeddings()
    return _ends(name for name in linear if output is None or model.get_submodule(name) is not output)


def _check_targets(targets: str | Sequence[str], usable: Sequence[str], model: nn.Module, key: str) -> None:
    """Refuse targets that fit no linear layer (each name of a list must fit one) or fit something else as well."""
    asked = [targets] if isinstance(targets, str) else list(targets)
    known = _ends(usable)
    faults = []
    for target in asked:
        one = target if isinstance(targets, str) else [target]
        others = [name for name, module in model.named_modules() if _matches(name, one, key) and not _is_linear(module)]
        if others:
            kind = type(model.get_submodule(others[0])).__name__
            faults.append(f"{target!r} fits {others[0]!r}, of type {kind}; expected linear layers, such as {listing(known)}")
        elif not any(_matches(name, one, key) for name in usable):
            faults.append(f"{target!r} fits no module{nearest(target, known)}; those that can be named here are {listing(known)}")
    if faults:
        raise InputError(key, faults)


def _check_saved(model: nn.Module, saved: Sequence[str]) -> None:
    names = [name for name, _ in model.named_modules() if name]
    known = list(dict.fromkeys([*(name for name, _ in model.named_children()), *_ends(_leaves(model))]))
    faults = [
        f"{wanted!r} fits no module{nearest(wanted, known)}; the model's are {listing(known)}"
        for wanted in saved
        if not any(names_module(name, [wanted]) for name in names)
    ]
    if faults:
        raise InputError("method.modules_to_save", faults)


def _matches(name: str, targets: object, key: str = "method.target_modules") -> bool:
    """PEFT's rule: a text is a pattern for the whole name, a list holds ends of names."""
    if not isinstance(targets, str):
        return names_module(name, targets)  # type: ignore[arg-type]  # PEFT types it loosely: a list or set of names
    try:
        return re.fullmatch(targets, name) is not None
    except re.error as fault:
        raise InputError(
            key, f"{targets!r} is no valid pattern ({fault}); give a list of names or a regular expression"
        ) from None


def _lies_in(name: str, wrapped: Sequence[str]) -> bool:
    """Say whether PEFT would save the module, or one that holds it, whole: it compares bare ends of names."""
    parts = name.split(".")
    return any(".".join(parts[: depth + 1]).endswith(end) for depth in range(len(parts)) for end in wrapped)


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | Conv1D)


def _leaves(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if name and any(True for _ in module.parameters(recurse=False))]


def _ends(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name.rpartition(".")[2] for name in names))


def _save_exactly(model: PeftModel, saved: Sequence[str]) -> None:
    """Undo what PEFT saves whole unasked, and put the lists of its config in an order that is the same every time."""
    for name, module in list(model.named_modules()):
        if isinstance(module, ModulesToSaveWrapper) and not names_module(name, saved):
            _replace(model, name, module.original_module)
    config = model.peft_config[ADAPTER]
    setattr(config, "modules_to_save", list(saved) or None)  # noqa: B010  # PEFT types the config too widely
    for key in ("target_modules", "feedforward_modules", "exclude_modules"):
        if isinstance(getattr(config, key, None), set | list):
            setattr(config, key, sorted(getattr(config, key)))


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)
