"""What is wrong with a recipe, in the reader's words: pydantic's errors as ``train.eval_steps: expected …, found …``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel

from tunebench.errors import listing, nearest
from tunebench.recipe import methods, search, sources, spec, stages
from tunebench.recipe.closed import NAME_PATTERN
from tunebench.recipe.trainer_keys import TRAINER_KEYS

_SHOWN_CHARACTERS = 80
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "settings",
    "model_type": "settings",
    "model_attributes_type": "settings such as {{kind: lora}}",
    "string_pattern_mismatch": "letters, digits, '.', '_' or '-' (at most 100, first a letter or digit)",
    "string_too_short": "text that is not empty",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "literal_error": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
}
_SPLIT = "a file, or a fraction of the training file such as {fraction: 0.1}"
_SOURCE = "a file, or {file: …} with columns of its own"
_KNOWN = "; known are "
_SPACE = ["search", "space"]
_VALUES = "a list of choices, or numbers such as {low: 1e-5, high: 1e-3}"
SPLIT_KINDS: dict[str, type[BaseModel]] = {"path": BaseModel, "file": sources.SplitFile, "fraction": sources.Fraction}


def explain_staged(errors: Sequence[dict[str, Any]], settings: dict[str, Any]) -> list[str]:
    """The same of a staged recipe: faults of a stage begin with its name, ``stages.cpt.train.max_steps: …``."""
    faults = explain_faults([item for item in errors if not _stands_in_stage(item)], stages.StagedRecipe)
    given = settings["stages"] if isinstance(settings["stages"], list) else []
    for number, stage in enumerate(given):
        own = stage.get("name") if isinstance(stage, dict) else None
        inner = [item | {"loc": item["loc"][2:]} for item in errors if _stands_in_stage(item) and item["loc"][1] == number]
        place = f"stages.{own if isinstance(own, str) and re.match(NAME_PATTERN, own) else number + 1}"
        faults += [f"{place}{'' if fault.startswith(':') else '.'}{fault}" for fault in explain_faults(inner, stages.Stage)]
    return faults


def _stands_in_stage(item: dict[str, Any]) -> bool:
    return len(item["loc"]) > 1 and item["loc"][0] == "stages" and isinstance(item["loc"][1], int)


def explain_faults(errors: Sequence[dict[str, Any]], root: type[BaseModel] = spec.Recipe) -> list[str]:
    """One line per fault. What pydantic says once per alternative of a setting becomes one line with all of them."""
    faults: list[str] = []
    wrong: dict[str, tuple[list[str], str]] = {}  # key -> what it might have been, what it is
    for item in errors:
        path, owner = _place(item["loc"], root)
        where = ".".join(path)
        kind = item["type"].startswith("union_tag") and path[0] == "method"
        if kind or item["type"] in ("extra_forbidden", "missing", "value_error"):
            faults += _explain(item, path, owner)
        else:
            wrong.setdefault(where, ([], shown(item["input"])))[0].append(_expectation(item, path))
    for where, (expected, found) in wrong.items():
        if not any(other.startswith(f"{where}.") for other in wrong):  # a fault inside it says more
            faults.append(f"{where}: expected {' or '.join(dict.fromkeys(expected))}, found {found}")
    return _known_once(dict.fromkeys(faults))


def _known_once(faults: Iterable[str]) -> list[str]:
    """The faults, of which only the first about each group of settings lists the keys that it knows."""
    told: set[str] = set()
    found = []
    for fault in faults:
        head, mark, known = fault.partition(_KNOWN)
        found.append(head if mark and known in told else fault)
        told.add(known)
    return found


def kind_of(value: Any) -> str:
    """What a YAML value is: ``settings``, ``a list``, ``text`` …"""
    names = {dict: "settings", list: "a list", str: "text", int: "a number", float: "a number", bool: "true or false"}
    return "nothing" if value is None else names.get(type(value), type(value).__name__)


def shown(value: Any) -> str:
    """A value as a message quotes it, in YAML's words and not too long."""
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}… ({len(text):,} characters)"


def _explain(item: dict[str, Any], path: list[str], owner: type[BaseModel] | None) -> list[str]:
    where = ".".join(path)
    if item["type"] == "extra_forbidden":
        return [f"{where}: {_unknown(path, owner)}"]
    if item["type"] == "missing":
        return [f"{where}: missing; {_help(owner, path[-1])}"]
    if item["type"] == "value_error":
        return [f"{where}: {line}" if where else line for line in str(item["ctx"]["error"]).split("\n")]
    kinds = methods.method_kinds()
    found = item["input"].get("kind") if isinstance(item["input"], dict) else item["input"]
    return [f"{where}.kind: expected one of {', '.join(kinds)}, found {shown(found)}{nearest(str(found), kinds)}"]


def _expectation(item: dict[str, Any], path: list[str]) -> str:
    if (
        item["type"] in ("model_type", "union_tag_invalid", "union_tag_not_found")
        and path[:1] == ["data"]
        and path[-1] in sources.SPLITS
    ):
        return _SOURCE if path[-1] in ("train", "predict") else _SPLIT
    if item["type"].startswith("union_tag") and path[:2] == _SPACE:
        return _VALUES
    if item["type"] == "too_short" and path == _SPACE:
        return "at least one setting, such as train.learning_rate"
    if item["type"] in _EXPECTED:
        return _EXPECTED[item["type"]].format(**item.get("ctx", {}))
    message = str(item["msg"]).removeprefix("Input should be ")
    return message[:1].lower() + message[1:]


def _unknown(path: list[str], owner: type[BaseModel] | None) -> str:
    key = path[-1]
    if key in TRAINER_KEYS:
        return f"not a key of a recipe: {'here it is ' if TRAINER_KEYS[key].startswith('`') else ''}{TRAINER_KEYS[key]}"
    if len(path) == 1 and owner is stages.StagedRecipe and key in stages.Stage.model_fields:
        return "stands in each stage; move it below stages"
    if path == ["search"] and owner in (stages.StagedRecipe, stages.Stage):
        return "a chain of stages is not searched, as each stage starts from what the one before it left; search a recipe of one"
    if len(path) == 1 and owner is stages.Stage and key in stages.StagedRecipe.model_fields:
        return "is the same for all stages; move it above stages"
    kinds = [name for name, kind in methods.method_kinds().items() if key in kind.model_fields]
    elsewhere = [dotted for dotted in spec.all_keys() if dotted.split(".")[-1] == key and dotted != ".".join(path)]
    if path[0] == "method" and kinds:
        here = next((f", where it is {own!r}" for own in (owner.model_fields if owner else ()) if own.endswith(f"_{key}")), "")
        return f"not a key of this method{here}; it belongs to kind{'s' if len(kinds) > 1 else ''} {listing(kinds)}"
    if elsewhere:
        return f"unknown here; it belongs to {' or '.join(elsewhere)}"
    known = list(owner.model_fields) if owner else []
    return f"unknown key{nearest(key, known)}{_KNOWN}{listing(known, most=20)}"


def _help(owner: type[BaseModel] | None, key: str) -> str:
    field = owner.model_fields.get(key) if owner else None
    text = (field.description if field and field.description else f"a recipe needs {key!r}").rstrip(".")
    return text[0].lower() + text[1:]


def _place(loc: Sequence[Any], root: type[BaseModel]) -> tuple[list[str], type[BaseModel] | None]:
    """Key path without pydantic's union tags, and the group of settings that the last key stands in."""
    path: list[str] = []
    owner: type[BaseModel] | None = root
    current: type[BaseModel] | None = root
    kinds = methods.method_kinds()
    for part in loc:
        if part == "[key]" or (path[:1] == ["method"] and str(part).startswith(("list[", "literal[", "str"))):
            continue
        if part in SPLIT_KINDS and path[:1] == ["data"] and path[-1] in sources.SPLITS and current is None:
            current = SPLIT_KINDS[str(part)]
            continue
        if part in (search.CHOICES, search.RANGE) and path[:2] == _SPACE:
            current = search.Range
            continue
        if part in kinds and path == ["method"]:
            current = kinds[str(part)]
            continue
        owner = current
        path.append(str(part))
        current = _settings_group(owner, str(part))
    return path, owner


def _settings_group(owner: type[BaseModel] | None, key: str) -> type[BaseModel] | None:
    if owner is stages.Stage and key == "base":
        return stages.StageBase
    return spec.settings_group(spec.Recipe if owner in (stages.Stage, stages.StagedRecipe) else owner, key)
