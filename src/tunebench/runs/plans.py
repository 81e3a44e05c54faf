"""What was planned for a training, kept until it is done: then it says how far the plan was off."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunebench.recipe.resolve import digest_of
from tunebench.runs.cache import cache_root, write_atomic
from tunebench.runs.environment import hardware

COMPARED = ("steps", "train_seconds", "peak_memory_bytes", "peak_gpu_memory_bytes", "adapter_bytes")
"""What is planned under the same name as it is measured."""


def store_plan(identity: Mapping[str, Any], planned: Mapping[str, Any]) -> None:
    """Keep what is planned for a training on this machine: ``parameters`` and what of ``COMPARED`` is known."""
    write_atomic(_place(identity), json.dumps(dict(planned), indent=2) + "\n")


def stored_plan(identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was last planned for a training of this identity on this machine."""
    try:
        found = json.loads(_place(identity).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def compared(planned: Mapping[str, Any] | None, measured: Mapping[str, Any]) -> dict[str, Any] | None:
    """Planned and measured side by side with their ratio (measured / planned); None where the plan is of another base."""
    if planned is None or planned.get("parameters") != measured.get("parameters"):
        return None
    pairs = {name: (planned.get(name), measured.get(name)) for name in COMPARED}
    return {
        name: {"planned": before, "measured": after, "ratio": round(after / before, 4)}
        for name, (before, after) in pairs.items()
        if before and after
    }


def _place(identity: Mapping[str, Any]) -> Path:
    """By settings and data; a stage is planned before the weights that it will start from are there, so they are left out."""
    settings = {key: value for key, value in identity.items() if key != "base (contents)"}
    machine = {key: value for key, value in hardware().items() if key in ("processor", "cores", "gpus")}
    return cache_root() / "plans" / f"{digest_of([settings, machine])}.json"
