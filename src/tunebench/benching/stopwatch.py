"""A process that opens one form of a run and times it: no other form shares its memory, its threads or its caches.

Requests and answers are one JSON line each; the process ends when its standard input does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunebench.data.items import Item, flat, from_json, to_json
from tunebench.errors import TunebenchError
from tunebench.predict.scorers import Scorer
from tunebench.recipe.spec import Recipe, Train
from tunebench.runs.environment import peak_memory_bytes
from tunebench.runs.run import Run

WARM = 8
"""So many items of all lengths are scored before every turn, untimed; before the first one a batch."""


class Stopwatch:
    """Client side: starts the process, opens the form in it, and waits until it is open. ``close`` ends it."""

    def __init__(
        self, run: Path, backend: str, items: Sequence[Item], singles: int, batch_size: int, max_length: int | None
    ) -> None:
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed by close()
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tunebench.benching.stopwatch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        try:
            self._ask(
                {
                    "run": str(run),
                    "backend": backend,
                    "items": [to_json(item) for item in items],
                    "singles": singles,
                    "batch_size": batch_size,
                    "max_length": max_length,
                }
            )
        except BaseException:
            self.close()
            raise
        self.load_seconds = time.perf_counter() - begun
        """From the start of the process, imports included, until the model is open."""

    def time(self) -> dict[str, Any]:
        """One turn: ``seconds`` for all items in batches, ``latencies`` (seconds) one item at a time, peak memory (bytes),
        and how many items were ``unscored``. Before it some items are scored that are not timed.
        """
        return self._ask({})

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline() or "{}")
        except (BrokenPipeError, ValueError):
            answer = {}
        if "error" in answer or not answer:
            raise TunebenchError(answer.get("error") or self._last_words())
        return dict(answer)

    def _last_words(self) -> str:
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        killed = "the process was killed; is the memory too small?" if code < 0 else f"the process ended with exit code {code}"
        return lines[-1] if lines else killed


class OtherwiseAsked(Run):
    """A run asked with other settings than its own: the same files, another batch size, texts cut earlier."""

    def __init__(self, path: Path, batch_size: int, max_length: int | None) -> None:
        super().__init__(path)
        self._batch_size, self._max_length = batch_size, max_length

    @property
    def recipe(self) -> Recipe:
        """The run's recipe with these settings in it."""
        found = super().recipe
        if found.base is None:
            return found
        train = (found.train or Train()).model_copy(update={"per_device_eval_batch_size": self._batch_size})
        base = found.base.model_copy(update={"max_length": self._max_length or found.base.max_length})
        return found.model_copy(update={"train": train, "base": base})


def _timed(scorer: Scorer, items: Sequence[Item], singles: int, warm: int) -> dict[str, Any]:
    scorer.score(sorted(items, key=lambda item: len(flat(item)))[:: -(-len(items) // warm)])  # what is done only once, is done
    begun = time.perf_counter()
    found = scorer.score(items)
    seconds = time.perf_counter() - begun
    latencies = []
    for item in items[:singles]:
        begun = time.perf_counter()
        scorer.score([item])
        latencies.append(time.perf_counter() - begun)
    return {
        "seconds": seconds,
        "latencies": latencies,
        "peak_memory_bytes": peak_memory_bytes(),
        "peak_gpu_memory_bytes": _peak_gpu_memory(),
        "unscored": sum(error is not None for error in found.errors or []),
    }


def _peak_gpu_memory() -> int | None:
    """What torch took of a GPU, where torch is what computes and a GPU is there."""
    torch = sys.modules.get("torch")
    return int(torch.cuda.max_memory_allocated()) if torch is not None and torch.cuda.is_available() else None


def main() -> None:
    """Server side: open what the first request names, and time it at every further one."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print goes to the log, never between the answers
    from tunebench.training import open_scorer  # noqa: PLC0415 - the client need not load it

    asked: dict[str, Any] = {}
    scorer: Scorer | None = None
    warm = WARM
    for line in sys.stdin:
        try:
            if scorer is None:
                asked = json.loads(line)
                asked["items"] = [from_json(item) for item in asked["items"]]
                run = OtherwiseAsked(Path(asked["run"]), asked["batch_size"], asked["max_length"])
                scorer = open_scorer(run, asked["backend"])
                warm = max(WARM, asked["batch_size"])
                answer: dict[str, Any] = {"ok": True}
            else:
                answer = _timed(scorer, asked["items"], asked["singles"], warm)
                warm = WARM
        except TunebenchError as error:
            answer = {"error": str(error)}
        except Exception as error:  # noqa: BLE001 - told to the client, which raises it
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
