"""The loop: a generator of events. It knows no task, no disk, no bar and no tracker; who iterates decides what is kept.

At every event the weights rest until the next one is asked for: whoever wants them copies them then. Torch is seeded
before every forward from (seed, global micro-batch index), so dropout depends on the position alone and not on what
was drawn before.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from tunebench.events import Evaluated, Event, Started, Step, Stopped, Warned
from tunebench.model.methods import count_parameters
from tunebench.model.objectives import Evaluation, Objective
from tunebench.model.quantized import computing_quantized
from tunebench.predict.plan import PlannedStep, steps_per_epoch, training_plan
from tunebench.recipe.spec import Train
from tunebench.train.divergence import watch
from tunebench.train.optimizer import learning_rate, make_optimizer
from tunebench.train.precision import adapt_scale, computing
from tunebench.train.stopping import Stopping
from tunebench.train.world import World


@dataclass(frozen=True)
class Job:
    """All that ``fit`` needs: the model, what it is to learn, and how to train.

    With ``loraplus_lr_ratio`` LoRA's B is trained at that many times the rate.
    """

    model: nn.Module
    objective: Objective
    settings: Train
    seed: int
    precision: str = "float32"
    loraplus_lr_ratio: float | None = None
    world: World = field(default_factory=World)

    @property
    def rows(self) -> int:
        """How many training rows there are."""
        return len(self.objective.lengths)

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.model.parameters()).device

    @property
    def total_steps(self) -> int:
        """Optimizer steps until training stops by itself."""
        by_epochs = math.ceil(self.settings.num_train_epochs * steps_per_epoch(self.rows, self.rows_per_step))
        return self.settings.max_steps or by_epochs

    @property
    def rows_per_step(self) -> int:
        """Rows of a global step, all processes together."""
        return self.settings.per_device_train_batch_size * self.settings.gradient_accumulation_steps * self.world.size


@dataclass
class Progress:
    """Where a job stands, beside its weights: plain values, the same after a resume."""

    step: int = 0
    evaluation_is_due: bool = False
    best: float | None = None
    best_step: int = 0
    stale: int = 0
    one_label: bool = False
    mean_loss: float = 0.0
    seconds: float = 0.0
    loss_scale: float = 2.0**16
    scale_age: int = 0


class State:
    """What changes while a job trains, beside the weights themselves: AdamW's memory and the progress."""

    def __init__(self, job: Job) -> None:
        self.optimizer = make_optimizer(job.model, job.settings, job.loraplus_lr_ratio)
        self.progress = Progress()


def fit(job: Job, state: State | None = None, stopping: Stopping | None = None) -> Iterator[Event]:
    """Train, and say so: Started (unless ``state`` is that of a resumed job), then Step and Evaluated events, then Stopped.

    ``Evaluated.best`` marks the first, or a strictly better, validation score by ``metric_for_best_model``. At every
    event ``state`` is whole: a copy taken there, given back later, goes on as if nothing had happened. Raises
    TunebenchError with a diagnosis when training diverges, Asked when ``stopping`` was told to.
    """
    state, stopping = state or State(job), stopping or Stopping()
    at, settings, device = state.progress, job.settings, job.device
    clock = time.perf_counter() - at.seconds
    if at.step == 0:
        total, trainable = count_parameters(job.model)
        yield Started(job.total_steps, job.rows, trainable, total, job.precision, str(device))
    plan = _planned_steps(job, at.step)
    while True:
        if at.evaluation_is_due:
            with stopping.interruptible():
                evaluated = job.objective.evaluate(job.model, settings.per_device_eval_batch_size)
            yield from _judge(at, settings, evaluated, time.perf_counter() - clock)
        early = settings.early_stopping_patience is not None and at.stale >= settings.early_stopping_patience
        if at.step >= job.total_steps or early:
            break
        epoch, last_of_epoch, planned = next(plan)
        with stopping.interruptible():
            gradients = _gradients(job, at, planned)
        norm, rate = _update(job, state, gradients.loss)
        at.evaluation_is_due = _evaluation_is_due(job, at.step, last_of_epoch=last_of_epoch)
        at.seconds = time.perf_counter() - clock
        yield Step(
            at.step, epoch, gradients.loss, rate, norm, planned.global_rows, gradients.tokens, gradients.padded, at.seconds
        )
    if at.one_label:
        yield Warned(
            "all validation rows get the same label: nothing was learned. Lower or raise train.learning_rate, train longer, "
            "or set train.class_weight to balanced where one label is rare"
        )
    kept_step = at.best_step if settings.load_best_model_at_end and at.best_step else at.step
    reason = "finished" if at.step >= job.total_steps else "early stopping"
    yield Stopped(at.step, kept_step, reason, time.perf_counter() - clock)


def _judge(at: Progress, settings: Train, evaluated: Evaluation, seconds: float) -> Iterator[Event]:
    """Say what was evaluated, once the progress has taken it in."""
    scores = evaluated.validation
    metric = settings.metric_for_best_model or "accuracy"
    value = -scores["loss"] if metric == "loss" else scores[metric]
    is_best = at.best is None or value > at.best
    if is_best:
        at.best, at.best_step, at.stale = value, at.step, 0
    else:
        at.stale += 1
    at.evaluation_is_due, at.one_label, at.seconds = False, evaluated.one_label, seconds
    yield Evaluated(at.step, "train sample", evaluated.train_sample, best=False, seconds=seconds)
    yield Evaluated(at.step, "validation", scores, is_best, seconds)


def _planned_steps(job: Job, done: int) -> Iterator[tuple[float, bool, PlannedStep]]:
    """Epoch (fractional, after the step), whether it ends an epoch, and the planned step, after the ``done`` first ones."""
    settings, per_epoch = job.settings, steps_per_epoch(job.rows, job.rows_per_step)
    for epoch in itertools.count(done // per_epoch):
        plan = training_plan(
            job.objective.lengths,
            seed=job.seed,
            epoch=epoch,
            batch_size=settings.per_device_train_batch_size,
            accumulation=settings.gradient_accumulation_steps,
            world_size=job.world.size,
            rank=job.world.rank,
        )
        for number, planned in enumerate(plan, 1):
            if epoch * per_epoch + number > done:
                yield epoch + number / len(plan), number == len(plan), planned


def _evaluation_is_due(job: Job, step: int, *, last_of_epoch: bool) -> bool:
    settings = job.settings
    if settings.eval_strategy == "no" or not job.objective.validated:
        return False
    due = last_of_epoch if settings.eval_strategy == "epoch" else step % (settings.eval_steps or 1) == 0
    return due or step == job.total_steps


def forward_seed(seed: int, micro_index: int) -> int:
    """Seed of one micro-batch's dropout, the same for any number of processes and after any resume."""
    return int.from_bytes(hashlib.sha256(f"{seed}-{micro_index}".encode()).digest()[:7], "big")


@dataclass(frozen=True)
class Gradients:
    """What is known once the gradients of a step are there: its mean loss, its tokens, and those with padding."""

    loss: float
    tokens: int
    padded: int


def _gradients(job: Job, at: Progress, planned: PlannedStep) -> Gradients:
    """Gradients of a whole step, left in the parameters; anything there before is dropped."""
    job.model.train()
    job.model.zero_grad(set_to_none=True)
    device = job.device
    scale = at.loss_scale if job.precision == "float16" else 1.0
    items = sum(job.objective.items[row] for row in planned.rows)
    loss_sum, tokens, padded = 0.0, 0, 0
    for micro in planned.micros:
        torch.manual_seed(forward_seed(job.seed, micro.index))
        for rows in job.objective.at_once(micro.rows, device):
            with computing_quantized(job.model, job.precision):
                with computing(job.precision, device):
                    found = job.objective.loss(job.model, rows, device)
                loss = found.total / items
                (loss * scale).backward()
            loss_sum += float(loss.detach())
            tokens, padded = tokens + found.tokens, padded + found.padded
    return Gradients(loss_sum, tokens, padded)


def _update(job: Job, state: State, loss: float) -> tuple[float, float]:
    """Change the weights by the gradients that are there; returns the gradients' norm and the learning rate."""
    at, optimizer = state.progress, state.optimizer
    rate = learning_rate(job.settings, at.step, job.total_steps)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_ratio"]
    parameters = [parameter for parameter in job.model.parameters() if parameter.grad is not None]
    half = job.precision == "float16"
    if half:
        torch._foreach_div_([parameter.grad for parameter in parameters if parameter.grad is not None], at.loss_scale)
    norm = float(nn.utils.clip_grad_norm_(parameters, job.settings.max_grad_norm))
    watch(at, loss, norm, rate, job.objective.loss_of_guessing, may_overflow=half)
    if math.isfinite(norm):
        optimizer.step()
    if half:
        adapt_scale(at, overflow=not math.isfinite(norm))
    optimizer.zero_grad(set_to_none=True)
    at.step += 1
    return norm, rate
