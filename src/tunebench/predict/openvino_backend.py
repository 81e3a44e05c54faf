"""Logits by OpenVINO: ``model.xml`` of an export, every row by itself, on the CPU.

``openvino`` imports its converter, and that a telemetry package which sends what is done; neither is let in here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

HINTS = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "128"}
"""Without the first this engine computes in bfloat16 on CPUs that know it, and says nothing. The second is how many channels of a
token share a scale where weights are 8-bit integers; float weights are not touched by it."""
FEW_ROWS = 4
"""Up to so many rows all cores work on one row at a time; of more, several rows are under way at once."""


def open_openvino() -> Any:
    """The package ``openvino`` without converter and telemetry: it does without where these cannot be imported."""
    for name in ("openvino_telemetry", "openvino.tools.ovc"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    import openvino  # noqa: PLC0415

    return openvino


class OpenvinoBackend:
    """A graph of token ids, compiled by OpenVINO. Rows run alone: in 8 bits a neighbour's padding would show."""

    def __init__(self, folder: Path, pad_id: int) -> None:
        self._openvino, self._path, self.pad_id = open_openvino(), folder / "model.xml", pad_id

    def logits(self, ids: Sequence[Sequence[int]]) -> np.ndarray:
        """``(B, K)`` float32, rows in the order given."""
        rows = [np.array([row], dtype=np.int64) for row in ids]
        if len(rows) <= FEW_ROWS:
            return np.concatenate([self._one(row) for row in rows])
        found: list[np.ndarray] = [np.empty(0)] * len(rows)

        def keep(request: Any, place: int) -> None:
            found[place] = np.array(request.get_output_tensor(0).data)

        self._queue.set_callback(keep)
        for place, row in enumerate(rows):
            self._queue.start_async({0: row}, place)
        self._queue.wait_all()
        return np.concatenate(found)

    def _one(self, row: np.ndarray) -> np.ndarray:
        self._request.infer({0: row})
        return np.array(self._request.get_output_tensor(0).data)

    @cached_property
    def _request(self) -> Any:
        return self._compiled("LATENCY").create_infer_request()

    @cached_property
    def _queue(self) -> Any:
        """One row per stream: on two cores two streams of a thread each are a sixth faster than one of two threads."""
        return self._openvino.AsyncInferQueue(self._compiled("THROUGHPUT"))

    def _compiled(self, hint: str) -> Any:
        return self._openvino.Core().compile_model(str(self._path), "CPU", HINTS | {"PERFORMANCE_HINT": hint})
