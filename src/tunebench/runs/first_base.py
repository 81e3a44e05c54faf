"""The base of a first recipe: the one that was told, else one that is there or that anybody can fetch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunebench.errors import InputError
from tunebench.recipe.architectures import max_positions
from tunebench.recipe.closed import STARTER
from tunebench.recipe.draft import relative_path
from tunebench.recipe.methods import BASELINES
from tunebench.runs.bases import base_config
from tunebench.runs.starter import starter_path

STARTER_BASE, HUB_BASE = "minilm", "distilbert-base-uncased"


def first_base(model: str | None, method: str, max_length: int, folder: Path) -> tuple[dict[str, Any] | None, str]:
    """The `base` section of a recipe in ``folder``, and why; None for a baseline, which has none."""
    if method in BASELINES:
        if model is not None:
            raise InputError("--model", f"the baseline {method!r} has no base; leave it out")
        return None, ""
    if model is not None:
        local = Path(model)
        if not (local / "config.json").is_file():
            return {"model": model, "max_length": max_length}, "as told"
        limit = max_positions(base_config(local)) or max_length
        return {"model": relative_path(local, folder), "max_length": min(limit, max_length)}, "as told"
    try:
        starter_path(STARTER_BASE)
    except InputError:
        return {"model": HUB_BASE, "max_length": max_length}, "from the hub; `tunebench starter` fetches one that needs none"
    return {"model": STARTER + STARTER_BASE, "max_length": max_length, "pooling": "mean"}, "the starter model is fetched"
