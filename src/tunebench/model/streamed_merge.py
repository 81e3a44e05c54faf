"""Folding a LoRA adapter into its base file by file: never more than one file's weights in memory.

The in-memory merge (``merge_adapter``) holds the whole model in float32, 52 GB for one of 13 billion weights. Here every
tensor is read, updated in float32 and written, one safetensors file of the base at a time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tunebench.runs.bases import INDEX, WEIGHTS

PREFIX = "base_model.model."
_UNLIKE_LORA = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "trainable_token_indices", "fan_in_fan_out")
"""Settings of an adapter under which a merged weight is more than W + scale * B @ A."""


def can_stream(base: Path, adapter: Path) -> bool:
    """Say whether an adapter is plain LoRA whose every module stands in the base's files under its own name."""
    config = _read(adapter / "adapter_config.json")
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or any(config.get(key) for key in _UNLIKE_LORA):
        return False
    if any(not name.endswith((".lora_A.weight", ".lora_B.weight")) for name in load_file(adapter / "adapter_model.safetensors")):
        return False  # an embedding's update has a shape of its own
    held = set(_files(base))
    return all(f"{module}.weight" in held for module in _updates(adapter))


def merge_files(base: Path, adapter: Path, folder: Path, rounded: Callable[[str, Tensor], Tensor] | None = None) -> None:
    """Write the base's safetensors with the adapter folded in, in float32, into ``folder``.

    ``rounded`` gives what the adapter was trained beside in place of a weight, where the base was quantised.
    """
    updates, files = _updates(adapter), _files(base)
    config = _read(adapter / "adapter_config.json")
    scale = config["lora_alpha"] / (math.sqrt(config["r"]) if config.get("use_rslora") else config["r"])
    for file in dict.fromkeys(files.values()):
        merged: dict[str, Tensor] = {}
        with safe_open(base / file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - a file of safetensors is no mapping
                weight = opened.get_tensor(name).float()
                module = name.removesuffix(".weight")
                if rounded is not None:
                    weight = rounded(name, weight)
                if module in updates:
                    a, b = updates[module]
                    weight = weight + scale * (b.float() @ a.float())
                merged[name] = weight.contiguous()
        save_file(merged, folder / file, metadata={"format": "pt"})
    if (base / INDEX).is_file():
        sizes = sum((folder / file).stat().st_size for file in dict.fromkeys(files.values()))
        index = {"metadata": {"total_size": sizes}, "weight_map": files}
        (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", "utf-8")


def _updates(adapter: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """A ``(r, in)`` and B ``(out, r)`` of every module, by its name in the base."""
    tensors = load_file(adapter / "adapter_model.safetensors")
    modules = sorted(name.removesuffix(".lora_A.weight") for name in tensors if name.endswith(".lora_A.weight"))
    return {
        module.removeprefix(PREFIX): (tensors[f"{module}.lora_A.weight"], tensors[f"{module}.lora_B.weight"])
        for module in modules
    }


def _files(base: Path) -> dict[str, str]:
    """The file of the base that holds each weight."""
    if (base / WEIGHTS).is_file():
        with safe_open(base / WEIGHTS, framework="pt") as opened:
            return dict.fromkeys(opened.keys(), WEIGHTS)
    found: dict[str, str] = _read(base / INDEX)["weight_map"]
    return found


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found
