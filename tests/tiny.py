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
"""Those that wide tables of tests run over."""
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
RELATIVE = {"relative_attention": True, "position_biased_input": False, "type_vocab_size": 0}
WINDOW = {"sliding_window": 6, "num_key_value_heads": 1, "head_dim": 16}
LLAMA_LIKE = ("<unk>", "<s>", "</s>")
QWEN_LIKE = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_pad|>", "[UNK]")
GEMMA_LIKE = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
FURTHER: dict[str, dict[str, Any]] = {
    "xlm-roberta": {},
    "deberta": RELATIVE | {"pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": RELATIVE
    | {"pos_att_type": ["p2c", "c2p"], "position_buckets": 8, "share_att_key": True, "norm_rel_ebd": "layer_norm"},
    "modernbert": {"local_attention": 6, "global_attn_every_n_layers": 2, "cls_token_id": 2, "sep_token_id": 3},
    "llama": {"num_key_value_heads": 1},
    "mistral": WINDOW,
    "qwen2": {"num_key_value_heads": 1},
    "qwen3": {"num_key_value_heads": 1, "head_dim": 16},
    "gemma": {"num_key_value_heads": 1, "head_dim": 16},
    "gemma2": WINDOW | {"query_pre_attn_scalar": 16},
    "gemma3_text": WINDOW | {"query_pre_attn_scalar": 16, "layer_types": ["sliding_attention", "full_attention"]},
}
"""Settings of the architectures that only tests/test_architectures.py runs over."""
DECODERS = {"llama": LLAMA_LIKE, "mistral": LLAMA_LIKE, "qwen2": QWEN_LIKE, "qwen3": QWEN_LIKE}
DECODERS |= dict.fromkeys(("gemma", "gemma2", "gemma3_text"), GEMMA_LIKE)
"""Special tokens of the decoders: Llama's without any padding, Qwen's with the end of a text in its place, Gemma's with one."""
HALF = ("qwen2", "gemma2")
SHARDED = ("mistral",)
"""Bases saved in bfloat16, and in several files."""
ALL_ARCHITECTURES = (*ARCHITECTURES, *FURTHER)


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


def write_base(
    folder: Path, architecture: str = "bert", *, dropout: float = 0.1, seed: int = 7, causal: bool = False, positions: int = 64
) -> Path:
    """A base of random weights as ``save_pretrained`` writes it, with its tokenizer; takes up to 62 tokens.

    ``causal`` gives a decoder its output layer, so that it can write.
    """
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    distil = architecture == "distilbert"
    rates = dict.fromkeys(DISTIL_DROPOUT if distil else DROPOUT, dropout)
    settings = (
        SIZES
        | {"max_position_embeddings": positions}
        | (DISTIL_LAYERS if distil else LAYERS)
        | rates
        | FURTHER.get(architecture, {})
    )
    if architecture in DECODERS:
        settings |= {"pad_token_id": None, "bos_token_id": 1, "eos_token_id": 2}
    config = AutoConfig.for_model(architecture, **settings)
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    model = (AutoModelForCausalLM if causal else AutoModel).from_config(config)
    torch.set_rng_state(state)
    if architecture in HALF:
        model.to(torch.bfloat16)
    model.save_pretrained(str(folder), max_shard_size="20KB" if architecture in SHARDED else "1GB")
    if architecture in DECODERS:
        write_decoder_tokenizer(folder, DECODERS[architecture])
    else:
        write_tokenizer(folder, token_types=architecture == "bert")
    return folder


def write_tokenizer(folder: Path, *, token_types: bool = True) -> Path:
    """A lower-casing WordPiece tokenizer of a hundred pieces; what it does not know it spells."""
    from tokenizers import decoders, processors

    tokenizer = _word_pieces(SPECIAL, "[UNK]")
    vocabulary = tokenizer.get_vocab()
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


def write_decoder_tokenizer(folder: Path, special: Sequence[str]) -> Path:
    """The same pieces with the special tokens, and the habits, of a family of decoders."""
    from tokenizers import processors

    unknown = "<unk>" if "<unk>" in special else "[UNK]"
    tokenizer = _word_pieces(special, unknown)
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 62}
    if special == QWEN_LIKE:
        names |= {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    else:
        begin = "<bos>" if special == GEMMA_LIKE else "<s>"
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, tokenizer.token_to_id(begin))]
        )
        end = {"pad_token": "<pad>", "eos_token": "<eos>", "padding_side": "left"} if begin == "<bos>" else {"eos_token": "</s>"}
        names |= {"bos_token": begin, "unk_token": "<unk>"} | end
    tokenizer.add_special_tokens([token for token in special if token != "[UNK]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(names), encoding="utf-8")
    return folder


def _word_pieces(special: Sequence[str], unknown: str) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    pieces = [*special, *GOOD, *BAD, *FILLER, *".,!?'", *string.digits, *string.ascii_lowercase]
    pieces += [f"##{letter}" for letter in string.ascii_lowercase]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    assert len(vocabulary) <= SIZES["vocab_size"]
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


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
            "train": {"max_steps": 6, "learning_rate": 0.02, "per_device_train_batch_size": 8, "bf16": False},
        }
    for key, value in changes.items():
        merged = key in recipe and isinstance(value, dict) and key != "method"
        recipe[key] = {**recipe[key], **value} if merged else value
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path
