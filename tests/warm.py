"""One proof worker for many jobs: a test of a law needs a process that is not its own, not a new one every time.

Importing torch and peft takes the worker seconds. What a really fresh process finds is shown by the tests that
start one (test_round_trip, test_seed).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tunebench.compare import curves
from tunebench.model import worker

OwnWorker = worker.ProofWorker


@contextmanager
def warm_jobs() -> Iterator[None]:
    """Inside the block all jobs of this process share one proof worker, and draw no curves (half of a tiny job's time)."""
    with OwnWorker() as process, pytest.MonkeyPatch.context() as patch:

        class Borrowed:
            def __enter__(self) -> worker.ProofWorker:
                return process

            def __exit__(self, *_: object) -> None:
                pass

        patch.setattr(worker, "ProofWorker", Borrowed)
        patch.setattr(curves, "draw_curves", lambda *_: None)
        yield
