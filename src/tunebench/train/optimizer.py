"""AdamW over what is trainable, and the learning rate as a pure function of the step."""

from __future__ import annotations

import math

import torch
from torch import nn

from tunebench.recipe.spec import Train


def make_optimizer(model: nn.Module, settings: Train, loraplus_lr_ratio: float | None = None) -> torch.optim.AdamW:
    """AdamW as the Hugging Face Trainer sets it up: fused (docs/lab-log.md), no decay on biases and norms.

    Every group's ``lr_ratio`` is what the rate of a step is multiplied by: LoRA+ (arXiv 2402.12354) trains LoRA's B faster.
    """
    kinds: dict[tuple[float, float], list[nn.Parameter]] = {}  # (ratio, decay) -> parameters
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            ratio = (loraplus_lr_ratio or 1.0) if ".lora_B." in name else 1.0
            exempt = parameter.ndim < 2 or "norm" in name.lower() or "ia3_" in name
            kinds.setdefault((ratio, 0.0 if exempt else settings.weight_decay), []).append(parameter)
    rate = settings.learning_rate or 0.0
    groups = [
        {"params": parameters, "weight_decay": decay, "lr_ratio": ratio, "lr": rate * ratio}
        for (ratio, decay), parameters in kinds.items()
    ]
    return torch.optim.AdamW(groups, lr=rate, fused=True)


def learning_rate(settings: Train, step: int, total_steps: int) -> float:
    """Rate of step 0, 1, … of ``total_steps``: a linear warm-up, then linear, cosine or constant."""
    peak = settings.learning_rate or 0.0
    warmup = math.ceil(settings.warmup_ratio * total_steps)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, total_steps - warmup)
    if settings.lr_scheduler_type == "linear":
        return peak * (1 - progress)
    if settings.lr_scheduler_type == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * progress))
    return peak
