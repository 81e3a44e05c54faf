"""How a tokenizer spells: tokens per character, characters in bytes, unknown ones, by script. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Encoding

from tunebench.data.scripts import SCRIPTS, script_codes
from tunebench.predict.tokenizer_files import open_tokenizer, special_tokens


class Speller:
    """Counts what the tokenizer of a model folder makes of the characters of texts."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = open_tokenizer(folder)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        # A byte-level tokenizer knows no unknown token: what is configured as one only stands for itself there.
        self._spells_bytes = "ByteLevel" in f"{self._tokenizer.pre_tokenizer!r} {self._tokenizer.normalizer!r}"
        named = {getattr(self._tokenizer.model, "unk_token", None), special_tokens(folder).get("unk_token")}
        self._unknown = [] if self._spells_bytes else self._ids(sorted(filter(None, named)))
        self._bytes = self._ids([f"<0x{value:02X}>" for value in range(256)])

    def count(self, texts: Sequence[str]) -> np.ndarray:
        """``(S, 4)`` by place in ``SCRIPTS``: characters, tokens, characters in bytes, characters that are unknown."""
        found = np.zeros((len(SCRIPTS), 4))
        for text, encoding in zip(texts, self._tokenizer.encode_batch(list(texts), add_special_tokens=False), strict=True):
            if text:
                found += self._counted(text, encoding)
        return found

    def _counted(self, text: str, encoding: Encoding) -> np.ndarray:
        points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        solid = np.fromiter((not char.isspace() for char in text), bool, len(text))
        ids, spans = np.array(encoding.ids, np.int64), np.array(encoding.offsets, np.int64).reshape(-1, 2)
        held = np.concatenate([[0], np.cumsum(solid)])
        share = 1 / np.maximum(1, held[spans[:, 1]] - held[spans[:, 0]])  # of a token, for each character it stands for
        covering = _summed(spans, np.ones(len(ids)), len(text))
        unknown = (_summed(spans, np.isin(ids, self._unknown), len(text)) > 0) | (covering == 0)
        in_bytes = covering > 1 if self._spells_bytes else _summed(spans, np.isin(ids, self._bytes), len(text)) > 0
        columns = (np.ones(len(text)), _summed(spans, share, len(text)), in_bytes, unknown)
        codes = script_codes(points)[solid]
        return np.stack([np.bincount(codes, column[solid], len(SCRIPTS)) for column in columns], axis=1)

    def _ids(self, tokens: Sequence[str]) -> list[int]:
        return [found for token in tokens if (found := self._tokenizer.token_to_id(token)) is not None]


def _summed(spans: np.ndarray, weights: np.ndarray, length: int) -> np.ndarray:
    """Per character the sum of the weights of the spans ``[from, to)`` that hold it."""
    steps = np.zeros(length + 1)
    np.add.at(steps, spans[:, 0], weights)
    np.subtract.at(steps, spans[:, 1], weights)
    return np.cumsum(steps)[:length].round(9)
