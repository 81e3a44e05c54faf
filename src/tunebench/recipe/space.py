"""The space of a search over its recipe: which settings there are, what keeps a value from being tried, every combination."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from decimal import Decimal
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from tunebench.errors import nearest
from tunebench.recipe.faults import explain_faults, shown
from tunebench.recipe.methods import method_kinds
from tunebench.recipe.resolve import identity
from tunebench.recipe.search import Metric, Range
from tunebench.recipe.spec import TEXT_TASKS, Recipe, settings_group

SECTIONS = ("base", "method", "prompt", "train")
LONGEST_NAME = 90
"""What leaves room for the names of trials in the name of a run."""
_MODELS = "models are compared, not searched: give each a recipe, and both to `tunebench compare`"
_METHODS = "methods are compared, not searched, as each has settings of its own: give both recipes to `tunebench compare`"
_JUDGED = "all trials are judged at the same moments and by one score, or they could not be compared; remove it"
_UNSEARCHED = {
    "base.model": _MODELS,
    "base.revision": _MODELS,
    "method.kind": _METHODS,
    "train.eval_strategy": _JUDGED,
    "train.eval_steps": _JUDGED,
    "train.metric_for_best_model": f"{_JUDGED} and set search.metric",
    "train.load_best_model_at_end": _JUDGED,
}


def metric_of(recipe: Recipe) -> Metric:
    """The score of the validation rows that a search seeks: the one that also chooses each trial's best checkpoint."""
    asked = recipe.search.metric if recipe.search else None
    return asked or recipe.settings.metric_for_best_model or ("loss" if recipe.task in TEXT_TASKS else "accuracy")


def with_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe without its search and with some of its settings, by dotted name, replaced.

    Raises pydantic's ValidationError where they do not fit.
    """
    plain = recipe.model_dump(mode="json", exclude_none=True, exclude={"search"})
    for name, value in settings.items():
        section, _, key = name.partition(".")
        plain[section] = plain.get(section, {}) | {key: value}
    return Recipe.model_validate(plain)


def space_faults(recipe: Recipe) -> list[str]:
    """What is wrong with a recipe's search, every value of its space tried on the recipe, and every pair of values."""
    search = recipe.search
    if search is None:
        return []
    faults, metric = [], recipe.settings.metric_for_best_model
    if recipe.data.validation is None:
        faults.append("data.validation: trials are judged by their score on it; give a file, or {fraction: 0.1}")
    if recipe.settings.eval_strategy == "no":
        faults.append("train.eval_strategy: trials are judged by their evaluations; set it to epoch or steps")
    if search.metric is not None and metric not in (None, search.metric):
        faults.append(f"search.metric: is {search.metric}, and train.metric_for_best_model {metric}; keep one of them")
    if recipe.task in TEXT_TASKS and search.metric not in (None, "loss"):
        faults.append(f"search.metric: {recipe.task} has no labels; set it to loss, or remove it")
    if len(recipe.name) > LONGEST_NAME:
        faults.append(f"name: trials are named after it, so it has at most {LONGEST_NAME} characters here; shorten it")
    values: dict[str, list[Any]] = {}
    for name in search.space:
        found = _setting_fault(recipe, name) or _range_fault(recipe, name)
        if found:
            faults.append(f"search.space.{name}: {found}")
        else:
            values[name] = edges(recipe, name)
    return faults + (_value_faults(recipe, values) or _pair_faults(recipe, values))


def edges(recipe: Recipe, name: str) -> list[Any]:
    """The choices of a setting, or the ends of its range."""
    assert recipe.search is not None
    given = recipe.search.space[name]
    return [number(recipe, name, end) for end in (given.low, given.high)] if isinstance(given, Range) else list(given)


def number(recipe: Recipe, name: str, value: float) -> float | int:
    """A value of a range as the setting takes it."""
    return int(value) if is_whole(recipe, name) else value


def is_whole(recipe: Recipe, name: str) -> bool:
    """Say whether a setting takes whole numbers only."""
    group, _, key = name.partition(".")
    kinds = _alternatives(_section(recipe, group).model_fields[key].annotation)
    return int in kinds and float not in kinds


def combinations(recipe: Recipe, most: int) -> list[dict[str, Any]] | None:
    """Every combination of the space; None where there are more than ``most``."""
    columns: list[list[Any]] = []
    total = 1
    assert recipe.search is not None
    for name in recipe.search.space:
        values = list(itertools.islice(_values(recipe, name), most + 1))
        total *= len(values)
        if total > most:
            return None
        columns.append(values)
    return [dict(zip(recipe.search.space, values, strict=True)) for values in itertools.product(*columns)]


def _values(recipe: Recipe, name: str) -> Iterator[Any]:
    """Every value of a setting, endlessly many where it is a range without steps."""
    assert recipe.search is not None
    given = recipe.search.space[name]
    if not isinstance(given, Range):
        yield from given
        return
    step = given.step or (1 if is_whole(recipe, name) else 0)
    low, high = Decimal(repr(given.low)), Decimal(repr(given.high))
    for place in itertools.count():
        value = low + place * Decimal(repr(step))
        if value > high:
            return
        yield number(recipe, name, float(value))


def _section(recipe: Recipe, name: str) -> type[BaseModel]:
    group = settings_group(Recipe, name)
    return method_kinds()[recipe.method.kind] if group is None else group


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _setting_fault(recipe: Recipe, name: str) -> str | None:
    """Why a name is no setting that can be searched."""
    group, _, key = name.partition(".")
    if group not in SECTIONS or not key:
        return f"can be searched are settings of {', '.join(SECTIONS)}, written such as train.learning_rate: {{low: …, high: …}}"
    if name in _UNSEARCHED:
        return _UNSEARCHED[name]
    if key not in _section(recipe, group).model_fields:
        here = [f"{section}.{known}" for section in SECTIONS for known in _section(recipe, section).model_fields]
        whose = f" of the method {recipe.method.kind!r}" if group == "method" else ""
        return f"no setting{whose}{nearest(name, here)}"
    return None


def _range_fault(recipe: Recipe, name: str) -> str | None:
    """Why a range is none of the setting's numbers."""
    assert recipe.search is not None
    given = recipe.search.space[name]
    if not isinstance(given, Range) or not is_whole(recipe, name):
        return None
    parts = {"low": given.low, "high": given.high, "step": given.step}
    broken = [f"{part} {value:g}" for part, value in parts.items() if value is not None and value != int(value)]
    return f"takes whole numbers, found {', '.join(broken)}" if broken else None


def _value_faults(recipe: Recipe, values: Mapping[str, list[Any]]) -> list[str]:
    """Values that the recipe does not take, and settings of which every value gives the same run."""
    faults = []
    for name, column in values.items():
        refused = [fault for value in column if (fault := _refusal(recipe, {name: value}))]
        faults += [f"search.space.{fault}" for fault in refused]
        if not refused and len({str(_decides(recipe, {name: value})) for value in column}) == 1:
            faults.append(f"search.space.{name}: changes no result; remove it")
    return faults


def _pair_faults(recipe: Recipe, values: Mapping[str, list[Any]]) -> list[str]:
    """Values that the recipe takes one by one and not together."""
    faults = []
    for one, other in itertools.combinations(values, 2):
        for pair in itertools.product(values[one], values[other]):
            if fault := _refusal(recipe, dict(zip((one, other), pair, strict=True))):
                faults.append(f"search.space.{fault}")
    return faults


def _refusal(recipe: Recipe, settings: Mapping[str, Any]) -> str | None:
    try:
        with_settings(recipe, settings)
    except ValidationError as error:
        told = " and ".join(f"{name}: {shown(value)}" for name, value in settings.items())
        return f"{told} is refused ({'; '.join(explain_faults([dict(item) for item in error.errors()]))})"
    return None


def _decides(recipe: Recipe, settings: Mapping[str, Any]) -> dict[str, Any]:
    return identity(with_settings(recipe, settings), "", None)
