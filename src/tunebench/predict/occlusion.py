"""Why a text got its label, for any scorer: by how much the label's probability falls when a word is left out.

Occlusion (Zeiler and Fergus 2014, arXiv 1311.2901), by words as in Li, Monroe and Jurafsky 2016 (arXiv 1612.08220). It says
what the scorer reacts to, not what is true; words that say the same thing twice hide each other.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from tunebench.errors import InputError
from tunebench.predict.scorers import Scorer

MOST_WORDS = 120
"""Words that are left out, one at a time."""
PATIENCE = 3.0
"""Seconds after which no further words are tried: a large model and a long text would take minutes."""
_DIGITS = 5
"""Decimals of a weight: neighbours in a batch may move a probability by less."""
_EMOJI = "\u2600-\u27bf\u2b05-\u2b55\U0001f000-\U0001faff"
_JOINERS = "\u200d\ufe0e\ufe0f\u20e3"
_CHARACTERS = "\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af"
_CLUSTERS = "\u0e01-\u0eff"  # Thai and Lao
_VOWELS = "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece"  # and tones, written on the character before
_SIGNS = r"!-/:-@\[-`{-~\u00a0-\u00bf\u2000-\u206f\u3000-\u3004\u3008-\u303f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
_LETTER = rf"[^\s{_SIGNS}{_EMOJI}{_CHARACTERS}{_CLUSTERS}]"  # digits and combining marks too
_WORD = re.compile(
    rf"{_LETTER}+(?:['’\-]{_LETTER}+)*"
    rf"|[{_CHARACTERS}][\u3099\u309a]?"
    rf"|[{_CLUSTERS}][{_VOWELS}]*"
    rf"|[{_EMOJI}][{_EMOJI}{_JOINERS}]*"
    rf"|[!?！？]|[{_SIGNS}]{{2,}}"  # which say something: excitement, a smile, a pause
)


@dataclass(frozen=True)
class Word:
    """A word, its place in the text, and by how much the label's probability falls without it (negative: it rises)."""

    text: str
    start: int
    end: int
    weight: float


@dataclass(frozen=True)
class Occlusion:
    """What the answer to a text hangs on: its label's id and probability, the words that were left out in turn, in their order.

    ``cut``: the text has further words, which were not tried. ``truncated``: the scorer did not read the whole text.
    """

    label: int
    probability: float
    words: list[Word]
    cut: bool
    truncated: bool


def occlude(
    scorer: Scorer, text: str, *, most: int = MOST_WORDS, from_end: bool = False, patience: float = PATIENCE
) -> Occlusion:
    """Leave out the first words of a text, one at a time, or with ``from_end`` the last ones.

    A word that the scorer does not read, beyond ``max_length``, weighs 0; where one before it goes, what follows moves up.
    So does a word without which nothing is left that could be scored. Raises InputError where the text cannot be scored, or
    its answer is written and so has no probability.
    """
    begun = time.perf_counter()
    label, probability, truncated = _answered(scorer, text)
    each = time.perf_counter() - begun
    places = _places(text, most, from_end=from_end)
    cut, found = len(places) > most, list[Word]()
    waiting = places[:most]
    while waiting and (room := patience - (time.perf_counter() - begun)) > each:
        now, waiting = waiting[: max(1, int(room / each))], waiting[max(1, int(room / each)) :]
        tried = time.perf_counter()
        left = scorer.score([_without(text, start, end) for start, end in now]).probabilities[:, label]
        each = (time.perf_counter() - tried) / len(now)
        weights = np.nan_to_num(probability - left).round(_DIGITS) + 0.0
        found += [Word(text[start:end], start, end, float(weight)) for (start, end), weight in zip(now, weights, strict=True)]
    return Occlusion(label, probability, sorted(found, key=lambda word: word.start), cut or bool(waiting), truncated)


def words_in(text: str) -> Iterator[tuple[int, int]]:
    """Where the words of a text begin and end; where a script has no spaces between words (Han, kana, Thai), its characters.

    >>> [("I don't 喜歡 it! :)")[start:end] for start, end in words_in("I don't 喜歡 it! :)")]
    ['I', "don't", '喜', '歡', 'it', '!', ':)']
    """
    return (found.span() for found in _WORD.finditer(text))


def _places(text: str, most: int, *, from_end: bool) -> list[tuple[int, int]]:
    """One place more than are asked for, where there are so many: the nearest to the beginning first, or to the end."""
    return list(words_in(text))[: -most - 2 : -1] if from_end else list(islice(words_in(text), most + 1))


def _answered(scorer: Scorer, text: str) -> tuple[int, float, bool]:
    scores = scorer.score([text])
    if error := (scores.errors or [None])[0]:
        raise InputError("text", error)
    probabilities = scores.probabilities[0]
    if np.isnan(probabilities).any():
        raise InputError("text", "its answer is written, and has no probability; set prompt.decode to score to explain answers")
    label = int(probabilities.argmax())
    return label, float(probabilities[label]), scores.truncated[0]


def _without(text: str, start: int, end: int) -> str:
    """The text without one word, and without one of the two spaces that would then stand side by side."""
    alone = text[end : end + 1].isspace() and (start == 0 or text[start - 1].isspace())
    return text[:start] + text[end + alone :]
