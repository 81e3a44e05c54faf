"""The baseline ``word-overlap`` of multiple-choice: the option whose words stand closest together in the passage.

The sliding window of Richardson, Burges and Renshaw 2013 (MCTest, EMNLP, algorithm 1): a window as long as the words of
question and option together moves over the passage; a word in it that is one of theirs is worth log(1 + 1 / its count in the
passage), and the best window is the option's score. Nothing is trained.

Beyond the paper: scripts without spaces between words (Han, kana) count by characters and pairs of neighbours, and an option
is put into the question's blanks (``____``, ``＿＿``) where it has any.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from tunebench.data.items import Question
from tunebench.predict.scorers import Scores

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_UNITS = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_BLANK = re.compile(r"_{2,}|＿+")


class OverlapScorer:
    """Scores the options of every question by its passage; all questions have as many options."""

    def __init__(self, choices: int) -> None:
        self._choices = choices

    @property
    def num_parameters(self) -> int:
        """None are fitted."""
        return 0

    def score(self, items: Sequence[Question], /) -> Scores:
        """The windows' scores as logits, in order; of options that score the same, the first is the answer."""
        logits = np.array([_scores(item) for item in items], np.float32).reshape(len(items), self._choices)
        return Scores(logits, [False] * len(items))


def _scores(asked: Question) -> list[float]:
    """The best window of every option, rounded so that sums of the same words are the same number."""
    passage = _features(asked.passage)
    counts = Counter(feature for here in passage for feature in here)
    worth = {feature: float(np.log1p(1 / count)) for feature, count in counts.items()}
    found = []
    for choice in asked.choices:
        sought = _features(f"{choice.join(_BLANK.split(asked.question))}\n{choice}")
        known, length = {feature for here in sought for feature in here}, len({here[0] for here in sought})
        values = np.array([sum(worth[feature] for feature in here if feature in known) for here in passage])
        found.append(round(_best_window(values, length), 6))
    return found


def _best_window(values: np.ndarray, length: int) -> float:
    """The largest sum of so many neighbours, or of all where there are fewer."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return float((sums[length:] - sums[:-length]).max() if 0 < length < len(values) else sums[-1])


def _features(text: str) -> list[tuple[str, ...]]:
    """What stands at every place of a text: a word, or a character with and without the one that follows it at once."""
    units = list(_UNITS.finditer(text.lower()))
    return [
        (unit[0], unit[0] + after[0]) if after is not None and unit.end() == after.start() and _single(unit[0]) else (unit[0],)
        for unit, after in zip(units, [*units[1:], None], strict=False)
    ]


def _single(unit: str) -> bool:
    return re.fullmatch(f"[{_UNSPACED}]", unit) is not None
