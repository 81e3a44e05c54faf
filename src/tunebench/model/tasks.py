"""Text classification on a transformers model: which class carries the head, and how a text's logits come out.

``cls`` is the architecture's own ``…ForSequenceClassification``: a head on the first token, of a decoder on the last one
that is no padding. ``mean`` is its ``…ForTokenClassification``: the mean over a text's tokens of a linear head equals that
head on the mean state, so mean pooling needs no code of ours inside the saved model, and the folder opens with plain
transformers (docs/decisions/0003). A causal language model (``none``) has its own output layer as head (model/causal.py).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoModelForTokenClassification

from tunebench.recipe.resolve import CAUSAL

MODEL_CLASSES: dict[str, Any] = {
    "cls": AutoModelForSequenceClassification,
    "mean": AutoModelForTokenClassification,
    CAUSAL: AutoModelForCausalLM,
}


def text_logits(model: nn.Module, pooling: str, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Logits per text ``(B, K)`` for padded ids and their mask, both ``(B, T)``; padding has no part in them."""
    logits: Tensor = model(input_ids=input_ids, attention_mask=attention_mask).logits
    if pooling == "cls":
        return logits
    mask = attention_mask.unsqueeze(-1).to(logits.dtype)  # (B, T, 1)
    return (logits * mask).sum(dim=1) / mask.sum(dim=1)


def classification_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy summed over the texts, each times the weight ``(K,)`` of its label.

    Whoever accumulates divides by the rows of the global step.
    """
    return functional.cross_entropy(logits, labels, weight=weights, reduction="sum")


def pad_batch(ids: list[list[int]], pad_id: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Ids of unequal length as ``(input_ids, attention_mask)``, ``(B, T)`` int64, padded on the right to the longest."""
    width = max(len(row) for row in ids)
    input_ids = torch.full((len(ids), width), pad_id, dtype=torch.int64)
    mask = torch.zeros((len(ids), width), dtype=torch.int64)
    for i, row in enumerate(ids):
        input_ids[i, : len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[i, : len(row)] = 1
    return input_ids.to(device), mask.to(device)
