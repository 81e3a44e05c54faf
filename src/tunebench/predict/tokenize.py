"""Texts to token ids with the base's own ``tokenizer.json``; no torch, no transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunebench.predict.tokenizer_files import open_tokenizer


@dataclass(frozen=True)
class Encoded:
    """Token ids per text, cut to ``max_length``, and which texts lost tokens by it.

    ``errors`` says which items have no ids, and why.
    """

    ids: list[list[int]]
    truncated: list[bool]
    errors: list[str | None] | None = None

    @property
    def lengths(self) -> list[int]:
        """Tokens per text."""
        return [len(row) for row in self.ids]


class TextEncoder:
    """Tokenizes as plain transformers would: special tokens added, cut to ``max_length``.

    ``side`` says what a text that is too long loses: its end (``right``), its beginning (``left``), or its ``middle``.
    A text of which the tokenizer leaves nothing becomes one unknown token, so that it can be scored at all.
    """

    def __init__(self, folder: Path, max_length: int, side: str = "right") -> None:
        self._tokenizer = open_tokenizer(folder)
        self._tokenizer.no_padding()
        self._max_length, self._side = max_length, side
        if side == "middle":
            self._tokenizer.no_truncation()
        else:
            self._tokenizer.enable_truncation(max_length, direction=side)
        self._nothing = [self._unknown()]

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Ids of all texts, in order."""
        found = self._tokenizer.encode_batch(list(texts))
        if self._side == "middle":
            long = [len(item.ids) > self._max_length for item in found]
            cut = [
                keep_of(item.ids, self._max_length, "middle") if is_long else item.ids
                for item, is_long in zip(found, long, strict=True)
            ]
        else:
            long, cut = [bool(item.overflowing) for item in found], [item.ids for item in found]
        return Encoded([ids or self._nothing for ids in cut], long)

    def _unknown(self) -> int:
        name = getattr(self._tokenizer.model, "unk_token", None)
        return (self._tokenizer.token_to_id(name) if name else None) or 0


def keep_of(ids: Sequence[int], number: int, side: str) -> list[int]:
    """``number`` of the ids, the others cut off that ``side``; of the middle the beginning and the end in equal shares."""
    if side == "right":
        return list(ids[:number])
    tail = number if side == "left" else number // 2
    return list(ids[: number - tail]) + (list(ids[-tail:]) if tail else [])
