"""Reading recipes: YAML 1.2 scalars, overrides from the command line, and every fault at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from tunebench.errors import InputError, listing, nearest
from tunebench.recipe import spec
from tunebench.recipe.trainer_keys import TRAINER_KEYS

_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$")


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of YAML 1.2's core schema: ``1e-4`` is a number, ``no`` and ``12:30`` are text.

    Aliases are refused (a few nested ones expand to gigabytes), and so is a key that stands twice.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class-level table, emptied

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not read; write the value out", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
# 'int' above must not read 010 as octal, as YAML 1.1 does.


def _number(kind: Callable[[str], Any]) -> Callable[[Any, Any], Any]:
    return lambda loader, node: kind(loader.construct_scalar(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _number(int))
_Loader.add_constructor("tag:yaml.org,2002:float", _number(float))


def parse_yaml(text: str, subject: str) -> Any:
    """The value of a YAML text; InputError with line and column where it is not YAML."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InputError(subject, f"{where}{getattr(error, 'problem', None) or 'not readable as YAML'}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(subject, f"not readable as YAML: {error}") from None


def presets() -> dict[str, str]:
    """Names and texts of the recipes that come with tunebench."""
    folder = resources.files("tunebench.recipe") / "presets"
    return {
        item.name.removesuffix(".yaml"): item.read_text("utf-8")
        for item in sorted(folder.iterdir(), key=lambda item: item.name)
        if item.name.endswith(".yaml")
    }


def load_recipe(source: str, overrides: Sequence[str] = ()) -> spec.Recipe:
    """The recipe in a file, or the preset of that name, with ``section.key=value`` overrides applied.

    Relative data paths and local base folders are made absolute against the recipe's own folder.
    Raises InputError with every fault of the recipe.
    """
    path = Path(source)
    if path.is_file():
        try:
            text, folder = path.read_text("utf-8-sig"), path.resolve().parent
        except UnicodeDecodeError as error:
            raise InputError(source, f"not UTF-8 text at byte {error.start}; save the recipe as UTF-8") from None
    elif source in presets():
        text, folder = presets()[source], Path.cwd()
    else:
        raise InputError(source, f"no such recipe file, and no preset of that name; presets are {listing(presets())}")
    settings = parse_yaml(text, source)
    if not isinstance(settings, dict):
        raise InputError(source, f"expected settings such as `name: my-run`, found {_kind(settings)}")
    _apply_overrides(settings, overrides)
    return anchor_paths(validate(settings, source), folder)


def validate(settings: dict[str, Any], subject: str) -> spec.Recipe:
    """The recipe, or InputError with every fault, each naming its key and what to write instead."""
    try:
        return spec.Recipe.model_validate(settings)
    except ValidationError as error:
        faults = [fault for item in error.errors() for fault in _explain(dict(item))]
        raise InputError(subject, list(dict.fromkeys(faults))) from None


def method_from(kind: str, overrides: Sequence[str]) -> spec.Method:
    """A method by its kind with ``key=value`` or ``method.key=value`` overrides, for commands without a recipe."""
    settings: dict[str, Any] = {"method": {"kind": kind}}
    _apply_overrides(settings, [item if item.startswith("method.") else f"method.{item}" for item in overrides])
    probe = {"name": "params", "base": {"model": "-"}, "data": {"train": "-", "validation": "-"}} | settings
    return validate(probe, f"--method {kind}").method


def anchor_paths(recipe: spec.Recipe, folder: Path) -> spec.Recipe:
    """The recipe with its relative files made absolute against ``folder``; hub ids stay as they are."""
    data = {
        key: _anchored(value, folder)
        for key in ("train", "validation", "test")
        if isinstance(value := getattr(recipe.data, key), str)
    }
    update: dict[str, Any] = {"data": recipe.data.model_copy(update=data)}
    if recipe.base is not None and (folder / recipe.base.model).is_dir():
        update["base"] = recipe.base.model_copy(update={"model": _anchored(recipe.base.model, folder)})
    return recipe.model_copy(update=update)


def dump_recipe(recipe: spec.Recipe) -> str:
    """The recipe as YAML that loads to an equal recipe."""
    return yaml.safe_dump(recipe.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True)


def _anchored(path: str, folder: Path) -> str:
    return path if path.startswith(spec.STARTER) else str((folder / Path(path).expanduser()).resolve())


def _apply_overrides(settings: dict[str, Any], overrides: Iterable[str]) -> None:
    for override in overrides:
        dotted, equals, text = override.partition("=")
        keys = dotted.strip().split(".")
        if not equals or not all(keys):
            raise InputError("--set", f"expected section.key=value, found {override!r}")
        target = settings
        for key in keys[:-1]:
            inner = target.get(key)
            if inner is None:
                inner = target[key] = {}
            if not isinstance(inner, dict):
                raise InputError("--set", f"{dotted}: {key!r} holds {_kind(inner)}, not settings")
            target = inner
        target[keys[-1]] = parse_yaml(text, f"--set {dotted}")


def _explain(item: dict[str, Any]) -> list[str]:
    """Faults in the reader's words for one error of pydantic."""
    path, owner = _place(item["loc"])
    where = ".".join(path)
    kind = item["type"]
    if kind == "extra_forbidden":
        return [f"{where}: {_unknown(path[-1], owner)}"]
    if kind == "missing":
        return [f"{where}: missing; {_help(owner, path[-1])}"]
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        kinds = _method_kinds()
        found = item["input"].get("kind") if isinstance(item["input"], dict) else item["input"]
        return [f"{where}.kind: expected one of {', '.join(kinds)}, found {found!r}{nearest(str(found), kinds)}"]
    if kind == "value_error":
        text = str(item["ctx"]["error"])
        return [f"{where}: {line}" if where else line for line in text.split("\n")]
    return [f"{where}: {_expectation(item)}, found {item['input']!r}"]


def _expectation(item: dict[str, Any]) -> str:
    expected = {
        "int_type": "expected a whole number",
        "int_from_float": "expected a whole number",
        "float_type": "expected a number",
        "string_type": "expected text",
        "bool_type": "expected true or false",
        "list_type": "expected a list",
        "dict_type": "expected settings",
        "model_type": "expected settings",
        "string_pattern_mismatch": "expected letters, digits, '.', '_' or '-' (at most 100, first a letter or digit)",
        "string_too_short": "expected text that is not empty",
    }
    if item["type"] in expected:
        return expected[item["type"]]
    message = str(item["msg"])
    return (
        message[0].lower() + message[1:].replace("Input should be", "expected").replace("input should be", "expected")
        if not message.startswith("Input should be")
        else message.replace("Input should be", "expected")
    )


def _unknown(key: str, owner: type[BaseModel] | None) -> str:
    if key in TRAINER_KEYS:
        return (
            f"not a key of a recipe: here it is {TRAINER_KEYS[key]}"
            if TRAINER_KEYS[key].startswith("`")
            else f"not a key of a recipe: {TRAINER_KEYS[key]}"
        )
    elsewhere = [dotted for dotted in all_keys() if dotted.split(".")[-1] == key]
    if elsewhere:
        return f"unknown here; it belongs to {' or '.join(dict.fromkeys(elsewhere))}"
    known = list(owner.model_fields) if owner else []
    return f"unknown key{nearest(key, known)}; known are {listing(known, most=20)}"


def _help(owner: type[BaseModel] | None, key: str) -> str:
    field = owner.model_fields.get(key) if owner else None
    return (field.description if field and field.description else f"a recipe needs {key!r}").rstrip(".")


def _place(loc: Sequence[Any]) -> tuple[list[str], type[BaseModel] | None]:
    """Key path without pydantic's union tags, and the group of settings that the last key stands in."""
    path: list[str] = []
    owner: type[BaseModel] | None = spec.Recipe
    current: type[BaseModel] | None = spec.Recipe
    for part in loc:
        if part == "file" or (isinstance(part, str) and (part.startswith(("list[", "literal[")) or (part in ("str", "int")))):
            continue
        if part == "fraction" and path and path[-1] in ("validation", "test") and current is not spec.Fraction:
            current = spec.Fraction
            continue
        if part in _method_kinds() and path == ["method"]:
            current = _method_kinds()[str(part)]
            continue
        owner = current
        path.append(str(part))
        current = _group(owner, str(part))
    return path, owner


def _group(owner: type[BaseModel] | None, key: str) -> type[BaseModel] | None:
    groups: dict[str, type[BaseModel]] = {"base": spec.Base, "data": spec.Data, "train": spec.Train}
    return groups.get(key) if owner is spec.Recipe else None


def _method_kinds() -> dict[str, type[BaseModel]]:
    return {
        kind.model_fields["kind"].default: kind for kind in (spec.Full, spec.Head, spec.Lora, spec.Ia3, spec.Majority, spec.Tfidf)
    }


def all_keys() -> dict[str, str]:
    """Every key a recipe may hold, dotted, with its help; the source of the generated tables."""
    keys: dict[str, str] = {}
    for name, field in spec.Recipe.model_fields.items():
        group = _group(spec.Recipe, name)
        if name == "method":
            for kind in _method_kinds().values():
                keys |= {f"method.{key}": inner.description or "" for key, inner in kind.model_fields.items()}
        elif group is None:
            keys[name] = field.description or ""
        else:
            keys |= {f"{name}.{key}": inner.description or "" for key, inner in group.model_fields.items()}
    return keys


def _kind(value: Any) -> str:
    names = {dict: "settings", list: "a list", str: "text", int: "a number", float: "a number", bool: "true or false"}
    return "nothing" if value is None else names.get(type(value), type(value).__name__)
