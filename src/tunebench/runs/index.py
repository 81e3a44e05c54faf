"""What lies on the shelf: a run by its name or path, all runs under a folder, one line about each. No torch."""

from __future__ import annotations

import os
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

from tunebench.errors import InputError, TunebenchError, listing, nearest
from tunebench.events import Failed, Finished, Stopped
from tunebench.runs.cache import cached, file_digest
from tunebench.runs.chain import Chain, is_chain
from tunebench.runs.run import STAGES, Run, beside_its_base, is_run

STARTER_RUN = "starter"
_SHIPPED = Path(str(resources.files("tunebench") / "starter_run"))


def find_run(name: str, runs: Path) -> Run:
    """A run by path, by its name under ``runs``, or the shipped ``starter``; InputError says what there is.

    A chain of stages serves its last one; ``CHAIN/STAGE`` is any of them.
    """
    found = run_at(Path(name)) or run_at(runs / name)
    if found is not None:
        return found
    if name == STARTER_RUN and is_run(_SHIPPED):
        return _unpacked_starter()
    known = [command_name(run) for run in list_runs(runs)]
    there = f"runs in {runs} are {listing(known)}" if known else f"there is none in {runs}"
    shipped = f", and {STARTER_RUN!r} comes with tunebench" if is_run(_SHIPPED) else ""
    raise InputError(name, f"no such run{nearest(name, known)}; {there}{shipped}; `tunebench train RECIPE` makes one")


def run_at(path: Path) -> Run | None:
    """The run at a path, or the one that a chain there serves; None where there is neither."""
    if is_run(path):
        return Chain(path).last() if is_chain(path) else Run(path)
    stage = path.parent / STAGES / path.name
    return Run(stage) if is_chain(path.parent) and is_run(stage) else None


def _unpacked_starter() -> Run:
    """The shipped run, copied into the cache: what is done with it must not write into the installed package."""

    def copy(folder: Path) -> None:
        shutil.copytree(_SHIPPED, folder / STARTER_RUN)

    return Run(cached("starter-run", file_digest(_SHIPPED / "manifest.json"), copy) / STARTER_RUN)


def list_runs(runs: Path) -> list[Run | Chain]:
    """All run directories directly under a folder, by name; a chain is followed by those of its stages that are there."""
    if not runs.is_dir():
        return []
    found: list[Run | Chain] = []
    for path in sorted(runs.iterdir()):
        if is_chain(path):
            found += [Chain(path), *_stages_there(Chain(path))]
        elif is_run(path):
            found.append(Run(path))
    return found


def _stages_there(chain: Chain) -> list[Run]:
    try:
        return [run for run in chain.stages().values() if is_run(run.path)]
    except TunebenchError:  # the line about the chain tells it
        return []


def command_name(run: Run | Chain) -> str:
    """What a command calls the run: its name, of a stage ``CHAIN/STAGE``."""
    path = run.path.resolve()
    return f"{path.parent.parent.name}/{path.name}" if path.parent.name == STAGES and is_chain(path.parent.parent) else path.name


def summary(run: Run | Chain) -> dict[str, Any]:
    """One line about a run for lists; a damaged run says so instead of failing the list."""
    line = {"run": command_name(run), "status": "damaged", "base": "-", "method": "-", "accuracy": None, "perplexity": None}
    line |= {"best_step": None, "path": os.path.relpath(run.path)}
    try:
        return line | (_of_chain(run) if isinstance(run, Chain) else _of_run(run))
    except TunebenchError as error:
        return line | {"error": str(error)}


def _of_chain(chain: Chain) -> dict[str, Any]:
    recipe, (*_, last) = chain.recipe, chain.stages().values()
    served = _of_run(last) if is_run(last.path) else {}
    return {
        "status": chain.status(),
        "base": recipe.base.model,
        "method": f"{len(recipe.stages)} stages",
        "accuracy": served.get("accuracy"),
        "perplexity": served.get("perplexity"),
    }


def _of_run(run: Run) -> dict[str, Any]:
    recipe, metrics, _ = run.recipe, run.metrics, run.manifest
    base = beside_its_base(recipe, run.path).base
    test = metrics.get("test") or {}
    said = list(run.events(Stopped, Finished, Failed))
    best = [event.best_step for event in said if isinstance(event, Stopped)]
    return {
        "status": run.status_after(said),
        "base": base.model if base else "-",
        "method": recipe.method.kind,
        "accuracy": test.get("accuracy", {}).get("value"),
        "perplexity": test.get("perplexity_per_character", {}).get("value"),
        "best_step": best[0] if best else None,
    }
