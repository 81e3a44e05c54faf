"""From texts to probabilities. A scorer hides what computes them: torch, a linear model, or a constant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tunebench.predict.plan import prediction_plan
from tunebench.predict.tokenize import TextEncoder


@dataclass(frozen=True)
class Scores:
    """Per text: logits ``(N, K)`` float32 in label order, and whether the text was cut."""

    logits: np.ndarray
    truncated: list[bool]

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, ``(N, K)`` float64, each row summing to 1."""
        logits = self.logits.astype(np.float64)
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True)) if len(logits) else logits
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True)) if len(logits) else logits


class Scorer(Protocol):
    """Anything that turns texts into logits, whatever computes them."""

    def score(self, texts: Sequence[str]) -> Scores:
        """Logits of all texts, in order; neighbours and batch size change nothing."""
        ...


class Backend(Protocol):
    """Computes logits ``(B, K)`` for one batch of token ids of unequal length; owns padding and masking."""

    pad_id: int

    def logits(self, ids: Sequence[Sequence[int]]) -> np.ndarray:
        """Logits of one batch, rows in the order given."""
        ...


class TokenScorer:
    """Tokenizes, batches by length, asks a backend, and puts rows back in their order."""

    def __init__(self, encoder: TextEncoder, backend: Backend, num_labels: int, batch_size: int) -> None:
        self.encoder, self.backend, self.num_labels, self.batch_size = encoder, backend, num_labels, batch_size

    def score(self, texts: Sequence[str]) -> Scores:
        """Logits of all texts, in order."""
        encoded = self.encoder.encode(texts)
        return Scores(score_ids(self.backend, encoded.ids, self.num_labels, self.batch_size), encoded.truncated)


def score_ids(backend: Backend, ids: Sequence[Sequence[int]], num_labels: int, batch_size: int) -> np.ndarray:
    """Logits ``(N, K)`` of token ids, in order, computed in length-sorted batches."""
    logits = np.zeros((len(ids), num_labels), dtype=np.float32)
    for batch in prediction_plan([len(row) for row in ids], batch_size):
        logits[batch] = backend.logits([ids[row] for row in batch])
    return logits


class ConstantScorer:
    """The baseline ``majority``: the logarithm of the training shares, for every text."""

    def __init__(self, shares: Sequence[float]) -> None:
        self._logits = np.log(np.asarray(shares, dtype=np.float64)).astype(np.float32)

    @property
    def num_parameters(self) -> int:
        """One share per label."""
        return len(self._logits)

    def score(self, texts: Sequence[str]) -> Scores:
        """The same logits for every text."""
        return Scores(np.tile(self._logits, (len(texts), 1)), [False] * len(texts))
