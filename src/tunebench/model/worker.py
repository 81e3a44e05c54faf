"""A second process that opens saved models afresh and computes their logits: the other side of every proof.

It imports torch and peft while the first process is still training, so a proof in a truly fresh process costs no
waiting. Requests and answers are one JSON line each; logits travel as a safetensors file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from tunebench.data.items import Item, from_json, to_json
from tunebench.errors import TunebenchError


class ProofWorker:
    """Client side. Use as a context manager; the process starts at once and ends with the block."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tunebench-proof-")
        self._log = Path(self._folder.name) / "stderr.txt"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tunebench.model.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def __enter__(self) -> ProofWorker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()
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
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline() or "{}")
        except (BrokenPipeError, ValueError):
            answer = {}
        if answer.get("ok") is not True:
            raise TunebenchError(
                f"the saved model could not be opened in a fresh process: {answer.get('error') or self._last_words()}"
            )
        return load_file(out)["logits"]

    def _last_words(self) -> str:
        lines = self._log.read_text("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "the process ended without a word"


def _answer(request: dict[str, Any]) -> None:
    from tunebench.model.bundle import open_scorer  # noqa: PLC0415 - the client must not import torch
    from tunebench.runs.run import Run  # noqa: PLC0415

    scorer = open_scorer(Run(Path(request["run"])), request["form"], request["batch_size"], for_proof=True)
    save_file({"logits": scorer.score([from_json(item) for item in request["items"]]).logits}, request["out"])


def main() -> None:
    """Server side: answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print goes to the log, never between the answers
    import tunebench.model.bundle  # noqa: F401, PLC0415 - warm up while waiting

    for line in sys.stdin:
        try:
            _answer(json.loads(line))
            answer: dict[str, Any] = {"ok": True}
        except Exception as error:  # noqa: BLE001 - told to the client, which raises it
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
