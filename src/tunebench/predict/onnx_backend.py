"""Logits by ONNX Runtime: ``model.onnx`` of an export, every row by itself, on the CPU.

Since release 1.29 the package reports to its maker from Linux too, as soon as it is imported, and keeps a device id in the
user's cache; a variable that is set before turns all of that off.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def open_onnxruntime() -> Any:
    """The package ``onnxruntime``, told to send and keep nothing."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime  # noqa: PLC0415 - an extra, and slow to import

    return onnxruntime


class OnnxBackend:
    """A graph of token ids, opened by ONNX Runtime. Rows run alone: in 8 bits a neighbour's padding would show."""

    def __init__(self, folder: Path, pad_id: int) -> None:
        onnxruntime = open_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads that wait leave the cores to others
        self.pad_id = pad_id
        self._session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])

    def logits(self, ids: Sequence[Sequence[int]]) -> np.ndarray:
        """``(B, K)`` float32, rows in the order given."""
        return np.concatenate([self._session.run(None, {"input_ids": np.array([row], dtype=np.int64)})[0] for row in ids])
