"""Logits by ONNX Runtime: ``model.onnx`` of an export, every row by itself, on the CPU.

Since release 1.29 the package reports to its maker from Linux too, as soon as it is imported, and keeps a device id in the
user's cache; a variable that is set before turns all of that off.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

FEW_ROWS = 4
"""Up to so many rows all cores work on one row at a time; of more, every core has a row of its own."""


def open_onnxruntime() -> Any:
    """The package ``onnxruntime``, told to send and keep nothing."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime  # noqa: PLC0415 - an extra, and slow to import

    return onnxruntime


class OnnxBackend:
    """A graph of token ids, opened by ONNX Runtime. Rows run alone: in 8 bits a neighbour's padding would show.

    Many rows are computed by as many threads as there are cores, each with a row of its own: a quarter more rows per second than
    all cores on one row (docs/lab-log.md). A session may be run from several threads at once.
    """

    def __init__(self, folder: Path, pad_id: int) -> None:
        self._onnxruntime, self._path, self.pad_id = open_onnxruntime(), folder / "model.onnx", pad_id

    def logits(self, ids: Sequence[Sequence[int]]) -> np.ndarray:
        """``(B, K)`` float32, rows in the order given."""
        rows = [{"input_ids": np.array([row], dtype=np.int64)} for row in ids]
        if len(rows) <= FEW_ROWS:
            return np.concatenate([self._alone.run(None, row)[0] for row in rows])
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            return np.concatenate(list(pool.map(lambda row: self._together.run(None, row)[0], rows)))

    @cached_property
    def _alone(self) -> Any:
        return self._session(threads=0)

    @cached_property
    def _together(self) -> Any:
        return self._session(threads=1)

    def _session(self, threads: int) -> Any:
        """``threads`` compute one row: 0 is one per core."""
        options = self._onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads that wait leave the cores to others
        return self._onnxruntime.InferenceSession(str(self._path), options, providers=["CPUExecutionProvider"])
