"""Texts to token ids with the base's own ``tokenizer.json``; no torch, no transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from tunebench.errors import InputError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
"""Files that travel with every saved model, where the base has them."""


@dataclass(frozen=True)
class Encoded:
    """Token ids per text, cut to ``max_length``, and which texts lost tokens by it."""

    ids: list[list[int]]
    truncated: list[bool]

    @property
    def lengths(self) -> list[int]:
        """Tokens per text."""
        return [len(row) for row in self.ids]


class TextEncoder:
    """Tokenizes as plain transformers would: special tokens added, cut on the right at ``max_length``."""

    def __init__(self, folder: Path, max_length: int) -> None:
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise InputError(
                str(folder),
                "has no tokenizer.json; save the base with a fast tokenizer "
                "(AutoTokenizer.from_pretrained(...).save_pretrained(folder))",
            )
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # noqa: BLE001 - the Rust library raises bare Exception
            raise InputError(str(path), f"not a readable tokenizer: {error}") from None
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length)

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Ids of all texts, in order."""
        found = self._tokenizer.encode_batch(list(texts))
        return Encoded([item.ids for item in found], [bool(item.overflowing) for item in found])
