"""Where a base's files are, what they contain, and what digest stands for them. No torch, no weights read."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from tunebench.errors import InputError, listing
from tunebench.recipe.architectures import max_positions
from tunebench.recipe.closed import PACKAGE, STARTER
from tunebench.recipe.spec import Base
from tunebench.runs import hub, imports
from tunebench.runs.cache import BASE_FILES, folder_digest
from tunebench.runs.starter import starter_path

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.h5", "*.msgpack")


def locate(path: str) -> Path:
    """A recipe's file or folder: ``starter:NAME`` from the cache, else the path itself."""
    return starter_path(path.removeprefix(STARTER)) if path.startswith(STARTER) else Path(path)


def local_base(model: str) -> Path | None:
    """The folder of a base that is no hub id: a folder, a starter, a GGUF file or a file of a package (both imported once)."""
    if model.startswith(PACKAGE):
        return imports.from_package(model)
    path = locate(model)
    if path.suffix == ".gguf":
        return imports.from_gguf(path)
    return path if os.path.isdir(path) else None  # which takes a name too long for a file for what it is: none


def base_folder(base: Base) -> Path:
    """The folder with the base's config, safetensors and tokenizer; a hub id is fetched into the hub's own cache.

    Raises InputError for a folder without safetensors or config, or a hub id that cannot be had.
    """
    folder = local_base(base.model) or hub.fetch(base.model, base.revision)
    if faults := _faults(folder):
        raise InputError(str(folder), faults)
    return folder


def _faults(folder: Path) -> list[str]:
    names = {path.name for path in folder.iterdir()}
    if {"recipe.yaml", "manifest.json"} <= names:
        return ["is a run directory, not a base; give its model/ or, after `tunebench merge`, its merged/"]
    if "adapter_config.json" in names:
        return [f"is an adapter, not a base; give the base it was made for{_base_of(folder)}, or a merged model"]
    faults = [] if "config.json" in names else ["has no config.json"]
    if WEIGHTS not in names and INDEX not in names:
        pickled = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        found = f"only {listing(pickled, most=3)}" if pickled else "nothing like it"
        faults.append(f"has no {WEIGHTS}, found {found}; pickled weights are never loaded, save it again with save_pretrained")
    return faults


def _base_of(adapter: Path) -> str:
    try:
        named = json.loads((adapter / "adapter_config.json").read_text("utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f" ({named})" if isinstance(named, str) else ""


def base_config(folder: Path) -> dict[str, Any]:
    """The base's ``config.json``."""
    return _read_json(folder / "config.json")


def weight_names(folder: Path) -> set[str]:
    """Names of all weights by the headers of the base's safetensors, which also tell whether each file is whole.

    Raises InputError naming every file that is missing, damaged or cut short.
    """
    files = [WEIGHTS]
    if not (folder / WEIGHTS).is_file():
        index = _read_json(folder / INDEX).get("weight_map")
        if not isinstance(index, dict) or not index:
            raise InputError(str(folder / INDEX), "names no files (weight_map); fetch or save the base again")
        files = sorted({str(name) for name in index.values()})
    names: set[str] = set()
    faults = []
    for file in files:
        if Path(file).name != file or not (folder / file).is_file():
            faults.append(f"lacks {file}, which {INDEX} names; fetch or save the base again")
            continue
        try:
            with safe_open(folder / file, framework="numpy") as opened:
                names |= set(opened.keys())
        except (SafetensorError, OSError) as error:
            faults.append(f"{file} is damaged or cut short ({error}); fetch or save it again")
    if faults:
        raise InputError(str(folder), faults)
    return names


def base_digest(folder: Path) -> str:
    """sha256 over weights, config and tokenizer: another base never passes for this one.

    Of the weights only what transformers loads counts: other tools put other forms of them into the hub's cache.
    """
    return folder_digest(folder, BASE_FILES)


def pinned(base: Base, folder: Path) -> Base:
    """The base with the commit that a hub id stood for when it was fetched, so that a moving branch changes nothing later."""
    return base.model_copy(update={"revision": folder.name}) if folder.parent.name == "snapshots" else base


def portable_base(model: str, run: Path) -> str:
    """How a saved adapter names its base: local files relative to the run directory, anything else as the recipe has it."""
    return os.path.relpath(model, run) if os.path.isabs(model) else model


def is_public(model: str) -> bool:
    """Say whether others can have the base by its name alone: a hub id."""
    return not model.startswith((STARTER, PACKAGE)) and not os.path.isabs(model)


def check_not_quantized(folder: Path, config: dict[str, Any]) -> None:
    """InputError where a base's weights are rounded already: adapters are merged into, and scored beside, float32 ones."""
    if "quantization_config" in config:
        raise InputError(
            str(folder),
            "its weights are quantised already (quantization_config in config.json); give the base they were made from, and "
            "base.quantization where it is to be rounded",
        )


def check_max_length(base: Base, config: dict[str, Any]) -> None:
    """InputError where ``max_length`` is more than the base has positions for."""
    limit = max_positions(config)
    if limit is not None and base.max_length > limit:
        raise InputError(
            "base.max_length", f"{base.max_length} is more than the base has positions for ({limit}); set it to {limit} or less"
        )


def check_output_layer(folder: Path, config: dict[str, Any], held: Collection[str]) -> None:
    """InputError where a base cannot write: its files hold no output layer, and it is not that of its embeddings."""
    if config.get("tie_word_embeddings") is False and not any(name.endswith("lm_head.weight") for name in held):
        raise InputError(
            str(folder),
            "its safetensors hold no output layer (lm_head.weight), so it cannot write; fetch it again, or save it with "
            "AutoModelForCausalLM",
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror})") from None
    except (ValueError, TypeError) as error:
        raise InputError(str(path), f"not readable as JSON: {error}") from None
