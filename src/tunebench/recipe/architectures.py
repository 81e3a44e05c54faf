"""What every method targets in every architecture, by ``model_type`` of the base's ``config.json``.

Plain facts, so that a recipe resolves without torch. PEFT has no defaults for DistilBERT, and its IA3
default for BERT, ``output.dense``, also matches ``attention.output.dense``; hence the patterns here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """Module names of one architecture, ends of names unless they hold a ``*`` (then a full-match pattern).

    ``head_cls`` and ``head_mean`` are never part of a pretrained checkpoint; ``pooler_cls`` and ``pooler_mean`` stand
    before them and are part of some. No ``head_mean``: transformers has no ``…ForTokenClassification`` for it.
    ``float32_only``: under autocast its mask is the smallest float32, which no smaller type holds.
    """

    lora: tuple[str, ...]
    ia3: tuple[str, ...] | str
    ia3_feedforward: tuple[str, ...] | str
    head_cls: tuple[str, ...]
    head_mean: tuple[str, ...] = ("classifier",)
    pooler_cls: tuple[str, ...] = ()
    pooler_mean: tuple[str, ...] = ()
    decoder: bool = False
    float32_only: bool = False

    def head(self, pooling: str) -> list[str]:
        """The modules that are new, hence always trained and saved, for a way of pooling."""
        return list(self.head_mean if pooling == "mean" else self.head_cls)

    def may_lack(self, pooling: str) -> list[str]:
        """The modules that a sound checkpoint may lack: the head, and the pooler before it."""
        return [*(self.pooler_mean if pooling == "mean" else self.pooler_cls), *self.head(pooling)]

    def over(self, held: Collection[str]) -> Architecture:
        """The architecture of one checkpoint by the names of its weights: a pooler that it lacks is part of the new head."""

        def lacking(poolers: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(module for module in poolers if not any(f".{module}." in f".{name}" for name in held))

        return replace(
            self,
            head_cls=(*lacking(self.pooler_cls), *self.head_cls),
            head_mean=(*lacking(self.pooler_mean), *self.head_mean),
        )


def _decoder(*, head_mean: tuple[str, ...] = ("score",)) -> Architecture:
    """Llama and its relatives: the head ``score`` reads the last token of a text."""
    return Architecture(
        ("q_proj", "v_proj"), ("k_proj", "v_proj", "down_proj"), ("down_proj",), ("score",), head_mean, decoder=True
    )


_BERT_IA3 = r".*\.(key|value|layer\.\d+\.output\.dense)"
_FEEDFORWARD = r".*\.layer\.\d+\.output\.dense"
_DEBERTA_IA3 = r".*\.(in_proj|layer\.\d+\.output\.dense)"
_DEBERTA_V2_IA3 = r".*\.(key_proj|value_proj|layer\.\d+\.output\.dense)"

ARCHITECTURES: dict[str, Architecture] = {  # the laws are tested on every one (tests/test_architectures.py)
    "bert": Architecture(("query", "value"), _BERT_IA3, _FEEDFORWARD, ("classifier",), pooler_cls=("pooler",)),
    "distilbert": Architecture(("q_lin", "v_lin"), ("k_lin", "v_lin", "lin2"), ("lin2",), ("pre_classifier", "classifier")),
    "roberta": Architecture(("query", "value"), _BERT_IA3, _FEEDFORWARD, ("classifier",)),
    "xlm-roberta": Architecture(("query", "value"), _BERT_IA3, _FEEDFORWARD, ("classifier",)),
    "deberta": Architecture(("in_proj",), _DEBERTA_IA3, _FEEDFORWARD, ("pooler", "classifier"), float32_only=True),
    "deberta-v2": Architecture(("query_proj", "value_proj"), _DEBERTA_V2_IA3, _FEEDFORWARD, ("pooler", "classifier")),
    "modernbert": Architecture(
        ("Wqkv",), ("Wqkv", "mlp.Wo"), ("mlp.Wo",), ("classifier",), pooler_cls=("head",), pooler_mean=("head",)
    ),
    "llama": _decoder(),
    "mistral": _decoder(),
    "qwen2": _decoder(),
    "qwen3": _decoder(),
    "gemma": _decoder(),
    "gemma2": _decoder(),
    "gemma3_text": _decoder(head_mean=()),
}


def max_positions(config: dict[str, Any]) -> int | None:
    """How many tokens a base has positions for by its ``config.json``; None where nothing says so or positions are relative."""
    limit, kind = config.get("max_position_embeddings"), config.get("model_type")
    if not isinstance(limit, int):
        return None
    if kind in ("roberta", "xlm-roberta"):
        return limit - 2  # positions begin after the padding id
    if kind in ("deberta", "deberta-v2") and not config.get("position_biased_input", True):
        return None
    return limit
