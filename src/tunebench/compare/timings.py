"""Whether the forms of a comparison were timed alike: one machine, as many threads, the same batches, the same texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

ALIKE = {"hardware": "another machine", "threads": "another number of threads", "batch_size": "another batch size"}
"""Settings of ``bench.json`` that have to be one for all, and what a reader is told where they are not."""


def circumstances(told: dict[str, Any]) -> dict[str, Any]:
    """Under what a ``bench.json`` was taken, as far as rows per second depend on it."""
    return {name: told.get(name) for name in (*ALIKE, "rows", "texts")}


def timing_notes(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line for every row whose forms were timed otherwise than the first one's, so that speeds cannot be set side by side."""
    timed = [row for row in rows if row["timed"] is not None]
    found = []
    for row in timed[1:]:
        first, own = timed[0]["timed"], row["timed"]
        other = [words for name, words in ALIKE.items() if own[name] != first[name]]
        if own["rows"] == first["rows"] and own["texts"] != first["texts"]:
            other.append("other texts")
        if other:
            against = timed[0]["run"]
            remedy = f"`tunebench bench {against} {row['run']}` times them alike"
            found.append(f"{row['run']}: {' and '.join(other)} than {against}, so their speeds cannot be compared; {remedy}")
    return found
