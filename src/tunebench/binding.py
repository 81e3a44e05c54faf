"""From a recipe to everything it names: found, read, digested. No torch: bad input fails within a second."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunebench.data import dataset
from tunebench.data.weights import label_weights
from tunebench.errors import InputError
from tunebench.predict.tokenizer_files import open_tokenizer
from tunebench.recipe.load import load_recipe
from tunebench.recipe.resolve import identity, resolve
from tunebench.recipe.spec import Recipe
from tunebench.runs import bases, environment, hub_data
from tunebench.runs.run import FORMAT_VERSION, Run


@dataclass(frozen=True)
class Bound:
    """A recipe with everything it names found, read and digested: ready to become a run."""

    recipe: Recipe
    data: dataset.Dataset
    base: dict[str, Any] | None
    identity: dict[str, Any]


def bind(source: str, overrides: Sequence[str] = ()) -> Bound:
    """Load, resolve, bind and digest a recipe. No torch: bad input fails within a second."""
    recipe, base, held = load_recipe(source, overrides), None, None
    if recipe.base is not None:
        folder = bases.base_folder(recipe.base)
        config, pinned = bases.base_config(folder), bases.pinned(recipe.base, folder)
        bases.check_max_length(pinned, config)
        held = bases.weight_names(folder)
        open_tokenizer(folder)  # one that is missing or does not fit is refused here
        recipe = recipe.model_copy(update={"base": pinned})
        base = {
            "model": pinned.model,
            "revision": pinned.revision,
            "architecture": config.get("model_type"),
            "digest": bases.base_digest(folder),
        }
    recipe = resolve(recipe, base["architecture"] if base else None, held)
    recipe = recipe.model_copy(update={"data": hub_data.pinned(recipe.data)})
    data = dataset.bind(recipe.data, recipe.seed, hub_data.locator(recipe.data))
    label_weights(recipe.settings.class_weight, data.labels, data.train.labels)  # unsound ones are refused here
    return Bound(recipe, data, base, identity(recipe, data.digest(), base["digest"] if base else None))


def manifest_of(bound: Bound) -> dict[str, Any]:
    """Everything that is decided before the job begins."""

    def source(split: str) -> str:
        found = bound.recipe.data.source(split)
        place = f"{bound.recipe.data.dataset}: " if bound.recipe.data.dataset else ""
        return place + found.file if found else "cut from train"

    return {
        "format": FORMAT_VERSION,
        "name": bound.recipe.name,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "identity": bound.identity,
        "seed": bound.recipe.seed,
        "versions": environment.versions(),
        "hardware": environment.hardware(),
        "base": bound.base,
        "labels": bound.data.labels.as_dict(),
        "texts_shared_between_splits": bound.data.shared_texts(),
        "data": {
            name: {"source": source(name), "rows": len(rows), "digest": rows.digest()}
            for name, rows in bound.data.splits().items()
        },
    }


def sealed_rows(run: Run) -> dataset.Rows:
    """The test rows of a run, the same that it was scored on; InputError where there are none or they have changed."""
    bound = dataset.bind(run.recipe.data, run.recipe.seed, hub_data.locator(run.recipe.data))
    if bound.test is None:
        raise InputError(run.name, "its recipe has no test split; give a labelled file with --data")
    if bound.test.digest() != run.manifest["data"]["test"]["digest"]:
        raise InputError(run.name, "the test rows have changed since the run; restore the file, or give it with --data")
    return bound.test
