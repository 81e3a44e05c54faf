"""Where a base's files are, what they contain, and what digest stands for them. No torch, no weights read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tunebench.errors import InputError, MissingExtra, TunebenchError
from tunebench.recipe.closed import STARTER
from tunebench.recipe.spec import Base
from tunebench.runs.cache import folder_digest
from tunebench.runs.starter import starter_path

_HUB_FILES = [
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
]


def locate(path: str) -> Path:
    """A recipe's file or folder: ``starter:NAME`` from the cache, else the path itself."""
    return starter_path(path.removeprefix(STARTER)) if path.startswith(STARTER) else Path(path)


def base_folder(base: Base) -> Path:
    """The folder with the base's config, safetensors and tokenizer; a hub id is fetched into the hub's own cache.

    Raises InputError for a folder without safetensors or config, or a hub id that cannot be had.
    """
    folder = locate(base.model)
    if not folder.is_dir():
        folder = _from_hub(base)
    faults = []
    if not (folder / "config.json").is_file():
        faults.append("has no config.json")
    if not list(folder.glob("*.safetensors")):
        faults.append("has no *.safetensors; pickled weights are never loaded, save it again with save_pretrained")
    if faults:
        raise InputError(str(folder), faults)
    return folder


def base_config(folder: Path) -> dict[str, Any]:
    """The base's ``config.json``."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except ValueError as error:
        raise InputError(str(folder / "config.json"), f"not readable as JSON: {error}") from None
    return dict(config)


def base_digest(folder: Path) -> str:
    """sha256 over weights, config and tokenizer: another base never passes for this one."""
    return folder_digest(folder)


def pinned(base: Base, folder: Path) -> Base:
    """The base with the commit that a hub id stood for when it was fetched, so that a moving branch changes nothing later."""
    return base.model_copy(update={"revision": folder.name}) if folder.parent.name == "snapshots" else base


def portable_base(model: str, run: Path) -> str:
    """How a saved adapter names its base: a local folder relative to the run directory, anything else as the recipe has it."""
    return os.path.relpath(model, run) if not model.startswith(STARTER) and Path(model).is_dir() else model


def check_max_length(base: Base, config: dict[str, Any]) -> None:
    """InputError where ``max_length`` is more than the base has positions for."""
    limit = config.get("max_position_embeddings")
    if config.get("model_type") == "roberta" and limit is not None:
        limit -= 2  # its positions begin after the padding id
    if limit is not None and base.max_length > limit:
        raise InputError(
            "base.max_length", f"{base.max_length} is more than the base has positions for ({limit}); set it to {limit} or less"
        )


def _from_hub(base: Base) -> Path:
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - only where a hub is asked
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415
    except ImportError:
        raise MissingExtra("huggingface_hub", "train", "loading a base from the hub") from None
    try:
        return Path(snapshot_download(base.model, revision=base.revision, allow_patterns=_HUB_FILES))
    except (HFValidationError, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        message = (
            f"no such folder, and not to be had from the hub ({first}); "
            "give a local folder, `starter:minilm`, or check the id, the network and HF_TOKEN"
        )
        if isinstance(error, HfHubHTTPError) and not isinstance(error, LocalEntryNotFoundError):
            raise TunebenchError(f"base.model {base.model!r}: {message}") from None
        raise InputError("base.model", f"{base.model!r}: {message}") from None
