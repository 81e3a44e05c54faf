"""A first recipe for a data file: columns guessed or told, everything else left to its default."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebench.data.draft import draft_data
from tunebench.data.tables import open_source
from tunebench.errors import InputError
from tunebench.recipe.closed import NAME_PATTERN, STARTER
from tunebench.recipe.load import anchored, dump_yaml, parse_yaml, presets, validate
from tunebench.recipe.sources import SPLITS, SplitFile
from tunebench.recipe.spec import Recipe
from tunebench.runs.bases import locate
from tunebench.runs.cache import write_atomic
from tunebench.runs.first_base import first_base

STARTER_DATA = f"{STARTER}reviews"
_STARTER_PRESET = "starter-lora"


@dataclass(frozen=True)
class Draft:
    """The sections of a recipe that its data decides; paths in ``data`` are relative to the folder of the recipe."""

    data: dict[str, Any]
    base: dict[str, Any]

    def settings(self, name: str, max_length: int | None = None) -> dict[str, Any]:
        """The whole recipe; ``max_length`` in place of the one that was guessed."""
        base = self.base | ({"max_length": max_length} if max_length else {})
        return {"name": name, "seed": 42, "base": base, "data": self.data, "method": {"kind": "lora"}}


def columns_of(source: str) -> list[str]:
    """The columns of a file; none of a folder, which has no choice of them. Raises InputError for what cannot be read."""
    path = locate(source)
    return [] if path.is_dir() else list(open_source(path, SplitFile(file="-")).types)


def draft(source: str, text: str | None, label: str | None, folder: Path) -> Draft:
    """What a recipe in ``folder`` says about a file, folder or starter; columns that are None are guessed.

    Raises InputError where columns are not clear, or nothing can be learnt from the file.
    """
    if source == STARTER_DATA:
        locate(source)
        known = parse_yaml(presets()[_STARTER_PRESET], _STARTER_PRESET)
        return Draft({key: value for key, value in known["data"].items() if key != "max_train_samples"}, known["base"])
    if text is not None and text == label:
        raise InputError(source, f"texts and labels are both the column {text!r}; they stand in two")
    found = draft_data(locate(source), text, label, folder)
    base, _ = first_base(None, "lora", found.max_length, folder)
    return Draft(found.settings, base or {})


def as_recipe(settings: Mapping[str, Any], folder: Path) -> Recipe:
    """The recipe of some settings, its paths absolute against ``folder``; InputError with every fault."""
    recipe = anchored(validate(dict(settings), "recipe"), folder)
    assert isinstance(recipe, Recipe)
    return recipe


def anchored_settings(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The settings with the absolute paths of their files, so that they mean the same wherever the recipe lies."""
    recipe, made = as_recipe(settings, folder), copy.deepcopy(dict(settings))
    if recipe.base is not None:
        made["base"]["model"] = recipe.base.model
    for key in SPLITS if recipe.data.dataset is None else ():
        given, found = made["data"].get(key), getattr(recipe.data, key)
        if isinstance(given, str):
            made["data"][key] = found
        elif isinstance(given, dict) and "file" in given:
            given["file"] = found.file
    return made


def name_for(file: str) -> str:
    """A recipe's name out of that of a file, whatever stands in it."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(file).stem).strip("-._")
    return plain[:80] or "data"


def free_name(wanted: str, taken: Collection[str]) -> str:
    """The name, with a number behind it where it is taken."""
    return next(name for name in (wanted, *(f"{wanted[:90]}-{i}" for i in range(2, len(taken) + 3))) if name not in taken)


def saved_recipes(folder: Path) -> list[str]:
    """Names of the recipes that lie in the studio's folder, newest first."""
    found = [path for path in folder.glob("*.yaml") if re.fullmatch(NAME_PATTERN, path.stem)]
    return [path.stem for path in sorted(found, key=_changed, reverse=True)]


def save(folder: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> Path:
    """Write a recipe as ``<name>.yaml`` into ``folder``; InputError for a name that cannot be one, or is taken."""
    name = validate(dict(settings), "recipe").name  # which keeps it inside the folder
    path = folder / f"{name}.yaml"
    if not overwrite and os.path.lexists(path):
        raise InputError(name, "a recipe of this name is saved already; choose another name")
    write_atomic(path, dump_yaml(dict(settings)))
    return path


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
