"""One base in memory under many adapters: every opened model has its own modules, and all have the same frozen matrices.

Opening a second adapter then reads and checks the adapter alone, and takes the memory of the adapter alone.
"""

from __future__ import annotations

import copy
import itertools
import weakref
from collections.abc import Callable, Hashable

from transformers import PreTrainedModel

from tunebench.model.torch_backend import to_device


class SharedBases:
    """Bases by what decides their weights and their head; each stays for as long as a model that was made of it is in use."""

    def __init__(self) -> None:
        self._held: weakref.WeakValueDictionary[Hashable, PreTrainedModel] = weakref.WeakValueDictionary()

    def of(self, key: Hashable, load: Callable[[], PreTrainedModel]) -> PreTrainedModel:
        """A model to lay an adapter on, for prediction only; ``load`` is asked where no base of this key is in use.

        Its parameters of two and more dimensions are those of the base, which no adapter changes unless it is merged.
        Vectors are copies: biases may be part of an adapter, and are then read into their place.
        """
        base = self._held.get(key)
        if base is None:
            base = load()
            to_device(base)
            self._held[key] = base
        matrices = (tensor for tensor in itertools.chain(base.parameters(), base.buffers()) if tensor.dim() > 1)
        made = copy.deepcopy(base, {id(tensor): tensor for tensor in matrices})
        object.__setattr__(made, "shared_base", base)  # keeps it, and is no submodule
        return made
