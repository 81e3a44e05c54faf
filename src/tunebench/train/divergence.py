"""When training is lost: the loss or the gradient is no number any more, or the loss stays far above guessing."""

from __future__ import annotations

import math
from typing import Protocol

from tunebench.errors import TunebenchError

MEMORY = 0.95
"""Of the running mean of the loss: about the last 20 steps."""
PATIENCE = 50
GUESSES = 4.0
"""A mean loss beyond this many times that of guessing, after PATIENCE steps: confidently wrong on most rows."""


class Watched(Protocol):
    """What of a job's progress is looked at."""

    step: int
    mean_loss: float


def watch(at: Watched, loss: float, norm: float, rate: float, guessing: float, *, may_overflow: bool) -> None:
    """Take a step's loss into the running mean; TunebenchError with a diagnosis where training is lost.

    ``guessing`` is the loss of giving every label the same probability.

    ``may_overflow`` says that an infinite gradient is no fault (float16: the step is then left out).
    """
    at.mean_loss = loss if at.step == 0 else MEMORY * at.mean_loss + (1 - MEMORY) * loss
    if not math.isfinite(loss):
        raise _lost(at.step + 1, rate, f"the loss is {loss}")
    if not math.isfinite(norm) and not may_overflow:
        raise _lost(at.step + 1, rate, f"the gradient's norm is {norm} (loss {loss:.3g})")
    if at.step >= PATIENCE and at.mean_loss > GUESSES * guessing:
        raise _lost(at.step + 1, rate, f"the loss stays at {at.mean_loss:.3g}, where guessing gives {guessing:.3g}")


def _lost(step: int, rate: float, what: str) -> TunebenchError:
    return TunebenchError(
        f"{what} at step {step}, learning rate {rate:.2g}: training diverged. "
        "Lower train.learning_rate (by a factor of 3 to 10) or raise train.warmup_ratio"
    )
