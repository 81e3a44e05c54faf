"""Models that are open: the next question to one of them waits for nothing. The least recently asked goes where room is short."""

from __future__ import annotations

import gc
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from tunebench.predict.scorers import Scorer
from tunebench.recipe.spec import Recipe
from tunebench.runs import exports
from tunebench.runs.bases import base_folder
from tunebench.runs.chain import MERGED
from tunebench.runs.environment import available_memory_bytes
from tunebench.runs.run import Run
from tunebench.runs.stamps import Stamp, stamp

MOST_OPEN = 12
RESERVE = 10**9
"""Bytes that stay free for a batch, and for everybody else."""


class Opened:
    """Scorers by run and backend, as ``open_scorer`` gives them; opened again where a file that they were made of has changed."""

    def __init__(self, open_scorer: Callable[[Run, str | None], Scorer]) -> None:
        self._open_scorer = open_scorer
        self._held: OrderedDict[tuple[Path, str], tuple[Stamp, Scorer]] = OrderedDict()
        self.load_seconds = 0.0
        """How long all that was opened so far took to open."""

    def scorer(self, run: Run, backend: str | None = None) -> Scorer:
        """What predicts for a run, just as ``open_scorer`` would open it now."""
        backend = backend or exports.default_backend(run)
        key, now = (run.path.resolve(), backend), _stamp(run, backend)
        if key in self._held and self._held[key][0] == now:
            self._held.move_to_end(key)
            return self._held[key][1]
        begun = time.perf_counter()
        self._held.pop(key, None)
        self._make_room(run)
        scorer = self._open_scorer(run, backend)
        self._held[key] = (now, scorer)
        self.load_seconds += time.perf_counter() - begun
        return scorer

    def _make_room(self, run: Run) -> None:
        needed = RESERVE + 2 * sum(size for _, _, size, *_ in stamp(*_weights(run)))  # 16-bit weights are opened in 32
        while self._held and (len(self._held) >= MOST_OPEN or _room() < needed):
            self._held.popitem(last=False)
            _give_back()


def _stamp(run: Run, backend: str) -> Stamp:
    engine = [exports.export_folder(run, backend)] if backend in exports.ENGINES else []
    merged = [run.path / MERGED] if backend == exports.TORCH_MERGED else []
    settings = [run.path / "recipe.yaml", run.path / "manifest.json"]
    return stamp(*settings, *_weights(run), *engine, *merged)


def _weights(run: Run) -> list[Path]:
    recipe: Recipe = run.recipe
    return [run.weights] + ([] if recipe.base is None else [base_folder(recipe.base)])


def _room() -> int:
    """Bytes that can still be had where models lie."""
    free, torch = available_memory_bytes(), sys.modules.get("torch")
    return min(free, int(torch.cuda.mem_get_info()[0])) if torch is not None and torch.cuda.is_available() else free


def _give_back() -> None:
    gc.collect()
    if "torch" in sys.modules:
        from tunebench.model.release import trim_memory  # noqa: PLC0415 - there is nothing to trim without torch

        trim_memory()
