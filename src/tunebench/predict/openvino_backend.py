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

HINTS = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "128", "PERFORMANCE_HINT": "LATENCY"}
"""Without the first this engine computes in bfloat16 on CPUs that know it, and says nothing. The second is how many channels of a
token share a scale where weights are 8-bit integers; float weights are not touched by it."""


def open_openvino() -> Any:
    """The package ``openvino`` without converter and telemetry: it does without where these cannot be imported."""
    for name in ("openvino_telemetry", "openvino.tools.ovc"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    import openvino  # noqa: PLC0415 - after its telemetry was kept out

    return openvino


class OpenvinoBackend:
    """A graph of token ids, compiled by OpenVINO. Rows run alone: in 8 bits a neighbour's padding would show.

    All cores work on one row at a time, as a precaution: with several rows under way at once this engine was a sixth faster, and
    twice gave a few rows other logits, up to 4.6 away. Why is not known (docs/lab-log.md).
    """

    def __init__(self, folder: Path, pad_id: int) -> None:
        self._openvino, self._path, self.pad_id = open_openvino(), folder / "model.xml", pad_id

    def logits(self, ids: Sequence[Sequence[int]]) -> np.ndarray:
        """``(B, K)`` float32, rows in the order given."""
        return np.concatenate([self._one(np.array([row], dtype=np.int64)) for row in ids])

    def _one(self, row: np.ndarray) -> np.ndarray:
        self._request.infer({0: row})
        return np.array(self._request.get_output_tensor(0).data)

    @cached_property
    def _request(self) -> Any:
        return self._openvino.Core().compile_model(str(self._path), "CPU", HINTS).create_infer_request()
