"""Which method is better than which: every claim that a comparison makes, with its test, and what has to be said beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunebench.compare import statistics
from tunebench.compare.analysis import Answers, TestedRows

LEVEL = 0.05
FEW_GROUPS, FEW_SEEDS = 30, 5
MCNEMAR, BOOTSTRAP = "McNemar exact", "paired bootstrap"
Statement = dict[str, Any]


@dataclass(frozen=True)
class Evidence:
    """What methods answered on the same rows: the cells of each by its name, best method first.

    ``unseeded`` are the names of methods that no seed changes.
    """

    rows: TestedRows
    methods: Mapping[str, Sequence[Answers]]
    unseeded: frozenset[str] = frozenset()

    @property
    def resampled(self) -> bool:
        """Say whether the tests are bootstraps: with several seeds, and where rows come in groups.

        McNemar's test takes rows as independent, which rows of one group are not.
        """
        return self.rows.groups is not None or any(len(cells) > 1 for cells in self.methods.values())

    def draws(self) -> dict[str, np.ndarray]:
        """The accuracy of every method in every resample ``(DRAWS,)``, the mean over its resampled seeds."""
        cells = [cell for found in self.methods.values() for cell in found]
        hits, asked = (np.column_stack([getattr(cell, name) for cell in cells]) for name in ("hits", "asked"))
        ends = np.cumsum([len(found) for found in self.methods.values()]).tolist()
        places = [range(end - len(found), end) for end, found in zip(ends, self.methods.values(), strict=True)]
        drawn = statistics.over_seeds(statistics.accuracy_draws(hits, asked, self.rows.groups), places)
        return dict(zip(self.methods, drawn.T, strict=True))


def pairs(names: Sequence[str], references: Sequence[str | None]) -> list[tuple[str, str]]:
    """Every method against each reference, none twice; ``names`` are best first, and so is each pair."""
    found = [
        (name, other) if names.index(name) < names.index(other) else (other, name)
        for other in references
        if other is not None
        for name in names
        if name != other
    ]
    return list(dict.fromkeys(found))


def statements(evidence: Evidence, wanted: Sequence[tuple[str, str]], draws: Mapping[str, np.ndarray]) -> list[Statement]:
    """The claims about ``wanted`` pairs, tested, and adjusted for being so many; ``draws`` are needed where ``resampled``."""
    found = [_mcnemar(evidence, pair) if not evidence.resampled else _bootstrap(evidence, pair, draws) for pair in wanted]
    for statement, adjusted in zip(found, statistics.holm([statement["p"] for statement in found]), strict=True):
        statement |= {"p_holm": adjusted, "distinguishable": adjusted < LEVEL}
        statement["text"] = _text(statement)
    return found


def notes(evidence: Evidence, number: int) -> list[str]:
    """What a reader has to know of the statements: how many they are, what was tested, what an interval is."""
    if not number:
        return []
    rows, several = evidence.rows, any(len(cells) > 1 for cells in evidence.methods.values())
    counted = f"the {number} statements made here" if number > 1 else "the one statement made here, which needs no adjusting"
    found = [
        f"p-values are two-sided and adjusted by Holm's method for {counted}; a difference counts where p < {LEVEL} after that.",
        "Each interval is a 95 % interval by itself, not adjusted: where it leaves out 0 while p says nothing, believe p.",
    ]
    seeds_of = {name: len(cells) for name, cells in evidence.methods.items() if name not in evidence.unseeded}
    if len(evidence.methods) > 2:
        found.append(
            "Which method is the best was seen on the rows that test it, so its lead is a little too large (the winner's curse), "
            "and Holm's method does not make up for that; fresh rows tell."
        )
    if not evidence.resampled:
        other = ": other seeds could give another order; --seeds 5 tells more" if seeds_of else ""
        found.append(f"McNemar's exact test of single runs on the same rows, interval by Bonett and Price{other}.")
        return found
    drawn = "test rows" if rows.groups is None else f"whole groups of {rows.group_by!r}"
    seeds = "; what other seeds would give, by Student's t around the mean of those there are" if several else ""
    found.append(f"Paired bootstrap of {statistics.DRAWS:,} draws: {drawn} are drawn, the same for both methods{seeds}.")
    if rows.groups is not None:
        count = int(rows.groups.max()) + 1
        rough = "; so few make all of this rough" if count < FEW_GROUPS else ""
        found.append(f"Rows of one group are not independent, so no test takes them as such; there are {count:,} groups{rough}.")
    if single := [name for name, number in seeds_of.items() if number == 1]:
        found.append(f"Of one seed only: {', '.join(single)}; what another seed would change there is not in the intervals.")
    if few := [f"{name} ({number})" for name, number in seeds_of.items() if 1 < number < FEW_SEEDS]:
        found.append(
            f"Of few seeds: {', '.join(few)}. Intervals are wide then, and only large differences are told apart; "
            "--seeds 5 tells more."
        )
    return found


def _mcnemar(evidence: Evidence, pair: tuple[str, str]) -> Statement:
    first, second = (evidence.methods[name][0] for name in pair)
    both = first.asked & second.asked
    only, other = int((both & first.hits & ~second.hits).sum()), int((both & second.hits & ~first.hits).sum())
    n = int(both.sum())
    low, high = statistics.paired_interval(only, other, n)
    return _ordered(pair, (only - other) / max(1, n), low, high, statistics.mcnemar(only, other), MCNEMAR, n)


def _bootstrap(evidence: Evidence, pair: tuple[str, str], draws: Mapping[str, np.ndarray]) -> Statement:
    first, second = (evidence.methods[name] for name in pair)
    n = int(np.all([cell.asked for cell in (*first, *second)], axis=0).sum())
    value, drawn = mean_accuracy(first) - mean_accuracy(second), draws[pair[0]] - draws[pair[1]]
    low, high = statistics.percentiles(drawn)
    return _ordered(pair, value, min(low, value), max(high, value), statistics.two_sided(drawn), BOOTSTRAP, n)


def mean_accuracy(cells: Sequence[Answers]) -> float:
    """Accuracy over the rows that could be scored, the mean over the cells."""
    return float(np.mean([cell.hits.sum() / max(1, int(cell.asked.sum())) for cell in cells]))


def _ordered(pair: tuple[str, str], value: float, low: float, high: float, p: float, test: str, n: int) -> Statement:
    """The statement with the better one first."""
    better, worse = pair if value >= 0 else pair[::-1]
    low, high = (low, high) if value >= 0 else (-high, -low)
    figures = {"difference": abs(value), "low": low, "high": high, "p": p}
    return {"better": better, "worse": worse, **figures, "test": test, "n": n}


def _text(statement: Statement) -> str:
    better, worse, p = statement["better"], statement["worse"], told_p(statement["p_holm"])
    digits = 1 if statement["difference"] >= 0.001 or not statement["distinguishable"] else 3
    points, low, high = (f"{round(100 * statement[name], digits) + 0.0:.{digits}f}" for name in ("difference", "low", "high"))
    if statement["distinguishable"]:
        return f"{better} beats {worse} by {points} points [{low}, {high}], {p}"
    return f"{better} and {worse} are not distinguishable with n = {statement['n']:,} ({points} points [{low}, {high}], {p})"


def told_p(p: float) -> str:
    """A p-value in words: ``p < 0.001``, ``p = 0.012``, ``p = 0.41``; never rounded across the level."""
    if p < 0.001:
        return "p < 0.001"
    text = f"{p:.2f}" if p >= 0.1 else f"{p:.3f}"
    return f"p = {text}" if (float(text) < LEVEL) == (p < LEVEL) else f"p = {p:.6f}"
