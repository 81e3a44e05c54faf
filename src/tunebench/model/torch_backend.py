"""The torch backend of prediction: ids in, logits out, no gradient, no dropout."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from tunebench.model.tasks import pad_batch, text_logits


class TorchBackend:
    """Logits of a transformers (or PEFT) model. The model is put in evaluation mode at every call and stays in it."""

    def __init__(self, model: nn.Module, pooling: str, pad_id: int) -> None:
        self.model, self.pooling, self.pad_id = model, pooling, pad_id

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.model.parameters()).device

    def logits(self, ids: Sequence[Sequence[int]]) -> np.ndarray:
        """``(B, K)`` float32 for one batch of ids of unequal length."""
        self.model.eval()
        with torch.inference_mode():
            input_ids, mask = pad_batch([list(row) for row in ids], self.pad_id, self.device)
            found = text_logits(self.model, self.pooling, input_ids, mask)
        return found.float().cpu().numpy()


def to_device(model: nn.Module) -> nn.Module:
    """The model on the accelerator where there is one, else on the CPU."""
    return model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
