"""What the forward pass is computed in. Weights, gradients, loss and every prediction are float32 in any case.

A probe decides where the recipe does not: bfloat16 on every GPU that has it, and on a CPU that multiplies it clearly
faster than float32 (docs/lab-log.md). The answer is kept in the cache, so that one machine always gives the same.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from pathlib import Path
from typing import Protocol

import torch

from tunebench.errors import InputError, TunebenchError
from tunebench.recipe.resolve import digest_of
from tunebench.recipe.spec import Train
from tunebench.runs.cache import cached
from tunebench.runs.environment import hardware

GAIN = 1.5
"""How many times faster bfloat16 must be to be chosen: less is lost again in converting."""
PROBE_SIZE, PROBE_SECONDS = 1024, 0.6
GROWTH_STEPS = 2000
"""Steps without overflow after which float16's loss scale is doubled (as torch.amp.GradScaler does)."""
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Scaled(Protocol):
    """What of a job's progress float16 needs."""

    loss_scale: float
    scale_age: int


def choose_precision(settings: Train, device: torch.device) -> str:
    """``float32``, ``bfloat16`` or ``float16``, as the recipe says or the probe finds.

    Raises InputError where the recipe asks for what the device cannot do.
    """
    if settings.fp16:
        if device.type != "cuda":
            raise InputError("train.fp16", f"float16 trains on a GPU only, found {device.type}; set bf16 or leave both out")
        return "float16"
    if settings.bf16:
        if not _has_bfloat16(device):
            raise InputError("train.bf16", f"this {device.type} has no bfloat16; leave it out, or on a GPU set fp16")
        return "bfloat16"
    if settings.bf16 is False or not _has_bfloat16(device):
        return "float32"
    return "bfloat16" if device.type == "cuda" or bfloat16_gain() >= GAIN else "float32"


def bfloat16_gain() -> float:
    """How many times faster than float32 this CPU multiplies bfloat16 matrices; measured once, then from the cache."""
    about = {"probe": 2, "processor": hardware()["processor"], "torch": torch.__version__, "threads": torch.get_num_threads()}

    def measure(folder: Path) -> None:
        float32, bfloat16 = _best_seconds(torch.float32, torch.bfloat16)
        (folder / "gain.json").write_text(json.dumps(float32 / bfloat16), "utf-8")

    return float(json.loads((cached("probes", digest_of(about), measure) / "gain.json").read_text("utf-8")))


def computing(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """A block whose matrix products are computed in ``precision``."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=_DTYPES[precision])


def adapt_scale(at: Scaled, *, overflow: bool) -> None:
    """Halve float16's loss scale after an overflow, double it after a long time without."""
    at.loss_scale, at.scale_age = (at.loss_scale / 2, 0) if overflow else (at.loss_scale, at.scale_age + 1)
    if at.scale_age == GROWTH_STEPS:
        at.loss_scale, at.scale_age = at.loss_scale * 2, 0
    if at.loss_scale < 1:
        raise TunebenchError("float16 overflows at every loss scale; set train.bf16 instead, or leave both out")


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _best_seconds(*dtypes: torch.dtype) -> list[float]:
    """Best time of a matrix product per type, taken in turns: what else the machine does then hits all alike."""
    ones = [torch.ones(PROBE_SIZE, PROBE_SIZE, dtype=dtype) for dtype in dtypes]
    best, end = [math.inf] * len(dtypes), time.perf_counter() + PROBE_SECONDS
    while time.perf_counter() < end or math.inf in best:
        for i, one in enumerate(ones):
            begun = time.perf_counter()
            one @ one
            best[i] = min(best[i], time.perf_counter() - begun)
    return best
