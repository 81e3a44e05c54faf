"""The directory of a staged recipe: a chain of ordinary runs under one parent, which serves the last of them. No torch.

recipe.yaml  manifest.json  stages/<stage>/
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunebench.errors import InputError
from tunebench.recipe import load
from tunebench.recipe.closed import NAME_PATTERN
from tunebench.recipe.resolve import digest_of
from tunebench.recipe.stages import Stage, StagedRecipe
from tunebench.runs.cache import folder_digest
from tunebench.runs.folder import Folder
from tunebench.runs.run import FORMAT_VERSION, STAGES, Run, is_leftover, is_run, sweep

MERGED = "merged"


class Chain(Folder):
    """One chain of runs. What its manifest says of the stages is a copy; the truth are their own directories."""

    @property
    def name(self) -> str:
        """The name in its recipe, which is the name of its folder."""
        return self.path.resolve().name

    @property
    def manifest(self) -> dict[str, Any]:
        """Name, task and digests of every stage, in order."""
        return self._read("manifest.json", ("stages",))

    @property
    def recipe(self) -> StagedRecipe:
        """The resolved recipe of all stages."""
        path = self.path / "recipe.yaml"
        found = load.validate_any(load.parse_yaml(self._text("recipe.yaml"), str(path)), str(path))
        if not isinstance(found, StagedRecipe):
            raise InputError(str(path), "has no stages; the run directory is damaged")
        return found

    def stages(self) -> dict[str, Run]:
        """The run of every stage by its name, in order, whether it is there yet or not."""
        names = [str(item["name"]) for item in self.manifest["stages"] if isinstance(item, dict) and "name" in item]
        if not names or not all(re.match(NAME_PATTERN, name) for name in names):
            raise InputError(str(self.path / "manifest.json"), "names no stages; the run directory is damaged")
        return {name: self.stage(name) for name in names}

    def stage(self, name: str) -> Run:
        """The run of a stage, whether it is there yet or not."""
        return Run(self.path / STAGES / name)

    def last(self) -> Run:
        """The run that the chain serves. Raises InputError while it is not there."""
        stages = self.stages()
        there = [f"{self.name}/{name}" for name, run in stages.items() if is_run(run.path)]
        *_, (name, run) = stages.items()
        if not is_run(run.path):
            begun = f"; there is {', '.join(there)}" if there else ""
            raise InputError(self.name, f"has not come to its last stage {name!r} yet; go on with `tunebench train`{begun}")
        return run

    def status(self) -> str:
        """``finished``, ``failed``, ``running`` or ``interrupted``: a fold over the stages and the lock."""
        found = {run.status() if is_run(run.path) else "absent" for run in self.stages().values()}
        if found == {"finished"}:
            return "finished"
        if "running" in found or self.is_locked():
            return "running"
        return "failed" if "failed" in found else "interrupted"

    def record(self, recipe: StagedRecipe) -> None:
        """Write down the resolved recipe and what every stage has come to."""
        created = self.manifest.get("created") if (self.path / "manifest.json").is_file() else None
        self.write_text("recipe.yaml", load.dump_recipe(recipe))
        self.write_json(
            "manifest.json",
            {
                "format": FORMAT_VERSION,
                "name": recipe.name,
                "created": created or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "seed": recipe.seed,
                "stages": [self._entry(stage) for stage in recipe.stages],
            },
        )

    def _entry(self, stage: Stage) -> dict[str, Any]:
        run = self.stage(stage.name)
        found = run.manifest if is_run(run.path) else {}
        return {
            "name": stage.name,
            "task": stage.task,
            "run": f"{STAGES}/{stage.name}",
            "identity": digest_of(found["identity"]) if found else None,
            "start_weights": (found.get("base") or {}).get("digest"),
            "end_weights": found.get("end_weights"),
            "merged_weights": found.get("merged_weights"),
        }


def is_chain(path: Path) -> bool:
    """Say whether the run directory at ``path`` is one of several stages."""
    return (path / STAGES).is_dir() and is_run(path)


@contextlib.contextmanager
def open_chain(runs: Path, recipe: StagedRecipe) -> Iterator[Chain]:
    """The directory of a staged recipe to work in, locked; a recipe's stages are compared with those there when they are opened.

    Raises InputError where something else bears the name.
    """
    chain = Chain(runs / recipe.name)
    chain.make()
    if is_run(chain.path) and not is_chain(chain.path):
        raise InputError(str(chain.path), "is the run of a recipe without stages; give the recipe another name")
    if not is_run(chain.path) and any(not is_leftover(path.name) and path.name != STAGES for path in chain.path.iterdir()):
        raise InputError(str(chain.path), "exists and is not a run; choose another name or --runs folder")
    with chain.locked():
        for place in (chain.path, chain.path / STAGES):
            sweep(place, deep=False)
        if not is_run(chain.path):
            with chain.writing():
                (chain.path / STAGES).mkdir(exist_ok=True)
            chain.record(recipe)
        yield chain


def whole_weights(run: Run) -> Path:
    """What a finished stage leaves to the next: ``merged/``, or ``model/`` of a method that trains whole weights.

    Raises InputError where the folder does not hold, byte for byte, what the stage left and proved.
    """
    folder, manifest = run.weights, run.manifest
    if folder.name == "adapter":
        folder, expected = run.path / MERGED, manifest.get("merged_weights")
        found = folder_digest(folder) if folder.is_dir() else None
        remedy = "remove that folder, and the same command merges again"
    else:
        expected, found = manifest.get("end_weights"), run.weights_digest() if folder.is_dir() else None
        remedy = f"restore them, or remove {run.path}, and the same command trains that stage again"
    if found is None or found != expected:
        what = "is not there" if found is None else "holds other files than the ones that were proved"
        raise InputError(str(folder), f"{what}, and the next stage starts from nothing else; {remedy}")
    return folder
