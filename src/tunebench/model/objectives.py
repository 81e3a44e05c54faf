"""What a task teaches, as the loop sees it: how long its rows are, the loss of some of them, and an evaluation.

The loop knows no labels, prompts or documents. ``items`` is what the loss of a row is divided by: its one label, or the
tokens it has to predict.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from tunebench.metrics import selection_scores
from tunebench.model.causal import AnswerBackend
from tunebench.model.sequences import target_losses
from tunebench.model.tasks import classification_loss, pad_batch, text_logits
from tunebench.model.torch_backend import TorchBackend
from tunebench.predict.documents import Sequences
from tunebench.predict.plan import prediction_plan
from tunebench.predict.scorers import Backend, score_ids

CPU_TOKENS = 2048
"""Padded tokens that a CPU computes at once in training; what that does to memory stands in docs/lab-log.md."""
TRAIN_SAMPLE = 128
"""Training rows scored without dropout at every evaluation: the train curve that the validation curve compares with."""


@dataclass(frozen=True)
class Examples:
    """Tokenized rows and their label ids, in order."""

    ids: list[list[int]]
    labels: list[int]

    @property
    def lengths(self) -> list[int]:
        """Tokens per row."""
        return [len(row) for row in self.ids]

    def sample(self, most: int) -> Examples:
        """At most ``most`` rows, evenly spread over the order."""
        places = np.linspace(0, len(self.ids) - 1, min(most, len(self.ids))).round().astype(int)
        return Examples([self.ids[i] for i in places], [self.labels[i] for i in places])


@dataclass(frozen=True)
class Evaluation:
    """Scores of a sample of the training rows and of the validation rows; whether the latter all got one label."""

    train_sample: dict[str, float]
    validation: dict[str, float]
    one_label: bool


@dataclass(frozen=True)
class Loss:
    """Of some rows: the loss, summed over their items; their tokens, and those with padding."""

    total: Tensor
    tokens: int
    padded: int


class Objective(Protocol):
    """What the loop asks for."""

    @property
    def lengths(self) -> list[int]:
        """Tokens per training row."""
        ...

    @property
    def items(self) -> list[int]:
        """What is learned from every training row: 1 label, or so many tokens."""
        ...

    @property
    def loss_of_guessing(self) -> float:
        """Mean loss of an item for who knows nothing."""
        ...

    @property
    def validated(self) -> bool:
        """Say whether there are rows to evaluate on."""
        ...

    def at_once(self, rows: Sequence[int], device: torch.device) -> list[list[int]]:
        """The rows of a micro-batch in parts that are computed one after the other; their gradients add up to the same."""
        ...

    def loss(self, model: nn.Module, rows: Sequence[int], device: torch.device) -> Loss:
        """The loss of some training rows, the model as it is."""
        ...

    def evaluate(self, model: nn.Module, batch_size: int) -> Evaluation:
        """Scores without dropout and gradient."""
        ...


@dataclass(frozen=True)
class Classifying:
    """Text classification by a head. ``label_weights`` ``(K,)`` weigh the rows of each label."""

    pooling: str
    pad_id: int
    train: Examples
    validation: Examples | None
    num_labels: int
    positive_id: int | None
    label_weights: Sequence[float] | None = None

    @functools.cached_property
    def lengths(self) -> list[int]:
        """Tokens per training row."""
        return self.train.lengths

    @functools.cached_property
    def items(self) -> list[int]:
        """One label per row."""
        return [1] * len(self.train.ids)

    @functools.cached_property
    def loss_of_guessing(self) -> float:
        """Mean loss of a training row when every label gets the same probability."""
        weights = self.label_weights or [1.0] * self.num_labels
        return math.log(self.num_labels) * sum(weights[label] for label in self.train.labels) / len(self.train.labels)

    @property
    def validated(self) -> bool:
        """Say whether there are validation rows."""
        return self.validation is not None

    def at_once(self, rows: Sequence[int], device: torch.device) -> list[list[int]]:
        """All rows."""
        return [list(rows)]

    def loss(self, model: nn.Module, rows: Sequence[int], device: torch.device) -> Loss:
        """Cross-entropy of some training rows, weighed by their labels."""
        weights = None if self.label_weights is None else torch.tensor(self.label_weights, device=device)
        input_ids, mask = pad_batch([self.train.ids[row] for row in rows], self.pad_id, device)
        labels = torch.tensor([self.train.labels[row] for row in rows], device=device)
        logits = text_logits(model, self.pooling, input_ids, mask)
        return Loss(classification_loss(logits.float(), labels, weights), int(mask.sum()), mask.numel())

    def evaluate(self, model: nn.Module, batch_size: int) -> Evaluation:
        """Loss and scores of the validation rows and of a sample of the training rows."""
        assert self.validation is not None
        backend = TorchBackend(model, self.pooling, self.pad_id)
        return labels_evaluated(backend, self.train, self.validation, self.num_labels, self.positive_id, batch_size)


class _LearnsTokens:
    """What objectives have in common whose rows are sequences with tokens to be predicted."""

    train: Sequences
    vocabulary: int

    @functools.cached_property
    def lengths(self) -> list[int]:
        """Tokens per training row."""
        return self.train.lengths

    @functools.cached_property
    def items(self) -> list[int]:
        """Tokens to be predicted per row."""
        return self.train.counts

    @property
    def loss_of_guessing(self) -> float:
        """Mean loss of a token when every one has the same probability."""
        return math.log(self.vocabulary)

    def at_once(self, rows: Sequence[int], device: torch.device) -> list[list[int]]:
        """On a CPU so many rows at a time that a batch of long ones needs no more memory than ``CPU_TOKENS`` do."""
        if device.type != "cpu":
            return [list(rows)]
        plan = prediction_plan([len(self.train.ids[row]) for row in rows], len(rows), CPU_TOKENS)
        return [[rows[place] for place in places] for places in plan]


@dataclass(frozen=True)
class Answering(_LearnsTokens):
    """A causal language model that answers a prompt: the loss is on the answer's tokens alone.

    ``train`` are prompts with their answers, ``prompts`` the same without, and ``validation`` prompts with label ids;
    ``backend`` scores every answer.
    """

    train: Sequences
    prompts: Examples
    validation: Examples | None
    backend: AnswerBackend
    positive_id: int | None
    vocabulary: int

    @property
    def validated(self) -> bool:
        """Say whether there are validation rows."""
        return self.validation is not None

    def loss(self, model: nn.Module, rows: Sequence[int], device: torch.device) -> Loss:
        """Cross-entropy of the answers' tokens."""
        return _sequence_loss(model, self.train, rows, self.backend.pad_id, device)

    def evaluate(self, model: nn.Module, batch_size: int) -> Evaluation:
        """Loss and scores of the answers as they are scored in predictions."""
        assert self.validation is not None
        self.backend.forget()
        number = len(self.backend.answers)
        return labels_evaluated(self.backend, self.prompts, self.validation, number, self.positive_id, batch_size)


@dataclass(frozen=True)
class Writing(_LearnsTokens):
    """Language modeling and instructions: the loss is on tokens, and nothing is labelled."""

    train: Sequences
    validation: Sequences | None
    pad_id: int
    vocabulary: int

    @property
    def validated(self) -> bool:
        """Say whether there are validation rows."""
        return self.validation is not None

    def loss(self, model: nn.Module, rows: Sequence[int], device: torch.device) -> Loss:
        """Cross-entropy of the tokens to be predicted."""
        return _sequence_loss(model, self.train, rows, self.pad_id, device)

    def evaluate(self, model: nn.Module, batch_size: int) -> Evaluation:
        """Mean loss per token."""
        assert self.validation is not None
        sample = self.train.sample(TRAIN_SAMPLE // 4)
        found = [_mean_loss(model, rows, self.pad_id, batch_size) for rows in (sample, self.validation)]
        return Evaluation({"loss": found[0]}, {"loss": found[1]}, one_label=False)


def row_losses(model: nn.Module, rows: Sequences, pad_id: int, batch_size: int) -> np.ndarray:
    """Negative log-probability ``(N,)`` float64 of each row's tokens to be predicted, summed; without gradient or dropout."""
    model.eval()
    device, sums = next(model.parameters()).device, np.zeros(len(rows.ids))
    with torch.inference_mode():
        for places in prediction_plan(rows.lengths, batch_size):
            for place, losses in zip(places, target_losses(model, rows, places, pad_id, device), strict=True):
                sums[place] = float(losses.double().sum())
    return sums


def labels_evaluated(
    backend: Backend, train: Examples, validation: Examples, num_labels: int, positive_id: int | None, batch_size: int
) -> Evaluation:
    """Mean loss and selection scores by a backend's logits."""
    scores, distinct = _label_scores(backend, validation, num_labels, positive_id, batch_size)
    sample, _ = _label_scores(backend, train.sample(TRAIN_SAMPLE), num_labels, positive_id, batch_size)
    return Evaluation(sample, scores, one_label=distinct == 1 < len(set(validation.labels)))


def _label_scores(
    backend: Backend, examples: Examples, num_labels: int, positive_id: int | None, batch_size: int
) -> tuple[dict[str, float], int]:
    """Mean loss and selection scores of some rows, and how many labels were given."""
    logits = score_ids(backend, examples.ids, num_labels, batch_size)
    loss = float(classification_loss(torch.from_numpy(logits).double(), torch.tensor(examples.labels))) / len(examples.labels)
    predicted = [int(i) for i in logits.argmax(axis=1)]
    return {"loss": loss, **selection_scores(examples.labels, predicted, num_labels, positive_id)}, len(set(predicted))


def _sequence_loss(model: nn.Module, train: Sequences, rows: Sequence[int], pad_id: int, device: torch.device) -> Loss:
    total = torch.cat(target_losses(model, train, rows, pad_id, device)).sum()
    lengths = [len(train.ids[row]) for row in rows]
    return Loss(total, sum(lengths), len(lengths) * max(lengths))


def _mean_loss(model: nn.Module, rows: Sequences, pad_id: int, batch_size: int) -> float:
    return float(row_losses(model, rows, pad_id, batch_size).sum()) / sum(rows.counts)
