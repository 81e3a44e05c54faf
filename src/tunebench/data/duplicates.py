"""Texts that stand in another split with a few words changed.

Two texts are nearly the same if at least ``SIMILAR`` of all sequences of three words in them stand in both (Jaccard).
The search computes that figure exactly, but only for texts that share one of their rarest sequences, which two texts so
similar must; nothing is held against everything.
"""

from __future__ import annotations

import re

import numpy as np

from tunebench.data.shingles import Shingles

SIMILAR = 0.5
MOST_CANDIDATES = 32
"""Texts that one text is held against; only boilerplate has more that share its rarest sequences."""
MOST_COMPARISONS = 150_000_000
"""Sequences compared in one search, about half a minute; only boilerplate needs more."""

_LONG = 1_000_000
_FILTER = np.uint64((1 << 24) - 1)


def plain(text: str) -> str:
    """The text in lower case with single spaces; texts of which this is equal are the same."""
    lowered = text.lower()
    return " ".join(lowered.split()) if len(lowered) < _LONG else re.sub(r"\s+", " ", lowered).strip()


class NearIndex:
    """The texts that are looked for, by their word sequences.

    ``incomplete`` counts the texts that were held against fewer of these than share a rare sequence with them.
    """

    def __init__(self, wanted: Shingles) -> None:
        self._vocabulary, terms, frequency = np.unique(wanted.hashes, return_inverse=True, return_counts=True)
        self._sizes, self._frequency = wanted.sizes, frequency
        owners = np.repeat(np.arange(len(self._sizes)), self._sizes)
        self._keys = owners * len(self._vocabulary) + terms  # ascending: text and term as one number
        self._postings = owners[np.argsort(terms, kind="stable")]  # for each term the texts that hold it
        self._starts = np.cumsum(frequency) - frequency
        self._seen = np.zeros(int(_FILTER) + 1, bool)  # a quick no for most sequences that do not stand here
        self._seen[self._vocabulary & _FILTER] = True
        self._left = MOST_COMPARISONS
        self.incomplete = 0

    def __len__(self) -> int:
        return len(self._sizes)

    def search(self, texts: Shingles, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of nearly the same texts, as places in ``texts`` and here; only of those here that are ``wanted``, a mask."""
        owners, terms = self._known(texts)
        if not len(terms) or self._left <= 0:
            self.incomplete += len(np.unique(owners))
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        counts = np.bincount(owners, minlength=len(texts.sizes))
        left, right = self._candidates(owners, terms, texts.sizes, counts, wanted)
        shared = self._shared(left, right, terms, np.cumsum(counts) - counts, counts)
        similar = shared >= SIMILAR * (texts.sizes[left] + self._sizes[right] - shared)
        return left[similar], right[similar]

    def _known(self, texts: Shingles) -> tuple[np.ndarray, np.ndarray]:
        """Text and term of every sequence that stands here too, for the texts of which enough do to be that similar."""
        maybe = np.flatnonzero(self._seen[texts.hashes & _FILTER])
        places = np.minimum(np.searchsorted(self._vocabulary, texts.hashes[maybe]), len(self._vocabulary) - 1)
        known = self._vocabulary[places] == texts.hashes[maybe] if len(self._vocabulary) else np.zeros(0, bool)
        owners = np.repeat(np.arange(len(texts.sizes)), texts.sizes)[maybe[known]]
        enough = (np.bincount(owners, minlength=len(texts.sizes)) >= _least(texts.sizes))[owners]
        return owners[enough], places[known][enough]

    def _candidates(
        self, owners: np.ndarray, terms: np.ndarray, sizes: np.ndarray, counts: np.ndarray, wanted: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of fitting sizes that share one of the left text's rarest sequences; of many, those that share most of them."""
        order = np.lexsort((terms, self._frequency[terms], owners))
        owners, terms = owners[order], terms[order]
        rank = np.arange(len(owners)) - (np.cumsum(counts) - counts)[owners]
        lookups = counts - _least(sizes) + 1  # a similar text lacks fewer than this of the known ones
        rare = rank < lookups[owners]
        owners, terms = owners[rare], terms[rare]
        frequency = self._frequency[terms]
        spent = np.cumsum(frequency) - frequency
        spent -= spent[np.searchsorted(owners, owners)]  # by the same text before
        taken = np.clip(MOST_CANDIDATES * lookups[owners] - spent, 0, frequency)
        cut = np.unique(owners[taken < frequency])
        right = self._postings[_ranges(self._starts[terms], taken)]
        pairs, shared = np.unique(np.repeat(owners, taken) * len(self) + right, return_counts=True)
        left, right = np.divmod(pairs, len(self))
        small, large = np.minimum(sizes[left], self._sizes[right]), np.maximum(sizes[left], self._sizes[right])
        fits = wanted[right] & (small >= SIMILAR * large)
        left, right, shared = left[fits], right[fits], shared[fits]
        best = np.lexsort((-shared, left))
        nth = np.arange(len(left)) - np.searchsorted(left, left)
        self.incomplete += len(np.union1d(cut, left[nth >= MOST_CANDIDATES]))
        kept = np.sort(best[nth < MOST_CANDIDATES])
        return left[kept], right[kept]

    def _shared(
        self, left: np.ndarray, right: np.ndarray, terms: np.ndarray, starts: np.ndarray, counts: np.ndarray
    ) -> np.ndarray:
        """How many sequences the two texts of each pair share."""
        lengths = counts[left]
        wanted = np.repeat(right, lengths) * len(self._vocabulary) + terms[_ranges(starts[left], lengths)]
        self._left -= len(wanted)
        place = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return np.bincount(np.repeat(np.arange(len(left)), lengths), self._keys[place] == wanted, len(left)).astype(np.int64)


def _least(sizes: np.ndarray) -> np.ndarray:
    """How many of its sequences a text shares at least with one that is nearly the same."""
    return np.maximum(1, np.ceil(SIMILAR * sizes)).astype(np.int64)


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """``starts[0], starts[0] + 1, …`` for ``lengths[0]`` numbers, then the same for the next."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))
