"""A finished stage that another chain has already: copied instead of trained once more. No torch."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

from tunebench.errors import TunebenchError
from tunebench.events import Noted
from tunebench.recipe.load import dump_recipe
from tunebench.recipe.resolve import differing_keys
from tunebench.recipe.spec import Recipe
from tunebench.runs.card import model_card
from tunebench.runs.chain import MERGED
from tunebench.runs.index import command_name, list_runs
from tunebench.runs.run import Run, beside_its_base, chain_of, is_leftover, is_run

_LINKED = (".safetensors", ".parquet")
"""Files that are large, and never written into again: they may be one file in two places."""
_NOT_TAKEN = ("checkpoints", "trackers", "merged-unproved")


def take_over(runs: Path, path: Path, recipe: Recipe, identity: dict[str, Any]) -> str | None:
    """Fill the place of a stage that is not there with a finished one of the same identity, out of any chain below ``runs``.

    Says what was taken; None where there is nothing to take, or where the stage has its own run already.
    """
    if is_run(path) or (path.exists() and not all(is_leftover(inner.name) for inner in path.iterdir())):
        return None
    for run in list_runs(runs):
        if isinstance(run, Run) and chain_of(run.path) and _is_same(run, path, recipe, identity):
            with run.locked():
                _copy(run, path, recipe)
            words = f"taken over from {command_name(run)}, which is finished, of the same settings, data and base"
            Run(path).record(Noted(words))
            return f"{path}: {words}"
    return None


def _is_same(run: Run, path: Path, recipe: Recipe, identity: dict[str, Any]) -> bool:
    """Say whether a run is what the recipe would come to in ``path``, and names its base in the same way."""
    try:
        if not run.is_finished() or differing_keys(run.manifest["identity"], identity):
            return False
        run.check_weights()
        return beside_its_base(run.recipe, run.path).base == beside_its_base(recipe, path).base
    except TunebenchError:  # a damaged run is nobody's start
        return False


def _copy(run: Run, path: Path, recipe: Recipe) -> None:
    """The run under its new name; it appears whole."""
    part = Run(path.with_name(f".{path.name}.part"))
    with part.writing():
        shutil.copytree(run.path, part.path, ignore=_left_out, copy_function=_link_or_copy)
    part.write_text("recipe.yaml", dump_recipe(beside_its_base(recipe, path)))
    part.write_json("manifest.json", part.manifest | {"name": recipe.name, "taken_from": command_name(run)})
    part.write_text(f"{part.weights.name}/README.md", model_card(part, part.metrics))
    if (part.path / MERGED).is_dir():
        part.write_text(f"{MERGED}/README.md", model_card(part, part.metrics, merged=True))
    with part.writing():
        shutil.rmtree(path, ignore_errors=True)  # which holds leftovers only
        part.path.rename(path)


def _left_out(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(".") or name in _NOT_TAKEN]


def _link_or_copy(source: str, target: str) -> None:
    if source.endswith(_LINKED):
        with contextlib.suppress(OSError):  # the file system knows no links
            os.link(source, target)
            return
    shutil.copy2(source, target)
