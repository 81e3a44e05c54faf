"""The tiny offline world: two-layer encoders with random weights, a small tokenizer, short labelled texts, recipes.

Everything is written by code in well under a second, needs no network and is the same on every machine. Torch
is imported only where a base is built, so that tests of the light rooms may use the rest.
"""

from __future__ import annotations

import csv
import json
import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ARCHITECTURES = ("bert", "distilbert", "roberta")
GOOD = ("good", "great", "warm", "funny", "moving", "bright")
BAD = ("bad", "dull", "cold", "tired", "empty", "flat")
FILLER = ("the", "film", "is", "a", "and", "very", "plot", "with", "actor", "story", "in", "of")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SIZES = {"vocab_size": 128, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
SIZES |= {"initializer_range": 0.2}  # states so small are moved by nothing with the usual 0.02
LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
DISTIL_LAYERS = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob")
DISTIL_DROPOUT = ("dropout", "attention_dropout", "seq_classif_dropout")


METHODS: dict[str, dict[str, Any]] = {
    "full": {"kind": "full"},
    "head": {"kind": "head"},
    "lora": {"kind": "lora", "r": 4, "lora_alpha": 8, "lora_dropout": 0.1},
    "ia3": {"kind": "ia3"},
}


@dataclass(frozen=True)
class World:
    """A folder with a labelled file and a base of every architecture: what the fixture ``world`` gives."""

    folder: Path
    data: Path
    bases: dict[str, Path]


def write_base(folder: Path, architecture: str = "bert", *, dropout: float = 0.1, seed: int = 7) -> Path:
    """A base of random weights as ``save_pretrained`` writes it, with its tokenizer; takes up to 62 tokens."""
    import torch
    from transformers import AutoConfig, AutoModel

    distil = architecture == "distilbert"
    rates = dict.fromkeys(DISTIL_DROPOUT if distil else DROPOUT, dropout)
    config = AutoConfig.for_model(architecture, **SIZES, **(DISTIL_LAYERS if distil else LAYERS), **rates)
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    AutoModel.from_config(config).save_pretrained(str(folder))
    torch.set_rng_state(state)
    write_tokenizer(folder, token_types=architecture == "bert")
    return folder


def write_tokenizer(folder: Path, *, token_types: bool = True) -> Path:
    """A lower-casing WordPiece tokenizer of a hundred pieces; what it does not know it spells."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    pieces = [*SPECIAL, *GOOD, *BAD, *FILLER, *".,!?'", *string.digits, *string.ascii_lowercase]
    pieces += [f"##{letter}" for letter in string.ascii_lowercase]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    assert len(vocabulary) <= SIZES["vocab_size"]
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {f"{token.strip('[]').lower()}_token": token for token in SPECIAL}
    inputs = ["input_ids", "token_type_ids", "attention_mask"] if token_types else ["input_ids", "attention_mask"]
    config = names | {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 62, "model_input_names": inputs}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def make_rows(number: int = 60, labels: Sequence[str] = ("negative", "positive"), *, seed: int = 5) -> list[dict[str, str]]:
    """``id``, ``text``, ``label``: short texts of 2 to 12 words, in which the words give the label away."""
    draw = random.Random(seed)
    words = {label: (BAD, GOOD, FILLER[6:])[i % 3] for i, label in enumerate(labels)}
    rows = []
    for i in range(number):
        label = labels[i % len(labels)]
        text = [draw.choice(FILLER) for _ in range(draw.randint(1, 10))] + draw.choices(words[label], k=2)
        draw.shuffle(text)
        rows.append({"id": f"r{i}", "text": " ".join(text[1:]), "label": label})
    return rows


def write_csv(path: Path, rows: Sequence[dict[str, Any]] | None = None) -> Path:
    """The rows as CSV; without any, those of ``make_rows``."""
    rows = make_rows() if rows is None else rows
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]))
        out.writeheader()
        out.writerows(rows)
    return path


def write_recipe(path: Path, *, data: Path, base: Path | None = None, **changes: Any) -> Path:
    """A recipe that trains LoRA for six steps; ``changes`` are merged into it, such as ``method={"kind": "ia3"}``.

    Groups of settings are merged key by key, except ``method``, which is replaced. Without a base: ``majority``.
    """
    recipe: dict[str, Any] = {
        "name": path.stem,
        "seed": 3,
        "data": {
            "train": str(data),
            "validation": {"fraction": 0.2, "stratify": True},
            "test": {"fraction": 0.2, "stratify": True},
            "id": "id",
        },
        "method": {"kind": "majority"},
    }
    if base is not None:
        recipe |= {
            "base": {"model": str(base), "max_length": 32},
            "method": METHODS["lora"],
            "train": {"max_steps": 6, "learning_rate": 0.02, "per_device_train_batch_size": 8},
        }
    for key, value in changes.items():
        merged = key in recipe and isinstance(value, dict) and key != "method"
        recipe[key] = {**recipe[key], **value} if merged else value
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path
