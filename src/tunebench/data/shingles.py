"""Texts as numbers: words, and sequences of three words, as 64-bit hashes in flat arrays, the same on every machine."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

SHINGLE_WORDS = 3
LEAST_WORDS = 8
"""Shorter texts have so few sequences that unrelated ones share half of them."""
MOST_WORDS = 1000
"""Longer texts are compared by their first words."""

_CHARACTERS_A_WORD = 20
_BATCH_CHARACTERS = 1_000_000
# Scripts without spaces, of which every character counts as a word: Thai and Lao, Burmese, Khmer, kana, Han.
_UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)
)  # fmt: skip


@dataclass(frozen=True)
class Shingles:
    """Distinct word sequences of N texts: those of text i are ``hashes[bounds[i] : bounds[i + 1]]``, ascending.

    A text of fewer than ``LEAST_WORDS`` words has none.
    """

    hashes: np.ndarray  # (S,) uint64
    bounds: np.ndarray  # (N + 1,)

    @property
    def sizes(self) -> np.ndarray:
        """Sequences per text."""
        return np.diff(self.bounds)


def shingles(texts: Sequence[str], most_words: int = MOST_WORDS) -> Shingles:
    """The sequences of three words of every text, of a long one those at its beginning; case and punctuation do not matter."""
    begun = [text[: _CHARACTERS_A_WORD * most_words] for text in texts]
    return joined([_distinct(*_sequences(batch, most_words), len(batch)) for batch in _batches(begun)])


def joined(parts: Sequence[Shingles]) -> Shingles:
    """Several groups of texts as one."""
    sizes = np.concatenate([np.zeros(1, np.int64), *(part.sizes for part in parts)])
    return Shingles(np.concatenate([np.zeros(0, np.uint64), *(part.hashes for part in parts)]), np.cumsum(sizes))


def count_words(texts: Sequence[str]) -> list[int]:
    """Words of every text, without punctuation."""
    return [int(number) for batch in _batches(texts) for number in np.bincount(_words(batch)[0], minlength=len(batch))]


def mix(values: np.ndarray) -> np.ndarray:
    """Numbers as hashes (the finalizer of splitmix64); also a fixed order of rows that their order in a file does not tell."""
    mixed = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in groups of about a million characters, which bounds the memory of what follows."""
    begun = size = 0
    for i, text in enumerate(texts):
        size += len(text)
        if size >= _BATCH_CHARACTERS:
            yield texts[begun : i + 1]
            begun, size = i + 1, 0
    if begun < len(texts):
        yield texts[begun:]


@functools.cache
def _characters() -> tuple[np.ndarray, np.ndarray]:
    """By code point: whether a character belongs to words, and whether it is a word by itself."""
    inside = np.fromiter((unicodedata.category(chr(code))[0] in "LMN" for code in range(0x110000)), bool, 0x110000)
    alone = np.zeros(0x110000, bool)
    for low, high in _UNSPACED:
        alone[low : high + 1] = inside[low : high + 1]
    return inside, alone


def _words(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """For every word of the texts, in order: the place of its text, and its hash."""
    lowered = [text.lower() for text in texts]
    codes = np.frombuffer("".join(lowered).encode("utf-32-le", "surrogatepass"), np.uint32)
    owners = np.repeat(np.arange(len(texts)), [len(text) for text in lowered])
    inside, alone = (table[codes] for table in _characters())
    begins = inside.copy()
    begins[1:] &= ~inside[:-1] | alone[1:] | alone[:-1] | (owners[1:] != owners[:-1])
    starts = np.flatnonzero(begins)
    if not len(starts):
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    word = np.cumsum(begins)[inside] - 1  # for each character of a word, which word
    offset = np.flatnonzero(inside) - starts[word]
    spelled = mix((codes[inside].astype(np.uint64) << np.uint64(32)) | offset.astype(np.uint64))
    return owners[starts], np.add.reduceat(spelled, np.searchsorted(word, np.arange(len(starts))))


def _sequences(texts: Sequence[str], most_words: int) -> tuple[np.ndarray, np.ndarray]:
    """For every three words in a row: the place of their text, and their hash."""
    owners, hashes = _words(texts)
    counts = np.bincount(owners, minlength=len(texts))
    place = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = (counts[owners] >= LEAST_WORDS) & (place < most_words)
    owners, hashes = owners[kept], hashes[kept]
    inside = owners[2:] == owners[:-2]
    chained = mix(mix(mix(hashes[:-2]) + hashes[1:-1]) + hashes[2:])
    return owners[2:][inside], chained[inside]


def _distinct(owners: np.ndarray, hashes: np.ndarray, number: int) -> Shingles:
    order = np.lexsort((hashes, owners))
    owners, hashes = owners[order], hashes[order]
    first = np.ones(len(owners), bool)
    first[1:] = (owners[1:] != owners[:-1]) | (hashes[1:] != hashes[:-1])
    sizes = np.bincount(owners[first], minlength=number)
    return Shingles(hashes[first], np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]))
