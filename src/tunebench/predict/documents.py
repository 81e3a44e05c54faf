"""Documents, conversations and completions as token ids, and which of the tokens are to be predicted. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tokenizers import Encoding

from tunebench.data.items import Completion, Conversation, Item, Question
from tunebench.predict.chat import answer_spans
from tunebench.predict.tokenizer_files import open_tokenizer, special_tokens


@dataclass(frozen=True)
class Sequences:
    """Rows of token ids, and in each the spans of tokens that are to be predicted.

    ``segments`` are the lengths of the documents that stand one behind the other in a row; empty where each row is one.
    """

    ids: list[list[int]]
    targets: list[list[tuple[int, int]]]
    segments: list[list[int]] = field(default_factory=list)

    @property
    def lengths(self) -> list[int]:
        """Tokens per row."""
        return [len(row) for row in self.ids]

    @property
    def counts(self) -> list[int]:
        """Tokens to be predicted per row."""
        return [sum(end - start for start, end in spans) for spans in self.targets]

    def sample(self, most: int) -> Sequences:
        """At most ``most`` rows, evenly spread over the order."""
        places = np.linspace(0, len(self.ids) - 1, min(most, len(self.ids))).round().astype(int)
        segments = [self.segments[i] for i in places] if self.segments else []
        return Sequences([self.ids[i] for i in places], [self.targets[i] for i in places], segments)


@dataclass(frozen=True)
class Written:
    """Rows of tokens and the item each belongs to; per item the characters to be predicted, whether it was cut, and why not.

    A document that is longer than a row goes on in the next one, so nothing of it is lost.
    """

    rows: Sequences
    owners: list[int]
    characters: list[int]
    truncated: list[bool]
    errors: list[str | None]


class WritingEncoder:
    """Tokenizes what a causal language model learns to write.

    Of a document every token but the first is to be predicted, and the end-of-text token behind it; of a conversation the
    assistant's answers, of a completion what follows the prompt. A row has at most ``max_length`` tokens; an item of which
    no answer would be left has no row and an error.
    """

    def __init__(self, folder: Path, max_length: int) -> None:
        self._folder, self._max_length, self._tokenizer = folder, max_length, open_tokenizer(folder)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        eos = special_tokens(folder).get("eos_token")
        self._end = [found] if eos and (found := self._tokenizer.token_to_id(eos)) is not None else []

    def encode(self, items: Sequence[Item]) -> Written:
        """Rows of all items, in order."""
        found = Written(Sequences([], []), [], [], [], [])
        for number, item in enumerate(items):
            assert not isinstance(item, Question)
            ids, targets, characters = self._document(item) if isinstance(item, str) else self._answers(item)
            rows = self._rows(ids) if isinstance(item, str) else [(ids[: self._max_length], self._within(targets))]
            rows = [(row, spans) for row, spans in rows if spans]
            for row, spans in rows:
                found.rows.ids.append(row)
                found.rows.targets.append(spans)
                found.owners.append(number)
            found.characters.append(characters)
            found.truncated.append(not isinstance(item, str) and len(ids) > self._max_length)
            error = f"no answer is left within {self._max_length} tokens (base.max_length); its answer begins later"
            found.errors.append(None if rows else error if not isinstance(item, str) else "has no two tokens")
        return found

    def _document(self, text: str) -> tuple[list[int], list[tuple[int, int]], int]:
        ids = [*_without_end(self._tokenizer.encode(text)), *self._end]
        return ids, [], len(text)

    def _rows(self, ids: list[int]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """A document in rows; each begins with the last token of the one before, so that every token is predicted once."""
        step = self._max_length - 1
        pieces = [ids[start : start + self._max_length] for start in range(0, max(1, len(ids) - 1), step)]
        return [(piece, [(1, len(piece))] if len(piece) > 1 else []) for piece in pieces]

    def _answers(self, item: Conversation | Completion) -> tuple[list[int], list[tuple[int, int]], int]:
        if isinstance(item, Completion):
            text, spans = item.prompt + item.completion, [(len(item.prompt), len(item.prompt) + len(item.completion))]
            encoding, end = self._tokenizer.encode(text), self._end
            ids = [*_without_end(encoding), *end]
        else:
            text, spans = answer_spans(self._folder, item)
            encoding, end = self._tokenizer.encode(text, add_special_tokens=False), []
            ids = list(encoding.ids)
        targets = [_tokens_of(encoding, start, stop) for start, stop in spans]
        if end and targets:
            targets[-1] = (targets[-1][0], len(ids))
        kept = max((end for _, end in encoding.offsets[: self._max_length]), default=0)
        return ids, targets, sum(max(0, min(stop, kept) - start) for start, stop in spans)

    def _within(self, targets: list[tuple[int, int]]) -> list[tuple[int, int]]:
        cut = [(max(1, start), min(end, self._max_length)) for start, end in targets]
        return [(start, end) for start, end in cut if start < end]


def _without_end(encoding: Encoding) -> list[int]:
    """The ids without the special tokens that a tokenizer puts behind a text."""
    mask = encoding.special_tokens_mask
    after = next((i for i, special in enumerate(reversed(mask)) if not special), 0)
    return list(encoding.ids[: len(mask) - after])


def _tokens_of(encoding: Encoding, start: int, stop: int) -> tuple[int, int]:
    """The tokens that hold characters of a span; one that holds the end of what stands before it is among them."""
    inside = [i for i, (begin, end) in enumerate(encoding.offsets) if begin < stop and start < end and begin < end]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)


def packed(rows: Sequences, room: int) -> Sequences:
    """Rows put together into rows of at most ``room`` tokens; each keeps to itself (``segments``)."""
    together = pack(rows.lengths, room)
    targets: list[list[tuple[int, int]]] = []
    for places in together:
        spans: list[tuple[int, int]] = []
        begin = 0
        for place in places:
            spans += [(begin + start, begin + end) for start, end in rows.targets[place]]
            begin += len(rows.ids[place])
        targets.append(spans)
    ids = [[token for place in places for token in rows.ids[place]] for places in together]
    return Sequences(ids, targets, [[len(rows.ids[place]) for place in places] for places in together])


def pack(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Which documents share a row of ``room`` tokens: longest first, each into the fullest row that still takes it.

    Best fit decreasing, as in TRL; the documents of a row and the rows are in the order of the documents. A document longer
    than ``room`` is the caller's fault.
    """
    free: dict[int, list[int]] = {}
    filled: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: (-lengths[place], place)):
        left = min((space for space, rows in free.items() if space >= lengths[place] and rows), default=None)
        if left is None:
            filled.append([])
            number, left = len(filled) - 1, room
        else:
            number = free[left].pop()
        filled[number].append(place)
        free.setdefault(left - lengths[place], []).append(number)
    return sorted(sorted(row) for row in filled)
