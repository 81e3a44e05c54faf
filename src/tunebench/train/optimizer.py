"""AdamW over what is trainable, and the learning rate as a pure function of the step."""

from __future__ import annotations

import math

import torch
from torch import nn

from tunebench.recipe.spec import Train


def make_optimizer(model: nn.Module, settings: Train) -> torch.optim.AdamW:
    """AdamW as the Hugging Face Trainer sets it up: fused (docs/lab-log.md), no decay on biases and norms."""
    decayed: list[nn.Parameter] = []
    exempt: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (exempt if parameter.ndim < 2 or "norm" in name.lower() or "ia3_" in name else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": exempt, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=settings.learning_rate or 0.0, fused=True)


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
