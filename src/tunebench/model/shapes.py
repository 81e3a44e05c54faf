"""Configurations of well-known bases, so that their parameters can be counted without a hub and without weights.

The settings are those of each model's published ``config.json``; what a setting leaves open is transformers' default
for the ``model_type``. Only what decides the number and size of layers is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PretrainedConfig

from tunebench.errors import InputError, listing
from tunebench.recipe.architectures import ARCHITECTURES
from tunebench.recipe.closed import STARTER
from tunebench.runs.bases import base_config, local_base


@dataclass(frozen=True)
class Shape:
    """One known base: its hub id first, then other names for it, and its settings."""

    names: tuple[str, ...]
    model_type: str
    settings: dict[str, Any]


def _encoder(vocabulary: int, **more: Any) -> dict[str, Any]:
    """BERT-base's proportions with another vocabulary."""
    size = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
    return size | {"vocab_size": vocabulary, "max_position_embeddings": 512, "type_vocab_size": 2} | more


def _decoder(vocabulary: int, hidden: int, inner: int, layers: int, heads: int, key_heads: int, **more: Any) -> dict[str, Any]:
    """A decoder whose output layer is its embedding."""
    size = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads}
    return size | {"vocab_size": vocabulary, "num_key_value_heads": key_heads, "tie_word_embeddings": True} | more


SHAPES = (
    Shape(("bert-base-uncased", "google-bert/bert-base-uncased", "bert-base"), "bert", _encoder(30522)),
    Shape(
        ("distilbert-base-uncased", "distilbert/distilbert-base-uncased", "distilbert"),
        "distilbert",
        {"vocab_size": 30522, "dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072, "max_position_embeddings": 512},
    ),
    Shape(
        ("roberta-base", "FacebookAI/roberta-base", "roberta"),
        "roberta",
        _encoder(50265, max_position_embeddings=514, type_vocab_size=1),
    ),
    Shape(
        ("answerdotai/ModernBERT-base", "modernbert-base", "modernbert"),
        "modernbert",
        {"vocab_size": 50368, "hidden_size": 768, "num_hidden_layers": 22, "num_attention_heads": 12, "intermediate_size": 1152},
    ),
    Shape(
        ("FacebookAI/xlm-roberta-base", "xlm-roberta-base"),
        "xlm-roberta",
        _encoder(250002, max_position_embeddings=514, type_vocab_size=1),
    ),
    Shape(
        ("microsoft/deberta-v3-base", "deberta-v3-base"),
        "deberta-v2",
        _encoder(128100, type_vocab_size=0, relative_attention=True, position_buckets=256, share_att_key=True)
        | {"pos_att_type": ["p2c", "c2p"], "norm_rel_ebd": "layer_norm", "position_biased_input": False},
    ),
    Shape(("HuggingFaceTB/SmolLM2-135M", "smollm2-135m"), "llama", _decoder(49152, 576, 1536, 30, 9, 3)),
    Shape(("Qwen/Qwen2.5-0.5B", "qwen2.5-0.5b"), "qwen2", _decoder(151936, 896, 4864, 24, 14, 2)),
    Shape(("Qwen/Qwen3-0.6B", "qwen3-0.6b"), "qwen3", _decoder(151936, 1024, 3072, 28, 16, 8, head_dim=128)),
    Shape(("google/gemma-2-2b", "gemma-2-2b"), "gemma2", _decoder(256000, 2304, 9216, 26, 8, 4, head_dim=256)),
    Shape(("google/gemma-3-1b-pt", "gemma-3-1b"), "gemma3_text", _decoder(262144, 1152, 6912, 26, 4, 1, head_dim=256)),
    Shape(
        ("meta-llama/Meta-Llama-3-8B", "llama-3-8b", "meta-llama/Meta-Llama-3-8B-Instruct"),
        "llama",
        {"vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32}
        | {"num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192, "tie_word_embeddings": False},
    ),
    Shape(
        ("meta-llama/Llama-2-13B-hf", "llama-2-13b", "Bohanlu/Taigi-Llama-2-13B"),
        "llama",
        {"vocab_size": 32000, "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40}
        | {"num_attention_heads": 40, "num_key_value_heads": 40, "max_position_embeddings": 4096, "tie_word_embeddings": False},
    ),
)


@dataclass(frozen=True)
class Described:
    """A base as its description alone tells it: the name to show, its configuration, and its folder if it has one."""

    name: str
    config: PretrainedConfig
    folder: Path | None


def describe(model: str) -> Described:
    """Find a base by local folder, ``starter:NAME``, known name (any case), or hub id (only its config is fetched).

    Raises InputError where none fits, or where its architecture is not one this version knows the modules of.
    """
    if folder := local_base(model):
        return Described(model, _supported(model, _read(model, folder)), folder)
    for shape in SHAPES:
        if model.casefold() in (name.casefold() for name in shape.names):
            return Described(shape.names[0], AutoConfig.for_model(shape.model_type, **shape.settings), None)
    return Described(model, _supported(model, _fetch(model)), None)


def _read(model: str, folder: Path) -> PretrainedConfig:
    if not (folder / "config.json").is_file():
        raise InputError("model", f"the folder {model!r} has no config.json; give the folder of a transformers model")
    _known_architecture(model, base_config(folder).get("model_type"))
    try:
        return _auto(str(folder), local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise InputError("model", f"{model!r}: its config.json describes no model that transformers can build: {error}") from None


def _fetch(model: str) -> PretrainedConfig:
    known = listing((shape.names[0] for shape in SHAPES), most=len(SHAPES))
    message = f"{model!r} is no folder, no known base ({known}) and not to be had from the hub; give a folder or one of these"
    if model.startswith((STARTER, ".", "/", "~")) or model.count("/") > 1:
        raise InputError("model", message)
    try:
        return _auto(model)
    except (OSError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError("model", f"{message} ({first})") from None


def _auto(name: str, *, local_files_only: bool = False) -> PretrainedConfig:
    config: PretrainedConfig = AutoConfig.from_pretrained(name, local_files_only=local_files_only, trust_remote_code=False)
    return config


def _supported(model: str, config: PretrainedConfig) -> PretrainedConfig:
    _known_architecture(model, config.model_type)
    return config


def _known_architecture(model: str, model_type: object) -> None:
    if model_type not in ARCHITECTURES:
        found = f"{model!r} has model_type {model_type!r}"
        raise InputError("model", f"{found}; the architectures whose modules are known here are {', '.join(ARCHITECTURES)}")
