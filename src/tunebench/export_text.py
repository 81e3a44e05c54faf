"""An export as text for a terminal."""

from __future__ import annotations

from typing import Any


def export_text(found: dict[str, Any]) -> str:
    """What `tunebench export` tells: the proof, what it scored beside torch, its size, and whether it predicts from now on."""
    chosen = f"{found['format']} predicts from now on" if found["default"] else ""
    if found["folder"] is None:
        return chosen
    proved, scores, (low, high) = found["proof"], found["scores"], _interval(found["scores"]["export"])
    return "\n".join(
        [
            f"{found['folder']} is ready: {found['bytes'] / 1e6:,.1f} MB",
            f"proof: {proved['rows']} rows against {proved['against']}, largest logit difference "
            f"{proved['largest_difference']:.2g}, {proved['label_flips']} label flips",
            f"{found['split']}: accuracy {scores['export']['accuracy']['value']:.4f} [{low:.3f}, {high:.3f}] on "
            f"{found['rows']:,} rows, torch {scores['torch']['accuracy']['value']:.4f}; {found['label_flips']:,} labels flip",
            chosen or f"predict with it: --backend {found['format']}, or always: tunebench export … --default",
        ]
    )


def _interval(scores: dict[str, Any]) -> tuple[float, float]:
    return scores["accuracy"]["low"], scores["accuracy"]["high"]
