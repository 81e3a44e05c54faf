"""Greedy writing: the way of the ``generate`` loops that people come from, in batches padded on the left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig

from tunebench.model.causal import causal_of
from tunebench.predict.plan import prediction_plan


def generate(
    model: nn.Module, ids: Sequence[Sequence[int]], pad_id: int, end: Sequence[int], max_new_tokens: int, batch_size: int
) -> list[list[int]]:
    """What the model writes after each prompt: at most ``max_new_tokens`` tokens, up to one of ``end``."""
    model.eval()
    config = GenerationConfig(do_sample=False, max_new_tokens=max_new_tokens, pad_token_id=pad_id, eos_token_id=list(end) or None)
    written: list[list[int]] = [[] for _ in ids]
    sound = [place for place, row in enumerate(ids) if row]
    for batch in prediction_plan([len(ids[place]) for place in sound], batch_size):
        places = [sound[i] for i in batch]
        for place, tokens in zip(places, _write(model, [list(ids[place]) for place in places], config), strict=True):
            written[place] = [token for token in tokens if token not in (pad_id, *end)]
    return written


def _write(model: nn.Module, rows: list[list[int]], config: GenerationConfig) -> list[list[int]]:
    device = next(model.parameters()).device
    width = max(map(len, rows))
    fill: Any = config.pad_token_id
    input_ids = torch.tensor([[fill] * (width - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    with torch.inference_mode():
        found = causal_of(model).generate(input_ids=input_ids, attention_mask=mask, generation_config=config)
    new: list[list[int]] = found[:, width:].tolist()
    return new
