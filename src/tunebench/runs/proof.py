"""The one proof engine: is this saved form the model that was scored?

``prove`` compares logits on the same rows. Reload, merge and every later export go through it; who computes
the candidate's logits is the caller's business (a fresh process: model/worker.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from tunebench.errors import GateFailed, TunebenchError
from tunebench.events import Proved

RELOAD_TOLERANCE = 1e-6
"""The same weights, the same code, another process: zero on one machine; room for another thread count."""
MERGE_TOLERANCE = 1e-4
"""Folding updates into float32 weights rounds; measured at most 2.9e-6 on logits (docs/lab-log.md)."""
PROOF_ROWS = 64

T = TypeVar("T")


def spread(items: Sequence[T], size: Callable[[T], int], budget: int | None = None) -> list[T]:
    """At most ``PROOF_ROWS`` items, from the shortest to the longest, of about ``budget`` in all where there is one."""
    ordered = sorted(items, key=size)
    most = PROOF_ROWS
    if budget is not None and ordered:
        most = max(4, min(most, budget * len(ordered) // max(1, sum(map(size, ordered)))))
    return ordered[:: max(1, len(ordered) // most)][:most]


def prove(name: str, reference: np.ndarray, candidate: np.ndarray, tolerance: float) -> Proved:
    """Compare logits ``(N, K)``; passes when no logit differs by more than ``tolerance`` and no label flips.

    Anything not finite on either side fails. Raises TunebenchError where the shapes differ or there are no rows.
    """
    if reference.shape != candidate.shape or reference.size == 0:
        raise TunebenchError(f"proof {name!r}: reference {reference.shape} and candidate {candidate.shape} cannot be compared")
    finite = bool(np.isfinite(reference).all() and np.isfinite(candidate).all())
    largest = float(np.abs(reference.astype(np.float64) - candidate.astype(np.float64)).max()) if finite else float("inf")
    flips = int((reference.argmax(axis=1) != candidate.argmax(axis=1)).sum())
    return Proved(name, len(reference), largest, flips, tolerance, finite and largest <= tolerance and flips == 0)


def require(proof: Proved) -> Proved:
    """The proof, or GateFailed where it did not pass."""
    if not proof.passed:
        raise GateFailed(
            f"proof {proof.name!r} failed on {proof.rows} rows: largest logit difference {proof.largest_difference:.3g} "
            f"(tolerance {proof.tolerance:.0e}), {proof.label_flips} label flips. "
            "What was saved is not what was scored; do not use it"
        )
    return proof
