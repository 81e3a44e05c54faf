"""What every method targets in every architecture, by ``model_type`` of the base's ``config.json``.

Plain facts, so that a recipe resolves without torch. PEFT has no defaults for DistilBERT, and its IA3
default for BERT, ``output.dense``, also matches ``attention.output.dense``; hence the patterns here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """Module names of one architecture, ends of names unless they hold a ``*`` (then a full-match pattern)."""

    lora: tuple[str, ...]
    ia3: tuple[str, ...] | str
    ia3_feedforward: tuple[str, ...] | str
    head_cls: tuple[str, ...]
    head_mean: tuple[str, ...] = ("classifier",)
    decoder: bool = False

    def head(self, pooling: str) -> list[str]:
        """The modules that are new, hence always trained and saved, for a way of pooling."""
        return list(self.head_mean if pooling == "mean" else self.head_cls)


_BERT_IA3 = r".*\.(key|value|layer\.\d+\.output\.dense)"
_BERT_IA3_FEEDFORWARD = r".*\.layer\.\d+\.output\.dense"

ARCHITECTURES: dict[str, Architecture] = {
    "bert": Architecture(("query", "value"), _BERT_IA3, _BERT_IA3_FEEDFORWARD, ("classifier",)),
    "distilbert": Architecture(("q_lin", "v_lin"), ("k_lin", "v_lin", "lin2"), ("lin2",), ("pre_classifier", "classifier")),
    "roberta": Architecture(("query", "value"), _BERT_IA3, _BERT_IA3_FEEDFORWARD, ("classifier",)),
    "modernbert": Architecture(("Wqkv",), ("Wqkv", "mlp.Wo"), ("mlp.Wo",), ("classifier",)),
    "llama": Architecture(("q_proj", "v_proj"), ("k_proj", "v_proj", "down_proj"), ("down_proj",), ("score",), decoder=True),
}
TRAINABLE = ("bert", "distilbert", "roberta")
"""Architectures for which the laws are tested in this version."""
