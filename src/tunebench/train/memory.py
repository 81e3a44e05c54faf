"""Too little memory, in words: what a step was made of, and what needs less."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from tunebench.errors import TunebenchError
from tunebench.events import Event
from tunebench.recipe.spec import Recipe

_CPU_WORDS = "can't allocate memory"
"""How torch's allocator for the CPU says it, in a plain RuntimeError."""


def within_memory(events: Iterator[Event], recipe: Recipe) -> Iterator[Event]:
    """The same events; TunebenchError with what to change where the memory of a GPU or of the machine does not suffice."""
    try:
        yield from events
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and _CPU_WORDS not in str(error):
            raise
        assert recipe.base is not None
        raise TunebenchError(
            f"out of memory with {recipe.settings.per_device_train_batch_size} texts of up to {recipe.base.max_length} tokens "
            "at once: halve train.per_device_train_batch_size and double train.gradient_accumulation_steps (the batch of a "
            "step stays the same), lower base.max_length, or set train.gradient_checkpointing to true"
        ) from error
