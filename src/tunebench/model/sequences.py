"""The losses of a causal language model on some of its tokens, several documents in one row included."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tunebench.model.causal import causal_of, hidden_states, token_logits
from tunebench.model.tasks import pad_batch
from tunebench.predict.documents import Sequences

LOGITS = 2**25
"""Logits that are held at once: 128 MiB of float32, of a vocabulary of 49,152 those of 682 tokens."""


def target_losses(model: nn.Module, rows: Sequences, places: Sequence[int], pad_id: int, device: torch.device) -> list[Tensor]:
    """Per row at ``places`` the negative log-probabilities ``(targets of the row,)`` of the tokens to be predicted.

    Logits are made for these tokens alone, a chunk at a time, and again for the backward pass: no vocabulary is too large.
    """
    input_ids, mask = pad_batch([rows.ids[place] for place in places], pad_id, device)
    if rows.segments:
        positions, known = _restarting([rows.segments[place] for place in places], input_ids.shape[1], device), None
    else:
        positions, known = torch.arange(input_ids.shape[1], device=device).expand_as(input_ids), mask
    states = hidden_states(model, input_ids, known, positions)
    spots = [(i, spot) for i, place in enumerate(places) for start, end in rows.targets[place] for spot in range(start, end)]
    row, column = torch.tensor(spots, device=device).unbind(1)
    losses = _losses(model, states[row, column - 1], input_ids[row, column])
    return list(losses.split([sum(end - start for start, end in rows.targets[place]) for place in places]))


def _losses(model: nn.Module, states: Tensor, targets: Tensor) -> Tensor:
    def chunk(part: Tensor, wanted: Tensor) -> Tensor:
        return functional.cross_entropy(token_logits(model, part).float(), wanted, reduction="none")

    size = max(1, LOGITS // causal_of(model).config.vocab_size)
    parts = zip(states.split(size), targets.split(size), strict=True)
    if len(states) <= size or not torch.is_grad_enabled():
        return torch.cat([chunk(part, wanted) for part, wanted in parts])
    again = functools.partial(checkpoint, chunk, use_reentrant=False, preserve_rng_state=False)
    return torch.cat([again(part, wanted) for part, wanted in parts])


def _restarting(segments: Sequence[Sequence[int]], width: int, device: torch.device) -> Tensor:
    """Positions ``(B, width)`` that begin again with every document, and with the padding."""
    rows = []
    for lengths in segments:
        padding = width - sum(lengths)
        rows.append(torch.cat([torch.arange(length) for length in (*lengths, padding)]))
    return torch.stack(rows).to(device)
