"""From texts to probabilities. A scorer hides what computes them: torch, a linear model, or a constant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tunebench.predict.plan import prediction_plan
from tunebench.predict.tokenize import Encoded


@dataclass(frozen=True)
class Scores:
    """Per item: logits ``(N, K)`` float32 in label order, and whether it was cut.

    ``errors`` says why an item could not be scored (its logits are not numbers then). Where the answer was written
    instead of scored, ``generated`` holds what was written and ``answers`` the label's id that was found in it, None where
    there is none; ``invalid`` marks those also where a label was put in their place. There are no logits then.
    """

    logits: np.ndarray
    truncated: list[bool]
    errors: list[str | None] | None = None
    answers: list[int | None] | None = None
    generated: list[str] | None = None
    invalid: list[bool] | None = None

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, ``(N, K)`` float64, each row summing to 1."""
        logits = self.logits.astype(np.float64)
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True)) if len(logits) else logits
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True)) if len(logits) else logits


class Scorer(Protocol):
    """Anything that turns items into logits, whatever computes them."""

    def score(self, items: Sequence[Any], /) -> Scores:
        """Logits of all items, in order; neighbours and batch size change nothing."""
        ...


class Encoder(Protocol):
    """Turns items into token ids."""

    def encode(self, items: Sequence[Any], /) -> Encoded:
        """Ids of all items, in order."""
        ...


class Backend(Protocol):
    """Computes logits ``(B, K)`` for one batch of token ids of unequal length; owns padding and masking."""

    pad_id: int

    def logits(self, ids: Sequence[Sequence[int]]) -> np.ndarray:
        """Logits of one batch, rows in the order given."""
        ...


class TokenScorer:
    """Tokenizes, batches by length, asks a backend, and puts rows back in their order."""

    def __init__(self, encoder: Encoder, backend: Backend, num_labels: int, batch_size: int) -> None:
        self.encoder, self.backend, self.num_labels, self.batch_size = encoder, backend, num_labels, batch_size

    def score(self, items: Sequence[Any], /) -> Scores:
        """Logits of all items, in order."""
        encoded = self.encoder.encode(items)
        return Scores(score_ids(self.backend, encoded.ids, self.num_labels, self.batch_size), encoded.truncated, encoded.errors)


def score_ids(backend: Backend, ids: Sequence[Sequence[int]], num_labels: int, batch_size: int) -> np.ndarray:
    """Logits ``(N, K)`` of token ids, in order, computed in length-sorted batches; no numbers where there are no ids."""
    logits = np.full((len(ids), num_labels), np.nan, dtype=np.float32)
    sound = [place for place, row in enumerate(ids) if row]
    for batch in prediction_plan([len(ids[place]) for place in sound], batch_size):
        places = [sound[i] for i in batch]
        logits[places] = backend.logits([ids[place] for place in places])
    return logits


class ConstantScorer:
    """The baseline ``majority``: the logarithm of the training shares, for every text."""

    def __init__(self, shares: Sequence[float]) -> None:
        self._logits = np.log(np.asarray(shares, dtype=np.float64)).astype(np.float32)

    @property
    def num_parameters(self) -> int:
        """One share per label."""
        return len(self._logits)

    def score(self, items: Sequence[Any], /) -> Scores:
        """The same logits for every item."""
        return Scores(np.tile(self._logits, (len(items), 1)), [False] * len(items))
