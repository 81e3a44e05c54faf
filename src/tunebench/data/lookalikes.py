"""Labels that are probably one label written in two ways: ``Positive`` and ``positive``, ``positve`` and ``positive``."""

from __future__ import annotations

import contextlib
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from itertools import combinations

RARE = 0.1
"""A misspelling is found in at most this share of the rows of the label that is meant."""
MOST_LABELS = 1000
"""Among more labels, misspellings are not looked for; they are hardly labels."""
_LEAST_LETTERS = 4
_LONG = 10


def look_alikes(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Pairs ``(rarer, commoner)`` out of labels and how often they stand.

    The same number, or the same letters whatever case, spaces, hyphens and width: always. One letter wrong (two in a
    long name), none of them a digit: where one of both is rare beside the other.
    """
    ordered = sorted(counts, key=lambda name: (-counts[name], name))
    groups: dict[object, list[str]] = defaultdict(list)
    for name in ordered:
        groups[_essence(name)].append(name)
    found = {(rarer, group[0]) for group in groups.values() for rarer in group[1:]}
    kinds = [group[0] for group in groups.values()] if len(groups) <= MOST_LABELS else []
    found |= {(rarer, commoner) for commoner, rarer in combinations(kinds, 2) if _misspelt(rarer, commoner, counts)}
    return sorted(found)


def _essence(name: str) -> object:
    """What is left of a name without the ways of writing it."""
    visible = "".join(char for char in unicodedata.normalize("NFKC", name) if unicodedata.category(char) != "Cf")
    with contextlib.suppress(ValueError):
        if math.isfinite(number := float(visible)):
            return number
    return re.sub(r"(?<=[^\W_])[\s_-]+(?=[^\W_])", "", visible).casefold().strip()


def _misspelt(rarer: str, commoner: str, counts: Mapping[str, int]) -> bool:
    if counts[rarer] > max(1, RARE * counts[commoner]) or counts[rarer] == counts[commoner]:
        return False
    one, other = rarer.casefold(), commoner.casefold()
    if min(len(one), len(other)) < _LEAST_LETTERS or abs(len(one) - len(other)) > 2 or _digits(one) != _digits(other):
        return False
    prefixed = one.endswith(other) or other.endswith(one)  # `reasonable` is not `unreasonable`
    most = 2 if min(len(one), len(other)) >= _LONG and not prefixed else 1
    return len(set(one) ^ set(other)) <= 2 * most and _distance(one, other) <= most


def _digits(name: str) -> list[str]:
    return re.findall(r"\d+", name)


def _distance(one: str, other: str) -> int:
    """Letters to insert, leave out, replace or swap with their neighbour."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        row = [i]
        for j, right in enumerate(other, 1):
            best = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (left != right))
            if i > 1 and j > 1 and left == other[j - 2] and one[i - 2] == right:
                best = min(best, before[j - 2] + 1)
            row.append(best)
        before, last = last, row
    return last[-1]
