"""A matrix: one recipe with every base and every method that a file lists, each under several seeds."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from tunebench.errors import InputError, listing
from tunebench.recipe.closed import NAME_PATTERN, Spec
from tunebench.recipe.faults import explain_faults, shown
from tunebench.recipe.load import anchored, read_settings, validate
from tunebench.recipe.methods import BASELINES
from tunebench.recipe.spec import Recipe

OWN_KEYS = {"recipe", "bases", "methods", "seeds"}
UNSEEDED = (*BASELINES, "zero-shot")
"""Methods that no seed changes."""
_ALTERNATIVES = ("str", "dict[str,any]")
"""How pydantic calls the forms of an entry in the place of a fault."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
Settings = dict[str, Any]
Entries = Annotated[list[str | Settings], Field(min_length=1)]


class Matrix(Spec):
    """What is compared with what, over one recipe."""

    name: str = Field(pattern=NAME_PATTERN, description="Begins the name of every run of the matrix.")
    recipe: str | Settings = Field(
        description="What all runs have in common: a recipe file relative to this one, a preset, or the settings themselves."
    )
    bases: Entries | None = Field(
        None,
        description="Pretrained models in place of the recipe's: a name as in `base.model`, or settings of `base` with, where "
        "wanted, a `name` for the runs.",
    )
    methods: Entries | None = Field(
        None,
        description="Methods in place of the recipe's: a kind, or settings of `method` with, where wanted, a `name` for the runs "
        "and settings of `train` that go with it, such as its learning rate.",
    )
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1)] | None = Field(
        None, description="Every run is trained once with each, on the same rows; the recipe's own without it."
    )


@dataclass(frozen=True)
class Combination:
    """One row of the comparison: a recipe, named, and the seeds that it is trained with."""

    recipe: Recipe
    seeds: tuple[int, ...]


def is_matrix(settings: Settings) -> bool:
    """Say whether a file means a matrix rather than a recipe."""
    return bool(OWN_KEYS & settings.keys()) and not {"data", "stages"} & settings.keys()


def expand(settings: Settings, subject: str, folder: Path) -> list[Combination]:
    """Every combination of a matrix file in ``folder``, in the order of its lists; a baseline, which has no base, once.

    InputError with every fault: of the matrix itself, or of the recipes that it leads to.
    """
    matrix = validate_matrix(settings, subject)
    common, beside = _common(matrix, folder)
    bases = [_named(entry, "model", folder) for entry in matrix.bases or ()]
    methods = [_named(entry, "kind", None) for entry in matrix.methods or ()]
    _check_names(subject, {"bases": [name for name, _ in bases], "methods": [name for name, _ in methods]})
    made: dict[str, Settings] = {}
    none: list[tuple[str, Settings | None]] = [("", None)]
    for base, method in product(bases or none, methods or none):
        changed = _combined(common, base[1], method[1])
        several = (len(bases) > 1 and _kind(changed) not in BASELINES, len(methods) > 1)
        name = "-".join([matrix.name, *(part for part, is_told in zip((base[0], method[0]), several, strict=True) if is_told)])
        if made.get(name, changed) != changed:
            raise InputError(subject, f"two combinations make runs of the name {name!r}; give a base or a method another name")
        made[name] = changed
    recipes = [anchored_recipe(recipe, beside) for recipe in _validated(made, subject)]
    return [Combination(recipe, _seeds(matrix, recipe)) for recipe in recipes]


def validate_matrix(settings: Settings, subject: str) -> Matrix:
    """The matrix, or InputError with every fault of it."""
    try:
        return Matrix.model_validate(settings)
    except ValidationError as error:
        found = [
            dict(item) | {"loc": tuple(part for part in item["loc"] if part not in _ALTERNATIVES)} for item in error.errors()
        ]
        raise InputError(subject, explain_faults(found, Matrix)) from None


def anchored_recipe(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with its relative files made absolute against ``folder``."""
    found = anchored(recipe, folder)
    assert isinstance(found, Recipe)
    return found


def _common(matrix: Matrix, folder: Path) -> tuple[Settings, Path]:
    """The settings that all runs share, and the folder that their relative paths start from."""
    if isinstance(matrix.recipe, dict):
        return matrix.recipe, folder
    beside = folder / os.path.expanduser(matrix.recipe)
    settings, place = read_settings(str(beside) if beside.exists() else matrix.recipe)
    if "stages" in settings or is_matrix(settings):
        raise InputError(matrix.recipe, "expected a recipe of one stage, whose base and method are then exchanged")
    return settings, place


def _named(entry: str | Settings, key: str, folder: Path | None) -> tuple[str, Settings]:
    """The name of a base or method in the names of runs, and its settings; a base's folder is found beside the matrix."""
    settings = {key: entry} if isinstance(entry, str) else dict(entry)
    said, value = settings.pop("name", None), str(settings.get(key, ""))
    if folder is not None and value and (folder / os.path.expanduser(value)).exists():
        settings[key] = str((folder / os.path.expanduser(value)).resolve())
    plain = re.split(r"[/:]", value.rstrip("/"))[-1].removesuffix(".gguf")
    return str(said) if said is not None else _UNSAFE.sub("-", plain).strip("-._"), settings


def _check_names(subject: str, axes: dict[str, list[str]]) -> None:
    faults = []
    for axis, names in axes.items():
        lower = [name.lower() for name in names]
        doubled = sorted({name for name in lower if lower.count(name) > 1})
        faults += [
            f"{axis}: {lower.count(name)} entries make runs of the name {name!r}; give each a name of its own, as name: {name}-2"
            for name in doubled
        ]
        faults += [
            f"{axis}: expected a name of letters, digits, '.', '_' or '-', found {shown(name)}; give the entry a name"
            for name in names
            if not re.match(NAME_PATTERN, name)
        ]
    if faults:
        raise InputError(subject, faults)


def _combined(common: Settings, base: Settings | None, method: Settings | None) -> Settings:
    """One recipe of the matrix, not yet validated: without what a baseline, or a base as it is, has no use for."""
    found = dict(common)
    if base is not None:
        own = found.get("base")
        kept = {key: value for key, value in own.items() if key not in ("model", "revision")} if isinstance(own, dict) else {}
        found["base"] = kept | base
    if method is None:
        return found
    found["method"] = {key: value for key, value in method.items() if key != "train"}
    kind, train = _kind(found), found.pop("train", None)
    if kind in BASELINES:
        found.pop("base", None)
    if "train" in method:  # a baseline has no use for it, and its recipe says so
        more = method["train"]
        found["train"] = train | more if isinstance(train, dict) and isinstance(more, dict) else more
    elif train is not None and kind not in UNSEEDED:
        found["train"] = train
    return found


def _kind(settings: Settings) -> Any:
    method = settings.get("method")
    return method.get("kind") if isinstance(method, dict) else None


def _validated(made: dict[str, Settings], subject: str) -> list[Recipe]:
    """Every recipe, or InputError where any is faulty: a fault that several share is told once, with their names."""
    recipes, faults = [], dict[str, list[str]]()
    for name, settings in made.items():
        try:
            recipes.append(validate({**settings, "name": name}, name))
        except InputError as error:
            for fault in error.faults:
                faults.setdefault(fault, []).append(name)
    if faults:
        raise InputError(subject, [_among(fault, names, len(made)) for fault, names in faults.items()])
    return recipes


def _among(fault: str, names: Sequence[str], of: int) -> str:
    return fault if len(names) == of else f"{listing(names, most=3)}: {fault}"


def _seeds(matrix: Matrix, recipe: Recipe) -> tuple[int, ...]:
    return unseeded(recipe) or tuple(dict.fromkeys(matrix.seeds or [recipe.seed]))


def unseeded(recipe: Recipe) -> tuple[int, ...]:
    """The one seed of a recipe whose method gives the same under all; none where they differ."""
    return (recipe.seed,) if recipe.method.kind in UNSEEDED else ()
