"""What to try next, and what to stop early: Optuna, told everything anew for every trial, so that it has no state to keep."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from tunebench.errors import MissingExtra
from tunebench.recipe.resolve import digest_of
from tunebench.recipe.search import Range, Search
from tunebench.recipe.space import combinations, is_whole, metric_of, number
from tunebench.recipe.spec import Recipe
from tunebench.searching.ledger import Trial

if TYPE_CHECKING:
    import optuna

MOST_COMBINATIONS = 10_000
"""A space with no more than that many is never asked for the same settings twice."""


class Judge(Protocol):
    """Says after every evaluation of a trial whether it is to be stopped."""

    def is_hopeless(self, score: float) -> bool:
        """Take in the score of the next evaluation."""
        ...


def require_optuna() -> None:
    """MissingExtra where this installation cannot search."""
    if find_spec("optuna") is None:
        raise MissingExtra("optuna", "search", "`tunebench search`")


def propose(recipe: Recipe, done: Sequence[Trial]) -> dict[str, Any]:
    """Settings for the trial after ``done``. The same space, seed and trials give the same settings, however often asked."""
    study, space = _study(recipe, done), _distributions(recipe)
    given = study.ask(space).params
    found = {name: _decoded(recipe, name, given[name]) for name in space}
    if all(_written(found) != _written(trial.settings) for trial in done):
        return found
    tried = {_written(trial.settings) for trial in done}
    untried = [item for item in combinations(recipe, MOST_COMBINATIONS) or [] if _written(item) not in tried]
    return random.Random(_seed(recipe, done)).choice(untried) if untried else found


def judge(recipe: Recipe, done: Sequence[Trial], settings: Mapping[str, Any]) -> Judge:
    """What stops the trial of these settings early, by the scores of the trials before it."""
    study = _study(recipe, done)
    study.enqueue_trial({name: _encoded(recipe, name, value) for name, value in settings.items()})
    return _Judge(study.ask(_distributions(recipe)))


class _Judge:
    def __init__(self, trial: optuna.Trial) -> None:
        self._trial, self._seen = trial, 0

    def is_hopeless(self, score: float) -> bool:
        self._seen += 1
        self._trial.report(score, self._seen)
        return self._trial.should_prune()


def _study(recipe: Recipe, done: Sequence[Trial]) -> optuna.Study:
    """A study in memory that knows the trials so far. Its sampler is seeded by their number: none has a state to be kept."""
    import optuna  # noqa: PLC0415 - an extra, and slow to import

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    states = {name: optuna.trial.TrialState[name] for name in ("COMPLETE", "PRUNED", "FAIL")}
    state_of = {"finished": states["COMPLETE"], "pruned": states["PRUNED"], "failed": states["FAIL"]}
    study = optuna.create_study(
        study_name="tunebench",
        direction="minimize" if metric_of(recipe) == "loss" else "maximize",
        sampler=optuna.samplers.TPESampler(seed=_seed(recipe, done)),
        pruner=_pruner(_search_of(recipe)),
    )
    space = _distributions(recipe)
    for trial in done:
        study.add_trial(
            optuna.trial.create_trial(
                state=state_of[trial.state],
                value=trial.value if trial.state != "failed" else None,
                params={name: _encoded(recipe, name, value) for name, value in trial.settings.items()},
                distributions=space,
                intermediate_values=dict(enumerate(trial.scores, 1)),
            )
        )
    return study


def _pruner(search: Search) -> optuna.pruners.BasePruner:
    import optuna  # noqa: PLC0415 - an extra, and slow to import

    return optuna.pruners.MedianPruner(n_startup_trials=5) if search.pruner == "median" else optuna.pruners.NopPruner()


def _distributions(recipe: Recipe) -> dict[str, optuna.distributions.BaseDistribution]:
    """The space as Optuna knows it; a choice, which may be anything, is known by its place."""
    from optuna.distributions import (  # noqa: PLC0415 - an extra, and slow to import
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    def distribution(name: str, given: list[Any] | Range) -> BaseDistribution:
        if not isinstance(given, Range):
            return CategoricalDistribution(range(len(given)))
        if is_whole(recipe, name):
            return IntDistribution(int(given.low), int(given.high), log=given.log, step=int(given.step or 1))
        return FloatDistribution(given.low, given.high, log=given.log, step=given.step)

    return {name: distribution(name, given) for name, given in _search_of(recipe).space.items()}


def _decoded(recipe: Recipe, name: str, value: Any) -> Any:
    """A proposed value as the setting takes it: numbers are cut to what a reader can tell apart."""
    given = _search_of(recipe).space[name]
    if not isinstance(given, Range):
        return given[value]
    rounded = float(f"{value:.{4 if given.step is None else 12}g}")
    return value if is_whole(recipe, name) else number(recipe, name, min(max(rounded, given.low), given.high))


def _encoded(recipe: Recipe, name: str, value: Any) -> Any:
    given = _search_of(recipe).space[name]
    return value if isinstance(given, Range) else [_written(item) for item in given].index(_written(value))


def _search_of(recipe: Recipe) -> Search:
    assert recipe.search is not None
    return recipe.search


def _seed(recipe: Recipe, done: Sequence[Trial]) -> int:
    return int(digest_of([recipe.seed, len(done)])[:8], 16)


def _written(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
