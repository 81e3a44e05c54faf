"""All that knows about other processes. Today there is one: a world of size 1, so the loop never asks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class World:
    """How many processes train together, and which one this is; decides its share of the batch plan."""

    size: int = 1
    rank: int = 0
