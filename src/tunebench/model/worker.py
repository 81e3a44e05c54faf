"""A second process that opens saved models afresh and computes their logits: the other side of every proof.

It imports torch and peft while the first process is still training, so a proof in a truly fresh process costs no
waiting. Requests and answers are one JSON line each; logits travel as a safetensors file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from tunebench.data.items import Item, from_json, to_json
from tunebench.errors import TunebenchError
from tunebench.runs.answering import Answering, serve


class ProofWorker:
    """Client side. Use as a context manager; the process starts at once and ends with the block."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tunebench-proof-")
        self._answering = Answering("tunebench.model.worker")

    def __enter__(self) -> ProofWorker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._answering.close()
        self._folder.cleanup()

    def logits(self, run: Path, form: str, items: Sequence[Item], batch_size: int) -> np.ndarray:
        """Logits ``(N, K)`` of a run's model as its files give it."""
        out = Path(self._folder.name) / "logits.safetensors"
        request = {
            "run": str(run),
            "form": form,
            "items": [to_json(item) for item in items],
            "batch_size": batch_size,
            "out": str(out),
        }
        try:
            self._answering.ask(request)
        except TunebenchError as error:
            raise TunebenchError(f"the saved model could not be opened in a fresh process: {error}") from None
        return load_file(out)["logits"]


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from tunebench.model.bundle import open_scorer  # noqa: PLC0415 - the client must not import torch
    from tunebench.runs.run import Run  # noqa: PLC0415 - as above

    scorer = open_scorer(Run(Path(request["run"])), request["form"], request["batch_size"], for_proof=True)
    save_file({"logits": scorer.score([from_json(item) for item in request["items"]]).logits}, request["out"])
    return {"ok": True}


def _warmed_up() -> Callable[[dict[str, Any]], dict[str, Any]]:
    import tunebench.model.bundle  # noqa: F401, PLC0415 - while nobody waits for it

    return _answer


if __name__ == "__main__":
    serve(_warmed_up)
