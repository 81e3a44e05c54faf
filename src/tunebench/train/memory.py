"""Too little memory, in words: what a step was made of, and what needs less."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tunebench.errors import TunebenchError
from tunebench.recipe.spec import Recipe

_CPU_WORDS = ("can't allocate memory", "Storage size calculation overflowed")
"""How torch says it for the CPU, in a plain RuntimeError."""


@contextmanager
def within_memory(recipe: Recipe) -> Iterator[None]:
    """TunebenchError with what to change where the memory of a GPU or of the machine does not suffice in this block."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and not any(words in str(error) for words in _CPU_WORDS):
            raise
        assert recipe.base is not None
        raise TunebenchError(
            f"out of memory with {recipe.settings.per_device_train_batch_size} texts of up to {recipe.base.max_length} tokens "
            "at once: halve train.per_device_train_batch_size and double train.gradient_accumulation_steps (the batch of a "
            "step stays the same), lower base.max_length, set train.gradient_checkpointing to true, or train less "
            "(`tunebench params` counts it)"
        ) from error
