"""A process that opens one form of a run and times it: no other form shares its memory, its threads or its caches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tunebench.data.items import Item, flat, from_json, to_json
from tunebench.predict.scorers import Scorer
from tunebench.recipe.spec import Recipe, Train
from tunebench.runs.answering import Answering, serve
from tunebench.runs.environment import peak_memory_bytes
from tunebench.runs.run import Run

WARM = 8
"""So many items of all lengths are scored before every turn, untimed; before the first one a batch."""


class Stopwatch:
    """Client side: starts the process, opens the form in it, and waits until it is open. ``close`` ends it."""

    def __init__(
        self, run: Path, backend: str, items: Sequence[Item], singles: int, batch_size: int, max_length: int | None
    ) -> None:
        begun = time.perf_counter()
        self._answering = Answering("tunebench.benching.stopwatch")
        asked = {"run": str(run), "backend": backend, "items": [to_json(item) for item in items], "singles": singles}
        try:
            self._answering.ask(asked | {"batch_size": batch_size, "max_length": max_length})
        except BaseException:
            self.close()
            raise
        self.load_seconds = time.perf_counter() - begun
        """From the start of the process, imports included, until the model is open."""

    def time(self) -> dict[str, Any]:
        """One turn: ``seconds`` for all items in batches, ``latencies`` (seconds) one item at a time, peak memory (bytes),
        and how many items were ``unscored``. Before it some items are scored that are not timed.
        """
        return self._answering.ask({})

    def close(self) -> None:
        """End the process."""
        self._answering.close()


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


class _Timing:
    """Server side: opens what the first request names, and times it at every further one."""

    def __init__(self, open_scorer: Callable[[Run, str], Scorer]) -> None:
        self._open_scorer = open_scorer
        self._scorer: Scorer | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._scorer is None:
            self._items, self._singles = [from_json(item) for item in request["items"]], request["singles"]
            run = OtherwiseAsked(Path(request["run"]), request["batch_size"], request["max_length"])
            self._scorer, self._warm = self._open_scorer(run, request["backend"]), max(WARM, request["batch_size"])
            return {"ok": True}
        found = _timed(self._scorer, self._items, self._singles, self._warm)
        self._warm = WARM
        return found


def _timing() -> Callable[[dict[str, Any]], dict[str, Any]]:
    from tunebench.training import open_scorer  # noqa: PLC0415 - the client need not load it

    return _Timing(open_scorer).answer


if __name__ == "__main__":
    serve(_timing)
