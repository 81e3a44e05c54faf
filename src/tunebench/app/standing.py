"""What the finished runs of a folder show: which scored best on the same test rows, and how far it is from a baseline."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from tunebench.errors import TunebenchError
from tunebench.recipe.methods import BASELINES
from tunebench.runs.chain import is_chain
from tunebench.runs.run import Run

MOST_COMPARISONS = 20
"""Comparisons that are looked through for a test of two runs, newest first."""
_DAMAGES = (TunebenchError, OSError, KeyError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True)
class Score:
    """An accuracy with its 95 % interval, and whose it is."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Standing:
    """A finished run and its accuracy on ``rows`` test rows, whose digest is ``test``.

    ``grouped`` says that the test rows come in groups, which the interval of a single run does not know. ``bars`` are the
    baselines that the run itself fitted, on the same rows.
    """

    run: str
    method: str
    base: str
    score: Score
    rows: int
    test: str
    trainable: int | None
    seconds: float | None
    grouped: bool
    bars: tuple[Score, ...]


@dataclass(frozen=True)
class Conclusion:
    """What may be said of the best run of a board.

    ``verdict`` is ``alone`` (no baseline is known), ``baseline`` (the best is one), ``baselines_only``, ``beats`` or ``not_told``
    (a paired test of a comparison), and without such a test ``below`` (the baseline scored higher), ``apart`` or ``overlap`` (by
    both intervals) or ``grouped`` (rows in groups: only a comparison can tell). ``difference`` is in shares, with its interval
    and ``p`` where it was tested. ``close`` names the other runs that were set against the best and not told apart from it.
    """

    best: Score
    rows: int
    verdict: str
    bar: Score | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    close: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compared:
    """What a comparison found: accuracies by the names of the runs behind them, and its paired tests."""

    test: str
    scores: Mapping[str, Score]
    statements: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    def between(self, one: str, other: str) -> Mapping[str, Any] | None:
        """The test of two runs; None where it made none."""
        return next((found for found in self.statements if {found["better"], found["worse"]} == {one, other}), None)


def standings(lines: Sequence[Mapping[str, Any]]) -> list[Standing]:
    """The finished, scored runs among the ``lines`` of a folder: a chain by its stages, what is damaged not at all."""
    wanted = [line for line in lines if line["status"] == "finished" and line["accuracy"] is not None]
    found = [_standing(line) for line in wanted if not is_chain(Path(line["path"]))]
    return [standing for standing in found if standing is not None]


def boards(found: Sequence[Standing]) -> list[list[Standing]]:
    """The runs by test rows, best accuracy first; the board with the most runs first."""
    by_rows: dict[str, list[Standing]] = {}
    for one in sorted(found, key=lambda one: (-one.score.value, one.run)):
        by_rows.setdefault(one.test, []).append(one)
    return sorted(by_rows.values(), key=len, reverse=True)


def as_compared(board: Sequence[Standing], known: Sequence[Compared]) -> list[Standing]:
    """The board with the intervals of the newest comparison that has a run as it is now: those know groups of rows."""
    return [
        replace(one, score=next((found.scores[one.run] for found in known if _speaks_of(found, one)), one.score)) for one in board
    ]


def conclude(board: Sequence[Standing], known: Sequence[Compared]) -> Conclusion:
    """What may be said of the best of a board: by the newest comparison that tested it, else by the intervals."""
    best, bar = board[0], _bar(board)
    close = tuple(one.run for one in board[1:] if _close(best, one, known))
    if best.method in BASELINES:
        trained = any(one.method not in BASELINES for one in board)
        return Conclusion(best.score, best.rows, "baseline" if trained else "baselines_only", close=close)
    if bar is None:
        return Conclusion(best.score, best.rows, "alone", close=close)
    difference = best.score.value - bar.value
    other = next((one for one in board if one.run == bar.name and one.method in BASELINES), None)
    test = None if other is None else _test(best, other, known)
    if test is None:
        return Conclusion(best.score, best.rows, _by_intervals(best, bar), bar, difference, close=close)
    verdict = "beats" if test["distinguishable"] and test["better"] == best.run else "not_told"
    return Conclusion(best.score, best.rows, verdict, bar, difference, test["low"], test["high"], test["p_holm"], close)


def comparisons(places: Iterable[Path]) -> list[Compared]:
    """What the comparisons written to ``places`` found, newest first; of several seeds only rows that are one run."""
    dated = []
    for place in places:
        try:
            status = place.stat()
        except OSError:
            continue
        dated.append((status.st_mtime_ns, status.st_size, str(place)))
    found = [_compared(path, changed, size) for changed, size, path in sorted(dated, reverse=True)[:MOST_COMPARISONS]]
    return [one for one in found if one is not None]


@lru_cache(maxsize=2 * MOST_COMPARISONS)
def _compared(path: str, _changed: int, _size: int) -> Compared | None:
    try:
        told = json.loads(Path(path).read_text("utf-8"))
        single = {row["run"]: row for row in told["rows"] if row["error"] is None and len(row["cells"]) == 1}
        names = {name: str(row["cells"][0]["run"]) for name, row in single.items()}
        scores = {
            names[name]: Score(names[name], row["accuracy"], row["accuracy_low"], row["accuracy_high"])
            for name, row in single.items()
        }
        tests = [
            {**test, "better": names[test["better"]], "worse": names[test["worse"]]}
            for test in told["statements"]
            if test["better"] in names and test["worse"] in names
        ]
        return Compared(str(told["test"]["digest"]), scores, tests)
    except _DAMAGES:
        return None


def _standing(line: Mapping[str, Any]) -> Standing | None:
    try:
        run = Run(Path(line["path"]))
        metrics, manifest = run.metrics, run.manifest
        fitted = metrics.get("baselines") or {}
        return Standing(
            line["run"],
            line["method"],
            line["base"],
            _score(line["run"], metrics["test"]),
            int(metrics["test"]["accuracy"]["n"]),
            str(manifest["data"]["test"]["digest"]),
            (metrics.get("parameters") or {}).get("trainable"),
            metrics.get("train_seconds"),
            bool(manifest["identity"].get("data.test.group_by")),
            tuple(_score(name, told) for name, told in fitted.items() if told),
        )
    except _DAMAGES:
        return None


def _score(name: str, told: Mapping[str, Any]) -> Score:
    accuracy = told["accuracy"]
    return Score(name, float(accuracy["value"]), float(accuracy["low"]), float(accuracy["high"]))


def _bar(board: Sequence[Standing]) -> Score | None:
    """The best baseline: a run of its own, else one that the best run fitted."""
    own = [one.score for one in board if one.method in BASELINES]
    return max(own or board[0].bars, key=lambda score: score.value, default=None)


def _speaks_of(compared: Compared, one: Standing) -> bool:
    """Say whether a comparison speaks of this run as it is now."""
    return compared.test == one.test and one.run in compared.scores and compared.scores[one.run].value == one.score.value


def _test(one: Standing, other: Standing, known: Sequence[Compared]) -> Mapping[str, Any] | None:
    """The newest paired test of two runs as they are now."""
    fitting = (found for found in known if _speaks_of(found, one) and _speaks_of(found, other))
    return next((test for found in fitting if (test := found.between(one.run, other.run)) is not None), None)


def _close(best: Standing, other: Standing, known: Sequence[Compared]) -> bool:
    """Say whether another run was set against the best, by a test or by intervals, and not told apart from it."""
    test = _test(best, other, known)
    return _by_intervals(best, other.score) == "overlap" if test is None else not test["distinguishable"]


def _by_intervals(best: Standing, other: Score) -> str:
    """Two 95 % intervals apart mean a difference, however the answers to the same rows hang together; rows in groups do not."""
    if best.score.value < other.value:
        return "below"
    if best.grouped:
        return "grouped"
    return "apart" if best.score.low > other.high else "overlap"
