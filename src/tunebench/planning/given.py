"""What a recipe names and how much of it is at hand: the base's weights or only its shape, the data or only its settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from tunebench.binding import bind_recipe
from tunebench.data import dataset
from tunebench.data.items import flat
from tunebench.errors import InputError
from tunebench.model.shapes import describe
from tunebench.planning.footprint import model_on_meta
from tunebench.recipe.resolve import resolve
from tunebench.recipe.spec import Base, Recipe
from tunebench.runs import hub, hub_data
from tunebench.runs.bases import local_base
from tunebench.train.lessons import make_lesson


@dataclass(frozen=True)
class Given:
    """A resolved recipe with what was found of it. ``fetched`` bytes of the base are not on this machine yet."""

    recipe: Recipe
    config: PretrainedConfig
    folder: Path | None
    data: dataset.Dataset | None
    identity: dict[str, Any] | None
    fetched: bool
    notes: list[str]

    @property
    def num_labels(self) -> int:
        """Labels of the head."""
        return max(2, len(self.data.labels.names)) if self.data else 2

    def lengths(self) -> Sequence[int] | None:
        """Tokens of every training row as training would have them, or None where data or tokenizer are not at hand."""
        if self.data is None or self.folder is None or self.recipe.method.kind == "zero-shot":
            return None
        model = model_on_meta(self.recipe, self.config, self.num_labels)
        return make_lesson(self.recipe, self.data, self.folder).objective(model).lengths

    def characters(self, *splits: str) -> int:
        """Characters of the items of some splits."""
        found = self.data.splits() if self.data else {}
        return sum(len(flat(item)) for name in splits if name in found for item in found[name].texts)


def look_up(recipe: Recipe) -> Given:
    """Find base and data without fetching weights. InputError where steps cannot be known without the data that is missing."""
    assert recipe.base is not None
    folder = _at_hand(recipe.base)
    if folder is None:
        return _by_shape(recipe)
    try:
        bound = bind_recipe(recipe)
    except InputError as error:
        if error.subject.split(".")[0] in ("base", "method", "prompt", "train") or error.subject.startswith(str(folder)):
            raise
        return _without_data(recipe, error, folder)
    return Given(bound.recipe, _config(str(folder)), folder, bound.data, bound.identity, fetched=False, notes=[])


def _at_hand(base: Base) -> Path | None:
    return local_base(base.model) or hub.at_hand(base.model, base.revision)


def _config(model: str) -> PretrainedConfig:
    return describe(model).config


def _by_shape(recipe: Recipe) -> Given:
    """On the shape that a known base, or the hub's description of it, has."""
    assert recipe.base is not None
    shape = describe(recipe.base.model)
    note = f"the weights of {recipe.base.model} are not on this machine: counted on the shape of {shape.name}"
    resolved = resolve(recipe, shape.config.model_type)
    try:
        data = dataset.bind(recipe.data, recipe.data_seed, hub_data.locator(recipe.data), task=recipe.task)
    except InputError as error:
        found = _without_data(recipe, error, None)
        return Given(resolved, shape.config, None, None, None, fetched=True, notes=[note, *found.notes])
    return Given(resolved, shape.config, None, data, None, fetched=True, notes=[note])


def _without_data(recipe: Recipe, error: InputError, folder: Path | None) -> Given:
    if recipe.settings.max_steps is None:
        hint = "or set train.max_steps, and it is planned without the data, for texts as long as base.max_length"
        raise InputError(error.subject, [*error.faults, hint]) from None
    assert recipe.base is not None
    config = _config(str(folder) if folder else recipe.base.model)
    note = f"without the data ({error.subject}: {error.faults[0]}): every text is taken to be as long as base.max_length allows"
    return Given(resolve(recipe, config.model_type), config, folder, None, None, fetched=folder is None, notes=[note])
