"""Documents that stand in a corpus more than once, word for word or nearly, and those that another split has too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tunebench.data.duplicates import SIMILAR, NearIndex, plain
from tunebench.data.shingles import MOST_WORDS, shingles

BLOCK_CHARACTERS = 25_000_000
"""Documents of so many characters are held against each other at a time, which bounds the memory."""


def repeated(texts: Sequence[str]) -> dict[int, int]:
    """The places of texts that repeat an earlier one word for word (case and spaces aside), each with the first place of it."""
    first: dict[str, int] = {}
    places = {i: first.setdefault(plain(text), i) for i, text in enumerate(texts)}
    return {i: earlier for i, earlier in places.items() if earlier != i}


def nearly_repeated(texts: Sequence[str]) -> tuple[dict[int, int], int]:
    """The places of texts that are nearly the same as an earlier one, which stays, with the place of that one.

    Looked for by the sequences of three words at the beginnings (in scripts without spaces every character is a word), then
    compared whole. Also how many texts were held against fewer than all that are like them, as of boilerplate.
    """
    found: dict[int, int] = {}
    left = list(range(len(texts)))
    while True:  # of many alike, not all are held against each other at once
        twins, incomplete = _twins([texts[i] for i in left])
        if not twins:
            break
        found |= {left[later]: left[earlier] for later, earlier in twins.items()}
        left = [place for i, place in enumerate(left) if i not in twins]
    for later in sorted(found):
        found[later] = found.get(found[later], found[later])
    return found, incomplete


def count_shared(earlier: Sequence[str], later: Sequence[str]) -> tuple[int, int]:
    """How many of the later texts stand among the earlier ones word for word, and how many others nearly."""
    known = set(map(plain, earlier))
    left = [text for text in later if plain(text) not in known]
    near = {place for known_place, place in _pairs(earlier, left)[0] if _alike(earlier[known_place], left[place])}
    return len(later) - len(left), len(near)


def _twins(texts: Sequence[str]) -> tuple[dict[int, int], int]:
    """Of texts that are alike, every later one with the first of those before it that stay."""
    pairs, incomplete = _pairs(texts, texts)
    partners: dict[int, set[int]] = {}
    for earlier, later in {(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}:
        if _alike(texts[earlier], texts[later]):
            partners.setdefault(later, set()).add(earlier)
    found: dict[int, int] = {}
    for later in sorted(partners):
        if kept := partners[later].difference(found):
            found[later] = min(kept)
    return found, incomplete


def _pairs(texts: Sequence[str], others: Sequence[str]) -> tuple[list[tuple[int, int]], int]:
    """Places ``(in texts, in others)`` of what begins nearly in the same way, and how many texts were not compared with all."""
    found: list[tuple[int, int]] = []
    incomplete = 0
    for begun, block in _blocks(others):
        index, wanted = NearIndex(shingles(block)), np.ones(len(block), bool)
        for start, candidates in _blocks(texts):
            left, right = index.search(shingles(candidates), wanted)
            found += zip((left + start).tolist(), (right + begun).tolist(), strict=True)
        incomplete += index.incomplete
    return found, incomplete


def _blocks(texts: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    begun = size = 0
    for i, text in enumerate(texts):
        size += len(text)
        if size >= BLOCK_CHARACTERS:
            yield begun, texts[begun : i + 1]
            begun, size = i + 1, 0
    if begun < len(texts):
        yield begun, texts[begun:]


def _alike(one: str, other: str) -> bool:
    """Whether two texts that begin nearly in the same way are nearly the same as wholes."""
    if max(len(one), len(other)) <= MOST_WORDS:
        return True
    whole = shingles([one, other], most_words=max(len(one), len(other)))
    left, right = np.split(whole.hashes, [whole.bounds[1]])
    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared >= SIMILAR * (len(left) + len(right) - shared)
