"""A causal language model as a classifier: what it gives every possible answer after a prompt, in one forward pass.

A prompt is computed once. What all prompts begin with is computed once for all of them and its keys and values reused; of
the output layer only the rows of the answers' tokens are needed where an answer is one token. Longer answers go on from the
keys and values of their prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import DynamicCache

from tunebench.model.tasks import pad_batch

SHORTEST_PREFIX = 8
"""Fewer shared tokens are not worth a cache of their own."""


def causal_of(model: Any) -> Any:
    """The ``…ForCausalLM`` inside, with any adapter in place."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def hidden_states(model: nn.Module, input_ids: Tensor, mask: Tensor | None, positions: Tensor, cache: Any = None) -> Tensor:
    """States ``(B, T, H)`` that the output layer reads, of ids ``(B, T)`` at ``positions`` ``(B, T)``.

    ``mask`` ``(B, P + T)`` covers the cache's tokens too. Without one, positions that begin again begin another document, which
    sees nothing of those before it.
    """
    body = causal_of(model).base_model
    found: Tensor = body(
        input_ids=input_ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=cache is not None
    ).last_hidden_state
    return found


def token_logits(model: nn.Module, states: Tensor, rows: Tensor | None = None) -> Tensor:
    """Logits of states ``(…, H)`` over the vocabulary, or over the ``rows`` of it; with the model's own soft cap."""
    causal = causal_of(model)
    layer: Any = causal.get_output_embeddings()
    logits: Tensor
    if rows is not None and type(layer) is nn.Linear and getattr(layer, "bias", None) is None:
        logits = nn.functional.linear(states, layer.weight[rows])
    else:
        logits = layer(states) if rows is None else layer(states)[..., rows]
    cap = getattr(causal.config, "final_logit_softcapping", None)
    return logits if cap is None else torch.tanh(logits / cap) * cap


class AnswerBackend:
    """Logits ``(B, K)`` of K answers, given as token ids, after prompts: sums of their tokens' log-probabilities.

    Where every answer is one token they lack a constant per row, which no probability of an answer depends on.
    ``prefix`` are ids that prompts begin with.
    """

    def __init__(self, model: nn.Module, pad_id: int, answers: Sequence[Sequence[int]], prefix: Sequence[int] = ()) -> None:
        self.model, self.pad_id = model, pad_id
        self.answers = [list(answer) for answer in answers]
        self.prefix = list(prefix) if len(prefix) >= SHORTEST_PREFIX else []
        self._prefix_cache: list[tuple[Tensor, Tensor]] = []

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.model.parameters()).device

    def logits(self, ids: Sequence[Sequence[int]]) -> np.ndarray:
        """``(B, K)`` float32 for one batch of prompts of unequal length."""
        self.model.eval()
        with torch.inference_mode():
            batch = _Batch(self, ids)
            first = [answer[0] for answer in self.answers]
            if all(len(answer) == 1 for answer in self.answers):
                scores = token_logits(self.model, batch.last, torch.tensor(first, device=self.device))
            else:
                scores = token_logits(self.model, batch.last).float().log_softmax(-1)[:, first]
                for number, answer in enumerate(self.answers):
                    if len(answer) > 1:
                        scores[:, number] += batch.rest_of(answer)
        return scores.float().cpu().numpy()

    def may_continue(self, tokens: int) -> bool:
        """Say whether keys and values may be reused beside padding: not where a sliding window would count the padding."""
        window = getattr(causal_of(self.model).config, "sliding_window", None)
        return window is None or tokens <= window

    def forget(self) -> None:
        """Let go of what was computed with the weights as they were: to be called where they have changed.

        Nothing tells of it by itself: a fused optimizer step leaves the versions of the parameters as they are.
        """
        self._prefix_cache = []

    def prefix_cache(self) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the prefix, per layer ``(1, heads, P, D)``, computed once until they are forgotten."""
        if not self._prefix_cache:
            input_ids = torch.tensor([self.prefix], device=self.device)
            cache = DynamicCache()
            hidden_states(self.model, input_ids, None, torch.arange(len(self.prefix), device=self.device)[None], cache)
            layers: list[Any] = list(cache.layers)
            self._prefix_cache = [(layer.keys, layer.values) for layer in layers]
        return self._prefix_cache


class _Batch:
    """Prompts once computed, right-padded: the state behind each, and the keys and values to go on from."""

    def __init__(self, backend: AnswerBackend, ids: Sequence[Sequence[int]]) -> None:
        self.backend, self.ids = backend, [list(row) for row in ids]
        longest = max(len(row) for row in self.ids) + max(len(answer) for answer in backend.answers)
        self.reusable = backend.may_continue(longest)
        many = any(len(answer) > 1 for answer in backend.answers)
        shared = len(backend.prefix) if self.reusable and self._begin_alike() else 0
        self.cache = self._cache(shared) if shared or (many and self.reusable) else None
        self.last = self._compute(self.ids, shared)

    def _begin_alike(self) -> bool:
        prefix = self.backend.prefix
        return bool(prefix) and all(len(row) > len(prefix) and row[: len(prefix)] == prefix for row in self.ids)

    def _cache(self, shared: int) -> DynamicCache:
        cache = DynamicCache()
        if shared:
            for number, (keys, values) in enumerate(self.backend.prefix_cache()):
                cache.update(keys.expand(len(self.ids), -1, -1, -1), values.expand(len(self.ids), -1, -1, -1), number)
        return cache

    def _compute(self, rows: list[list[int]], shared: int) -> Tensor:
        """State ``(B, H)`` behind the last token of every row."""
        device = self.backend.device
        input_ids, mask = pad_batch([row[shared:] for row in rows], self.backend.pad_id, device)
        self.mask = torch.cat([torch.ones(len(rows), shared, dtype=mask.dtype, device=device), mask], dim=1)
        positions = torch.arange(shared, shared + input_ids.shape[1], device=device).expand_as(input_ids)
        states = hidden_states(self.backend.model, input_ids, self.mask, positions, self.cache)
        return states[torch.arange(len(rows), device=device), mask.sum(1) - 1]

    def rest_of(self, answer: list[int]) -> Tensor:
        """Log-probability ``(B,)`` of an answer's tokens after its first one."""
        if not self.reusable:
            return self._rest_by_whole(answer)
        device, number = self.backend.device, len(self.ids)
        input_ids = torch.tensor([answer[:-1]] * number, device=device)
        ones = torch.ones_like(input_ids)
        positions = torch.tensor([[len(row)] for row in self.ids], device=device) + torch.arange(len(answer) - 1, device=device)
        assert self.cache is not None
        states = hidden_states(self.backend.model, input_ids, torch.cat([self.mask, ones], dim=1), positions, self.cache)
        self.cache.crop(1 - len(answer))
        return _chosen(token_logits(self.backend.model, states), answer[1:])

    def _rest_by_whole(self, answer: list[int]) -> Tensor:
        """The same, prompt and answer computed anew: nothing is reused, so no window counts what is padding."""
        device, width = self.backend.device, len(answer) - 1
        rows = [[*row, *answer[:-1]] for row in self.ids]
        input_ids, mask = pad_batch(rows, self.backend.pad_id, device)
        positions = torch.arange(input_ids.shape[1], device=device).expand_as(input_ids)
        states = hidden_states(self.backend.model, input_ids, mask, positions)
        ends = mask.sum(1, keepdim=True) - width + torch.arange(width, device=device)
        picked = states.gather(1, ends.unsqueeze(-1).expand(-1, -1, states.shape[-1]))
        return _chosen(token_logits(self.backend.model, picked), answer[1:])


def _chosen(logits: Tensor, tokens: Sequence[int]) -> Tensor:
    """Sum ``(B,)`` of the log-probabilities of ``tokens`` under logits ``(B, len(tokens), V)``."""
    wanted = torch.tensor(list(tokens), device=logits.device).expand(logits.shape[0], -1).unsqueeze(-1)
    return logits.float().log_softmax(-1).gather(-1, wanted).sum((1, 2))
