"""The proof engine: same logits pass, anything else does not, and nothing is compared that cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from tunebench.errors import GateFailed, TunebenchError
from tunebench.runs.proof import prove, require

LOGITS = np.array([[0.5, -0.5], [-2.0, 2.0], [0.1, 0.0]], dtype=np.float32)


def changed(row: int, column: int, by: float) -> np.ndarray:
    other = LOGITS.copy()
    other[row, column] += by
    return other


def test_the_same_logits_pass_with_a_difference_of_zero() -> None:
    proof = prove("reload", LOGITS, LOGITS.copy(), 1e-6)
    assert proof.passed
    assert (proof.name, proof.rows, proof.largest_difference, proof.label_flips) == ("reload", 3, 0.0, 0)


@pytest.mark.parametrize(("by", "passed"), [(0.9e-4, True), (1.1e-4, False), (-1.1e-4, False)])
def test_a_difference_passes_up_to_the_tolerance(by: float, passed: bool) -> None:  # noqa: FBT001 - a column of the table
    proof = prove("merge", LOGITS, changed(1, 0, by), 1e-4)
    assert proof.passed is passed
    assert proof.largest_difference == pytest.approx(abs(by), rel=1e-2)


def test_a_label_that_flips_fails_whatever_the_tolerance() -> None:
    proof = prove("merge", LOGITS, changed(2, 1, 0.2), 1.0)
    assert (proof.label_flips, proof.passed) == (1, False)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_fails_on_either_side(value: float) -> None:
    for pair in ((LOGITS, changed(0, 0, value)), (changed(0, 0, value), LOGITS), (changed(0, 0, value), changed(0, 0, value))):
        assert not prove("reload", *pair, 1e-6).passed


@pytest.mark.parametrize("candidate", [LOGITS[:2], LOGITS[:, :1], np.zeros((0, 2), dtype=np.float32)])
def test_logits_of_another_shape_cannot_be_compared(candidate: np.ndarray) -> None:
    with pytest.raises(TunebenchError, match="cannot be compared"):
        prove("reload", LOGITS, candidate, 1e-6)


def test_a_proof_over_no_rows_is_none() -> None:
    with pytest.raises(TunebenchError, match="cannot be compared"):
        prove("reload", LOGITS[:0], LOGITS[:0], 1e-6)


def test_a_difference_too_small_for_float32_is_seen() -> None:
    one, other = np.full((1, 2), 1e4, dtype=np.float32), np.full((1, 2), 1e4, dtype=np.float64)
    other[0, 0] += 1e-5
    assert prove("reload", one, other, 1e-6).largest_difference == pytest.approx(1e-5, rel=1e-3)


def test_a_required_proof_passes_through_or_stops_with_its_figures() -> None:
    good = prove("reload", LOGITS, LOGITS, 1e-6)
    assert require(good) is good
    with pytest.raises(GateFailed, match=r"'merge' failed on 3 rows: largest logit difference 0.2 .*1 label flips") as caught:
        require(prove("merge", LOGITS, changed(2, 1, 0.2), 1e-4))
    assert caught.value.exit_code == 3
