"""A search from its recipe to the best settings: propose, train, judge, write down; killed at any instant it goes on."""

from __future__ import annotations

import glob
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebench import __version__
from tunebench.binding import bind_recipe
from tunebench.errors import InputError, Interrupted, TunebenchError
from tunebench.recipe.load import dump_recipe
from tunebench.recipe.methods import TRAINED_KINDS
from tunebench.recipe.sources import Fraction
from tunebench.recipe.space import combinations, edges, metric_of, with_settings
from tunebench.recipe.spec import Recipe
from tunebench.runs import bases, hub_data
from tunebench.searching.following import follow
from tunebench.searching.ledger import BEST, TRIALS, Ledger, Trial
from tunebench.searching.study import judge, propose, require_optuna
from tunebench.train.stopping import Asked, Stopping

MOST_FAILURES = 3
"""So many trials that fail one after the other end a search: the next would too."""


@dataclass(frozen=True)
class Told:
    """A trial has ended: the trial, the best so far, and the seconds that those to come may take."""

    trial: Trial
    best: Trial | None
    trials: int
    metric: str
    left: float


def search(recipe: Recipe, runs: Path, tell: Callable[[Told], None], again: str, *, force: bool = False) -> dict[str, Any]:
    """Try settings out of a recipe's space, one trial after the other, and keep the best by validation; ``again`` continues it.

    The test rows are not scored, and a test file is not even opened. Raises InputError where another search stands in its
    place, naming what differs (with ``force`` that one goes), and TunebenchError where trials keep failing.
    """
    require_optuna()
    assert recipe.search is not None
    ledger, plain = Ledger(runs / f"{recipe.name}-search", recipe.name), without_test(recipe)
    said = _description(recipe, _looked_over(recipe, plain))
    number = min(recipe.search.trials, len(combinations(recipe, recipe.search.trials) or range(recipe.search.trials)))
    ledger.make()
    with ledger.locked(), Stopping() as stopping:
        ledger.open(said, force=force)
        ledger.check_known(list(recipe.search.space))
        try:
            _go_through(recipe, plain, ledger, number, tell, stopping)
        except (Asked, Interrupted):
            done = sum(trial.state != "begun" for trial in ledger.trials)
            raise Interrupted(f"{ledger.path}: stopped after {done} of {number} trials; `{again}` goes on from there") from None
    return _result(recipe, ledger, runs)


def without_test(recipe: Recipe) -> Recipe:
    """What a trial is told: no search, nothing to answer, no tracker, and no test file; test rows that are cut out of
    the training rows are still cut, so that no trial trains on them."""
    data = recipe.data.model_copy(update={"predict": None} | ({} if isinstance(recipe.data.test, Fraction) else {"test": None}))
    return chosen_by(recipe).model_copy(update={"data": data, "search": None, "report_to": []})


def chosen_by(recipe: Recipe) -> Recipe:
    """The recipe whose checkpoints are chosen by the score that the search seeks."""
    if recipe.method.kind not in TRAINED_KINDS and recipe.method.kind != "head":
        return recipe
    train = recipe.settings.model_copy(update={"metric_for_best_model": metric_of(recipe)})
    return recipe.model_copy(update={"train": train})


def best_of(trials: Sequence[Trial], metric: str) -> Trial | None:
    """The finished trial of the best score; of equals the first."""
    finished = [trial for trial in trials if trial.state == "finished" and trial.value is not None]
    sign = -1 if metric == "loss" else 1
    return max(finished, key=lambda trial: (sign * (trial.value or 0.0), -trial.number), default=None)


def _looked_over(recipe: Recipe, plain: Recipe) -> dict[str, Any]:
    """What decides a trial, beside its settings; whatever is wrong with data, base and the ends of the space is told here."""
    identity = bind_recipe(plain).identity
    if plain.base is not None and recipe.search is not None and "base.max_length" in recipe.search.space:
        config = bases.base_config(bases.base_folder(plain.base))
        for length in edges(recipe, "base.max_length"):
            bases.check_max_length(plain.base.model_copy(update={"max_length": length}), config)
    source = recipe.data.source("test")
    if source is not None and not glob.glob(str(path := hub_data.locator(recipe.data)(source.file))):
        raise InputError("data.test", f"{path} is not there; no trial reads it, but training with the best settings will")
    return identity


def _description(recipe: Recipe, identity: Mapping[str, Any]) -> dict[str, Any]:
    """What ``search.json`` says beside the trials. How many are wanted decides nothing: more may be asked for later."""
    assert recipe.search is not None
    metric, asked = metric_of(recipe), recipe.search.model_dump(mode="json", exclude_none=True)
    space = {f"search.space.{name}": value for name, value in asked["space"].items()}
    own = {key: value for key, value in identity.items() if key not in asked["space"]}
    return {
        "tunebench": __version__,
        "name": recipe.name,
        "metric": metric,
        "direction": "minimize" if metric == "loss" else "maximize",
        "identity": own | space | {"search.metric": metric, "search.pruner": recipe.search.pruner},
    }


def _go_through(
    recipe: Recipe, plain: Recipe, ledger: Ledger, number: int, tell: Callable[[Told], None], stopping: Stopping
) -> None:
    """Every trial that is still to be made, in order."""
    metric, begun, made, failures = metric_of(recipe), time.monotonic(), 0, 0
    while len(done := [trial for trial in ledger.trials if trial.state != "begun"]) < number:
        waiting = ledger.trials[len(done) :]
        trial = waiting[0] if waiting else Trial(len(done) + 1, propose(recipe, done))
        ledger.put(trial)
        path, run = ledger.recipe_of(trial.number, with_settings(plain, trial.settings)), ledger.run(trial.number)
        opinion = judge(recipe, done, trial.settings)
        trial = follow(trial, run, path, ledger.path / TRIALS / f"{run.path.name}.log", metric, opinion, stopping)
        ledger.put(trial)
        ledger.tidy(trial)
        best, made = best_of(ledger.trials, metric), made + 1
        if best is trial:
            ledger.write_text(BEST, _best_recipe(recipe, best, len(ledger.trials)))
        failures = failures + 1 if trial.state == "failed" else 0
        mean = (time.monotonic() - begun) / made
        tell(Told(trial, best, number, metric, mean * (number - trial.number)))
        if failures == MOST_FAILURES:
            raise TunebenchError(f"{ledger.path}: {failures} trials failed one after the other; the last one: {trial.error}")


def _best_recipe(recipe: Recipe, best: Trial, number: int) -> str:
    """The recipe with the best settings, ready for ``tunebench train``."""
    found = with_settings(chosen_by(recipe), best.settings).model_copy(update={"name": f"{recipe.name}-best"})
    metric = metric_of(recipe)
    words = f"# The best of {number} trials by `tunebench search`: number {best.number}, validation {metric} {best.value:.4f}.\n"
    return words + dump_recipe(found)


def _result(recipe: Recipe, ledger: Ledger, runs: Path) -> dict[str, Any]:
    metric, data = metric_of(recipe), recipe.data
    best = best_of(ledger.trials, metric)
    if best is None:
        last = next((trial.error for trial in reversed(ledger.trials) if trial.error), "none was finished")
        raise TunebenchError(f"{ledger.path}: no trial came to an end; the last fault: {last}")
    path = ledger.path / BEST
    ledger.write_text(BEST, _best_recipe(recipe, best, len(ledger.trials)))
    return {
        "search": ledger.name,
        "path": str(ledger.path),
        "metric": metric,
        "direction": "minimize" if metric == "loss" else "maximize",
        "trials": [
            trial.as_dict() | {"run": str(run) if (run := ledger.run(trial.number).path).is_dir() else None}
            for trial in ledger.trials
        ],
        "best": best.as_dict(),
        "recipe": str(path),
        "has_test": data.test is not None,
        "next": shlex.join(["tunebench", "train", str(path), "--runs", str(runs)]),
    }
