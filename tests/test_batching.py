"""Law 5: a text's probabilities do not depend on what else is in its batch, on padding, or on the order of rows."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tiny import ARCHITECTURES, make_rows
from torch.nn import functional

from tunebench.model import bundle
from tunebench.model.tasks import pad_batch, text_logits
from tunebench.predict.scorers import Scorer, TokenScorer
from tunebench.runs.run import Run

KEYS = [(kind, "lora", pooling) for kind in ARCHITECTURES for pooling in ("cls", "mean")]
KEYS += [("bert", "ia3", "cls"), ("bert", "full", "mean")]
TOLERANCE = 1e-5
LONG = " ".join(["very", "long"] * 40)
TEXTS = [row["text"] for row in make_rows(37, seed=11)] + ["good", LONG, "a", f"dull {LONG}"]


@pytest.fixture(params=KEYS, ids="-".join)
def run(request: pytest.FixtureRequest, tiny_run: Callable[..., Run]) -> Run:
    found: Run = tiny_run(*request.param)
    return found


def probabilities(scorer: Scorer, texts: list[str]) -> np.ndarray:
    return scorer.score(texts).probabilities


def test_batch_size_changes_no_probability(run: Run) -> None:
    alone = probabilities(bundle.open_scorer(run, batch_size=1), TEXTS)
    assert np.ptp(alone[:, 0]) > 0.01  # there is something to change
    for batch_size in (2, 3, 32, 64):
        assert np.abs(probabilities(bundle.open_scorer(run, batch_size=batch_size), TEXTS) - alone).max() <= TOLERANCE


def test_order_and_neighbours_change_no_probability(run: Run) -> None:
    scorer = bundle.open_scorer(run, batch_size=8)
    together = probabilities(scorer, TEXTS)
    order = random.Random(2).sample(range(len(TEXTS)), len(TEXTS))
    assert np.abs(probabilities(scorer, [TEXTS[i] for i in order]) - together[order]).max() <= TOLERANCE
    few = [0, 5, 37, 38]
    assert np.abs(probabilities(scorer, [TEXTS[i] for i in few]) - together[few]).max() <= TOLERANCE
    assert np.abs(probabilities(scorer, [*TEXTS, *[LONG] * 20])[: len(TEXTS)] - together).max() <= TOLERANCE
    assert np.abs(probabilities(scorer, [TEXTS[0], TEXTS[0]]) - together[[0, 0]]).max() <= TOLERANCE


class Padded:
    """Three encoded texts of a run as one batch: padded by ``pad_batch``, and further by hand."""

    def __init__(self, run: Run) -> None:
        scorer = bundle.open_scorer(run)
        assert isinstance(scorer, TokenScorer)
        self.model = scorer.backend.model.eval()  # type: ignore[attr-defined]
        self.pooling = run.recipe.base.pooling  # type: ignore[union-attr]
        self.pad_id = scorer.backend.pad_id
        self.rows = scorer.encoder.encode(["good film", "a dull, flat and very cold plot", "warm"]).ids
        self.ids, self.mask = pad_batch(self.rows, self.pad_id)
        self.plain = self.probabilities(self.ids, self.mask)

    @torch.inference_mode()
    def probabilities(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return text_logits(self.model, self.pooling, ids, mask).softmax(-1)

    def difference_when_padded(self, left: int, right: int) -> float:
        ids = functional.pad(self.ids, (left, right), value=self.pad_id)
        return float((self.probabilities(ids, functional.pad(self.mask, (left, right))) - self.plain).abs().max())


def test_padding_on_the_right_has_no_part_in_a_text(run: Run) -> None:
    batch = Padded(run)
    assert [ids[len(row) :].tolist() for ids, row in zip(batch.ids, batch.rows, strict=True)] == [
        [batch.pad_id] * (max(map(len, batch.rows)) - len(row)) for row in batch.rows
    ]
    assert batch.difference_when_padded(0, 1) <= TOLERANCE
    assert batch.difference_when_padded(0, 20) <= TOLERANCE
    if run.manifest["base"]["architecture"] != "roberta":  # it knows padding by its id, the others by the mask alone
        other_ids = torch.where(batch.mask == 1, batch.ids, 9)
        assert float((batch.probabilities(other_ids, batch.mask) - batch.plain).abs().max()) <= TOLERANCE


def test_padding_on_the_left_would_move_texts_except_where_positions_follow_them(run: Run) -> None:
    """RoBERTa counts positions from the first real token, the others from the edge; a head on ``[CLS]`` reads the edge."""
    moves = Padded(run).difference_when_padded(20, 0)
    if (run.manifest["base"]["architecture"], run.recipe.base.pooling) == ("roberta", "mean"):  # type: ignore[union-attr]
        assert moves <= TOLERANCE
    else:
        assert moves > TOLERANCE  # hence ``pad_batch`` pads on the right
