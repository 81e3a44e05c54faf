"""Opens the export of a run: its settings, its tokenizer, its graph in the engine of its format. No torch, no run.

As a program it is the fresh process of a proof: it answers one request on standard input and ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from tunebench.errors import TunebenchError
from tunebench.predict.onnx_backend import OnnxBackend
from tunebench.predict.openvino_backend import OpenvinoBackend
from tunebench.predict.scorers import Backend, Scorer, Scores
from tunebench.predict.tokenize import TextEncoder

ENGINES: dict[str, Callable[[Path, int], Backend]] = {"onnx": OnnxBackend, "openvino": OpenvinoBackend}


class ExportScorer:
    """Tokenizes, hands all rows to an engine that computes each alone, longest first, and puts them back in their order."""

    def __init__(self, encoder: TextEncoder, backend: Backend, num_labels: int) -> None:
        self.encoder, self.backend, self.num_labels = encoder, backend, num_labels

    def score(self, texts: Sequence[str], /) -> Scores:
        """Logits of all texts, in order."""
        encoded = self.encoder.encode(texts)
        order = sorted(range(len(encoded.ids)), key=lambda place: -len(encoded.ids[place]))
        logits = np.empty((len(order), self.num_labels), dtype=np.float32)
        if order:
            logits[order] = self.backend.logits([encoded.ids[place] for place in order])
        return Scores(logits, encoded.truncated, encoded.errors)


def open_export(folder: Path, max_length: int | None = None) -> Scorer:
    """What scores texts with the export in a folder; ``max_length`` cuts them earlier than it says of itself."""
    told = json.loads((folder / "export.json").read_text("utf-8"))
    backend = ENGINES[told["format"].removesuffix("-int8")](folder, told["pad_id"])
    encoder = TextEncoder(folder, max_length or told["max_length"], told["truncation_side"])
    return ExportScorer(encoder, backend, len(told["labels"]))


def fresh_logits(folder: Path, texts: Sequence[str]) -> np.ndarray:
    """Logits ``(N, K)`` of an export, opened in a process of its own; TunebenchError where it cannot be opened there."""
    with tempfile.TemporaryDirectory(prefix="tunebench-export-") as scratch:
        out = Path(scratch) / "logits.safetensors"
        request = json.dumps({"folder": str(folder), "texts": list(texts), "out": str(out)})
        command = [sys.executable, "-P", "-m", "tunebench.predict.exported"]
        done = subprocess.run(command, input=request, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not out.is_file():
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise TunebenchError(f"{folder}: the export could not be opened in a fresh process: {last}")
        return np.array(load_file(out)["logits"])


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    save_file({"logits": open_export(Path(asked["folder"])).score(asked["texts"]).logits}, asked["out"])
