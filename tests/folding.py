"""A pretrained DistilBERT for tests: a BERT folder folded exactly into that architecture."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
LAYER = re.compile(r"encoder\.layer\.(\d+)\.(.+)\.(weight|bias)")
PARTS = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}
EMBEDDINGS = {
    "embeddings.word_embeddings.weight",
    "embeddings.position_embeddings.weight",
    "embeddings.LayerNorm.weight",
    "embeddings.LayerNorm.bias",
}
LEFT_BEHIND = ("pooler.", "cls.", "embeddings.position_ids", "embeddings.token_type_embeddings.")
REQUIRED = {"model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12}


def fold_into_distilbert(source: Path, target: Path) -> None:
    """Write the BERT encoder in ``source`` as a DistilBERT folder ``target`` that computes the same hidden states.

    DistilBERT has no token types and no pooler: the embedding of token type 0 moves into every position's
    embedding, the pooler and heads stay behind. Single-segment inputs only. Raises ValueError where the
    source is no such BERT or holds a weight that has no place.
    """
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    for key, wanted in REQUIRED.items():
        if config.get(key) != wanted:
            raise ValueError(f"{source}: expected {key} {wanted!r} in config.json, found {config.get(key)!r}")
    weights = {name.removeprefix("bert."): array for name, array in load_file(source / "model.safetensors").items()}
    target.mkdir(parents=True, exist_ok=True)
    save_file(_folded(weights), target / "model.safetensors", metadata={"format": "pt"})
    (target / "config.json").write_text(json.dumps(_distilbert_config(config), indent=2) + "\n", encoding="utf-8")
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    _retype_tokenizer(target / "tokenizer_config.json")


def _folded(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    folded = {}
    for name, array in weights.items():
        if not name.startswith(LEFT_BEHIND):
            folded[f"distilbert.{_renamed(name)}"] = np.ascontiguousarray(array)
    folded["distilbert.embeddings.position_embeddings.weight"] = (
        weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    )
    return folded


def _renamed(name: str) -> str:
    if name in EMBEDDINGS:
        return name
    found = LAYER.fullmatch(name)
    if found is None or found[2] not in PARTS:
        raise ValueError(f"no place in DistilBERT for the weight {name!r}")
    return f"transformer.layer.{found[1]}.{PARTS[found[2]]}.{found[3]}"


def _distilbert_config(bert: dict[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["DistilBertModel"],
        "model_type": "distilbert",
        "activation": bert["hidden_act"],
        "attention_dropout": bert["attention_probs_dropout_prob"],
        "dim": bert["hidden_size"],
        "dropout": bert["hidden_dropout_prob"],
        "hidden_dim": bert["intermediate_size"],
        "initializer_range": bert["initializer_range"],
        "max_position_embeddings": bert["max_position_embeddings"],
        "n_heads": bert["num_attention_heads"],
        "n_layers": bert["num_hidden_layers"],
        "pad_token_id": bert.get("pad_token_id", 0),
        "sinusoidal_pos_embds": False,
        "vocab_size": bert["vocab_size"],
    }


def _retype_tokenizer(path: Path) -> None:
    """Name DistilBERT's tokenizer, which reads the same files and hands out no token types."""
    if path.is_file():
        config = json.loads(path.read_text(encoding="utf-8"))
        config |= {"tokenizer_class": "DistilBertTokenizer", "model_input_names": ["input_ids", "attention_mask"]}
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
