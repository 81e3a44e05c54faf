"""A job's state as a checkpoint and back: weights that train and AdamW's memory in safetensors, the rest as JSON.

Torch's random state is no part of it: every forward is seeded from the position (train/loop.py).
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tunebench.errors import TunebenchError
from tunebench.events import Evaluated, Event, Step
from tunebench.model.methods import trainable_state
from tunebench.recipe.spec import Train
from tunebench.runs import checkpoints
from tunebench.runs.run import Run
from tunebench.train.loop import Job, Progress, State

SECONDS_BETWEEN = 60.0
SHARE_OF_TIME = 0.01
"""With ``save_strategy: time``, writing takes at most this share of the time (the last write is the estimate)."""


class Keeper:
    """Decides when a checkpoint is written, and writes it. ``best`` weights are kept until better ones are."""

    def __init__(self, run: Run, job: Job, state: State) -> None:
        self._run, self._job, self._state = run, job, state
        self._saved_step = state.progress.step if state.progress.step else -1
        self._saved_at, self._cost = time.monotonic(), 0.0

    def see(self, event: Event) -> None:
        """To be told every event once it is recorded, before the next one is asked for."""
        settings = self._job.settings
        is_best = isinstance(event, Evaluated) and event.best and settings.load_best_model_at_end
        if is_best or (isinstance(event, Step) and self._is_due(event, settings)):
            self.save()

    def save(self) -> None:
        """Write the present moment, and let go of all but it and the best one."""
        begun, progress = time.monotonic(), self._state.progress
        tensors = _tensors(self._job.model, self._state)
        checkpoints.write(
            self._run.path,
            progress.step,
            self._run.recorded(),
            dataclasses.asdict(progress),
            lambda path: save_file(tensors, path),
        )
        best = {progress.best_step} if self._job.settings.load_best_model_at_end else set()
        checkpoints.keep_only(self._run.path, {progress.step} | best)
        self._saved_step, self._saved_at = progress.step, time.monotonic()
        self._cost = self._saved_at - begun

    def finish(self) -> None:
        """After the last step: keep it, so that nothing behind it costs the training again."""
        if self._saved_step != self._state.progress.step:
            self.save()

    def _is_due(self, event: Step, settings: Train) -> bool:
        if settings.save_strategy == "steps":
            return event.step % (settings.save_steps or 1) == 0
        if settings.save_strategy == "epoch":
            return float(event.epoch).is_integer()
        waited = time.monotonic() - self._saved_at
        return settings.save_strategy == "time" and waited >= max(SECONDS_BETWEEN, self._cost / SHARE_OF_TIME)


def restore(job: Job, state: State, found: checkpoints.Checkpoint) -> None:
    """Put model, optimizer and progress back to a checkpoint's moment."""
    saved = _load(found.folder)
    _put_weights(job.model, saved, found.folder)
    for name, parameter in trainable_state(job.model).items():
        memory = {key.rpartition(".")[2]: value for key, value in saved.items() if key.startswith(f"optimizer.{name}.")}
        if memory:
            state.optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in memory.items()}
    state.progress = Progress(**found.progress)


def load_weights(model: nn.Module, folder: Path) -> None:
    """Put a checkpoint's weights back into the model it was taken from."""
    _put_weights(model, _load(folder), folder)


def _tensors(model: nn.Module, state: State) -> dict[str, Tensor]:
    named = trainable_state(model)
    tensors = {f"model.{name}": parameter for name, parameter in named.items()}
    for name, parameter in named.items():
        for key, value in state.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{name}.{key}"] = value
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _load(folder: Path) -> dict[str, Tensor]:
    try:
        return load_file(folder / checkpoints.STATE)
    except (OSError, SafetensorError) as error:
        raise checkpoints.damaged(folder, error) from None


def _put_weights(model: nn.Module, saved: dict[str, Tensor], folder: Path) -> None:
    own = trainable_state(model)
    if {f"model.{name}" for name in own} != {name for name in saved if name.startswith("model.")}:
        raise TunebenchError(f"{folder}: holds other weights than this model trains; the run directory is damaged")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(saved[f"model.{name}"])
