"""A staged recipe as a chain of runs: every stage starts from exactly the weights that the one before it left."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from tunebench.binding import Bound, bind_recipe
from tunebench.events import Noted, Staged
from tunebench.fitting import Watch
from tunebench.recipe.spec import Recipe
from tunebench.recipe.stages import StagedRecipe
from tunebench.runs.chain import MERGED, Chain, open_chain, whole_weights
from tunebench.runs.taken import take_over
from tunebench.training import Trained, merge_run, train_run


def train_stages(
    recipe: StagedRecipe, runs: Path, watch: Watch, command: str, *, force: bool = False, test: bool = True
) -> Trained:
    """Train every stage in order, each in a run of its own, from the weights that the one before it left.

    A finished stage of the same settings, data and base is taken as it is; whatever an interrupted one lacks is done, so
    the same command goes on. Raises InputError for a finished stage of other settings; with ``force`` that one goes first.
    Without ``test`` no test split is scored.
    """
    rehearsed = rehearse(recipe)
    complete, first = resolved(recipe, [bound.recipe for bound in rehearsed]), rehearsed[0]
    del rehearsed  # later stages are bound again, on the weights that are there then
    done: list[Trained] = []
    with open_chain(runs, complete) as chain:
        for number, stage in enumerate(recipe.stages):
            every = stage.train.logging_steps if stage.train else 1
            watch(Staged(number + 1, len(recipe.stages), stage.name, stage.task, every))
            bound = _bind_stage(recipe, number, whole_weights(done[-1].run), chain) if done else first
            done.append(_train_stage(chain, recipe, number, bound, watch, command, force=force, test=test))
            if not done[-1].already_finished:
                chain.record(complete)
                _release_memory()
        chain.record(complete)
    return Trained(done[-1].run, all(one.already_finished for one in done), tuple(done))


def rehearse(recipe: StagedRecipe) -> list[Bound]:
    """Every stage resolved, its data found and read, on the base of the first one: what is wrong with the last
    stage is told before the first is trained."""
    return [bind_recipe(stage) for stage in recipe.recipes()]


def resolved(recipe: StagedRecipe, stages: list[Recipe]) -> StagedRecipe:
    """The staged recipe with everything filled in that its stages' own recipes say."""
    filled = [
        stage.model_copy(update={"data": own.data, "prompt": own.prompt, "method": own.method, "train": own.train})
        for stage, own in zip(recipe.stages, stages, strict=True)
    ]
    assert stages[0].base is not None
    pinned = recipe.base.model_copy(update={"revision": stages[0].base.revision})
    return recipe.model_copy(update={"base": pinned, "stages": filled})


def _train_stage(
    chain: Chain, recipe: StagedRecipe, number: int, bound: Bound, watch: Watch, command: str, *, force: bool, test: bool
) -> Trained:
    """Train, take over or find finished one stage; at the end its weights are whole where the next one needs them."""
    stage = recipe.stages[number]
    path = chain.stage(stage.name).path
    taken = take_over(chain.path.parent, path, bound.recipe, bound.identity)
    if taken:
        watch(Noted(taken))
    trained = train_run(bound, path, watch, command, force=force, test=test)
    if trained.already_finished and not taken:
        watch(Noted(f"{path} is finished; it is taken as it is"))
    if not stage.merge or (trained.run.manifest.get("merged_weights") and (path / MERGED).is_dir()):
        return trained
    merge_run(trained.run, watch)
    return Trained(trained.run, already_finished=False)


def _bind_stage(recipe: StagedRecipe, number: int, start: Path, chain: Chain) -> Bound:
    """A later stage ready to become a run. The weights it starts from are named relative to it, as both move together."""
    path = chain.stage(recipe.stages[number].name).path
    bound = bind_recipe(recipe.stage_recipe(number, os.path.abspath(start)))
    assert bound.base is not None
    return dataclasses.replace(bound, base=bound.base | {"model": os.path.relpath(start, path)})


def _release_memory() -> None:
    from tunebench.model.release import release_memory

    release_memory()
