"""How well texts are predicted: perplexity per token, and per character, which tokenizers cannot flatter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tunebench.errors import InputError

DRAWS, SEED = 2000, 20260101


@dataclass(frozen=True)
class Losses:
    """Per text: negative log-probability of its tokens, how many they are, and its characters, each ``(N,)``."""

    sums: np.ndarray
    tokens: np.ndarray
    characters: np.ndarray
    truncated: list[bool]
    errors: list[str | None]

    def scores(self) -> dict[str, Any]:
        """Perplexities with 95 % intervals over texts (drawn with replacement), and what they stand on.

        Raises InputError where no text could be scored.
        """
        kept = self.tokens > 0
        if not kept.any():
            why = next(filter(None, self.errors), "there is none")
            raise InputError(
                "the texts to score", f"none of {len(kept):,} can be scored: {why}; give others, or raise base.max_length"
            )
        sums, tokens, characters = self.sums[kept], self.tokens[kept], self.characters[kept]
        return {
            "n": len(sums),
            "tokens": int(tokens.sum()),
            "characters": int(characters.sum()),
            "loss": float(sums.sum() / tokens.sum()),
            "perplexity_per_token": _ratio(sums, tokens),
            "perplexity_per_character": _ratio(sums, characters),
            "truncated": sum(self.truncated),
            "unscored": int((~kept).sum()),
        }


def _ratio(sums: np.ndarray, sizes: np.ndarray) -> dict[str, float | int]:
    """``exp(sum of losses / sum of sizes)`` and the range of it over texts drawn anew."""
    draw = np.random.default_rng(SEED)
    drawn = (draw.integers(0, len(sums), len(sums)) for _ in range(DRAWS))  # one at a time: all of them are too many to hold
    values = np.array([np.exp(sums[places].sum() / sizes[places].sum()) for places in drawn])
    value = math.exp(float(sums.sum() / sizes.sum()))
    low, high = (float(found) for found in np.quantile(values, (0.025, 0.975)))
    return {"value": value, "low": min(low, value), "high": max(high, value), "n": len(sums)}


COLUMNS = {
    "id": pa.string(),
    "loss": pa.float64(),
    "loss_before": pa.float64(),
    "tokens": pa.int64(),
    "characters": pa.int64(),
    "truncated": pa.bool_(),
    "error": pa.string(),
}
"""Of ``losses.parquet``; the losses are those of a text's tokens, summed."""


def columns(ids: Sequence[str], after: Losses, before: Losses) -> dict[str, list[Any]]:
    """One row per text, in order; a text that could not be scored has no losses."""
    sound = [error is None for error in after.errors]
    return {
        "id": list(ids),
        "loss": [float(value) if ok else None for value, ok in zip(after.sums, sound, strict=True)],
        "loss_before": [float(value) if ok else None for value, ok in zip(before.sums, sound, strict=True)],
        "tokens": [int(value) for value in after.tokens],
        "characters": [int(value) for value in after.characters],
        "truncated": list(after.truncated),
        "error": list(after.errors),
    }
