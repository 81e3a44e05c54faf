"""The loop: a generator of events. It knows no disk, no bar and no tracker; who iterates decides what is kept.

After an ``Evaluated`` event the weights rest until the next event is asked for: whoever wants the best ones copies
them then. Torch is seeded before every forward from (seed, global micro-batch index), so dropout depends on the
position alone and not on what was drawn before.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from tunebench.errors import TunebenchError
from tunebench.events import Evaluated, Event, Started, Step, Stopped
from tunebench.metrics import selection_scores
from tunebench.model.methods import count_parameters
from tunebench.model.tasks import classification_loss, pad_batch, text_logits
from tunebench.model.torch_backend import TorchBackend
from tunebench.predict.plan import PlannedStep, steps_per_epoch, training_plan
from tunebench.predict.scorers import score_ids
from tunebench.recipe.spec import Train
from tunebench.train.optimizer import learning_rate, make_optimizer
from tunebench.train.world import World

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
class Job:
    """All that ``fit`` needs: the model, its rows, and how to train."""

    model: nn.Module
    pooling: str
    pad_id: int
    train: Examples
    validation: Examples | None
    num_labels: int
    positive_id: int | None
    settings: Train
    seed: int
    world: World = field(default_factory=World)

    @property
    def total_steps(self) -> int:
        """Optimizer steps until training stops by itself."""
        per_step = self.settings.per_device_train_batch_size * self.settings.gradient_accumulation_steps * self.world.size
        by_epochs = math.ceil(self.settings.num_train_epochs * steps_per_epoch(len(self.train.ids), per_step))
        return self.settings.max_steps or by_epochs

    @property
    def backend(self) -> TorchBackend:
        """The model as a predictor; shares its weights."""
        return TorchBackend(self.model, self.pooling, self.pad_id)


def fit(job: Job) -> Iterator[Event]:
    """Train, and say so: Started, then Step and Evaluated events, then Stopped.

    ``Evaluated.best`` marks the first, or a strictly better, validation score by ``metric_for_best_model``. Raises
    TunebenchError with a diagnosis when the loss is no longer a finite number.
    """
    settings, begun, best, best_step, stale = job.settings, time.perf_counter(), -math.inf, 0, 0
    optimizer = make_optimizer(job.model, settings)
    total, trainable = count_parameters(job.model)
    yield Started(job.total_steps, len(job.train.ids), trainable, total)
    reason = "finished"
    step = 0
    for step, (epoch, last_of_epoch, planned) in enumerate(_planned_steps(job), 1):
        yield _train_step(job, optimizer, planned, step, epoch, begun)
        if not _evaluation_is_due(settings, step, job.total_steps, last_of_epoch=last_of_epoch) or job.validation is None:
            continue
        scores = _evaluate(job, job.validation)
        value = -scores["loss"] if settings.metric_for_best_model == "loss" else scores[settings.metric_for_best_model]
        is_best = value > best
        yield Evaluated(
            step, "train sample", _evaluate(job, job.train.sample(TRAIN_SAMPLE)), best=False, seconds=time.perf_counter() - begun
        )
        yield Evaluated(step, "validation", scores, is_best, time.perf_counter() - begun)
        best, best_step, stale = (value, step, 0) if is_best else (best, best_step, stale + 1)
        if settings.early_stopping_patience is not None and stale >= settings.early_stopping_patience and step < job.total_steps:
            reason = "early stopping"
            break
    kept_step = best_step if settings.load_best_model_at_end and best_step else step
    yield Stopped(step, kept_step, reason, time.perf_counter() - begun)


def _planned_steps(job: Job) -> Iterator[tuple[float, bool, PlannedStep]]:
    """Epoch (fractional, after the step), whether it ends an epoch, and the planned step, up to ``total_steps``."""
    settings, done, epoch = job.settings, 0, 0
    while done < job.total_steps:
        plan = training_plan(
            job.train.lengths,
            seed=job.seed,
            epoch=epoch,
            batch_size=settings.per_device_train_batch_size,
            accumulation=settings.gradient_accumulation_steps,
            world_size=job.world.size,
            rank=job.world.rank,
        )
        for number, planned in enumerate(plan[: job.total_steps - done], 1):
            yield epoch + number / len(plan), number == len(plan), planned
        done += len(plan)
        epoch += 1


def _evaluation_is_due(settings: Train, step: int, total_steps: int, *, last_of_epoch: bool) -> bool:
    if settings.eval_strategy == "no":
        return False
    due = last_of_epoch if settings.eval_strategy == "epoch" else step % (settings.eval_steps or 1) == 0
    return due or step == total_steps


def forward_seed(seed: int, micro_index: int) -> int:
    """Seed of one micro-batch's dropout, the same for any number of processes and after any resume."""
    return int.from_bytes(hashlib.sha256(f"{seed}-{micro_index}".encode()).digest()[:7], "big")


def _train_step(job: Job, optimizer: torch.optim.Optimizer, planned: PlannedStep, step: int, epoch: float, begun: float) -> Step:
    job.model.train()
    rate = learning_rate(job.settings, step - 1, job.total_steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
    device = job.backend.device
    loss_sum, tokens, padded = 0.0, 0, 0
    for micro in planned.micros:
        torch.manual_seed(forward_seed(job.seed, micro.index))
        input_ids, mask = pad_batch([job.train.ids[row] for row in micro.rows], job.pad_id, device)
        labels = torch.tensor([job.train.labels[row] for row in micro.rows], device=device)
        loss = classification_loss(text_logits(job.model, job.pooling, input_ids, mask), labels) / planned.global_rows
        loss.backward()
        loss_sum += float(loss.detach())
        tokens, padded = tokens + int(mask.sum()), padded + mask.numel()
    if not math.isfinite(loss_sum):
        raise TunebenchError(
            f"the loss is {loss_sum} at step {step}, learning rate {rate:.2g}: training diverged. "
            "Lower train.learning_rate (by a factor of 3 to 10) or raise train.warmup_ratio"
        )
    parameters = [parameter for parameter in job.model.parameters() if parameter.grad is not None]
    norm = float(nn.utils.clip_grad_norm_(parameters, job.settings.max_grad_norm))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return Step(step, epoch, loss_sum, rate, norm, planned.global_rows, tokens, padded, time.perf_counter() - begun)


def _evaluate(job: Job, examples: Examples) -> dict[str, float]:
    """Mean loss and selection scores of some rows, without dropout."""
    logits = score_ids(job.backend, examples.ids, job.num_labels, job.settings.per_device_eval_batch_size)
    loss = float(classification_loss(torch.from_numpy(logits).double(), torch.tensor(examples.labels))) / len(examples.labels)
    return {"loss": loss, **selection_scores(examples.labels, _best(logits), job.num_labels, job.positive_id)}


def _best(logits: np.ndarray) -> Sequence[int]:
    return [int(i) for i in logits.argmax(axis=1)]
