"""Cutting a document that is too long: at the end of a sentence, else at a comma, else between words, else where it must be."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence

_CLOSING = "」』”’\"'）)】》〉\\]"
_SENTENCES = re.compile(rf"[。！？；!?…]+[{_CLOSING}]*|(?<!\.)\.++[{_CLOSING}]*+(?=\s|\Z)|(?<=\S)(?=\s*\n)")
_COMMAS = re.compile(r"[，、：]|[,;:](?=\s)")
_WORDS = re.compile(r"(?<=\S)(?=\s)")
_CLUSTER = 32
"""Longer rows of accents or punctuation are cut as they come."""


def pieces(text: str, least: int, most: int) -> list[str]:
    """The text in pieces of ``least`` to ``most`` characters; what is not longer than ``most`` is one piece.

    A piece ends with the last sentence that fits and leaves enough for the next. Spaces between two pieces belong to neither.

    >>> pieces("一二三。四五六，七八。九", 2, 7)
    ['一二三。', '四五六，', '七八。九']
    """
    text = text.strip()
    ends = [[found.end() for found in marks.finditer(text)] for marks in (_SENTENCES, _COMMAS, _WORDS)]
    cut, begun = [], 0
    while len(text) - begun > most:
        end = _end(text, begun, least, most, ends)
        cut.append(text[begun:end].rstrip())
        begun = _behind_spaces(text, end)
    return [*cut, text[begun:]]


def _end(text: str, begun: int, least: int, most: int, ends: Sequence[Sequence[int]]) -> int:
    """Where the piece that begins there ends."""
    for marks in ends:
        place = bisect_right(marks, begun + most) - 1
        while place >= 0 and marks[place] >= begun + least:
            if len(text) - _behind_spaces(text, marks[place]) >= least:
                return marks[place]
            place -= 1
    end = min(begun + most, max(begun + least, len(text) - least))
    for place in range(end, max(begun + least, end - _CLUSTER), -1):
        if unicodedata.category(text[place])[0] not in "MP":  # accents and punctuation stay with what they follow
            return place
    return end


def _behind_spaces(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place
