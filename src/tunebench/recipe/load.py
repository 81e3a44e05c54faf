"""Reading recipes: YAML 1.2 scalars, overrides from the command line, and every fault at once."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tunebench.errors import InputError, listing, nearest
from tunebench.recipe import closed, methods, sources, spec, stages
from tunebench.recipe.faults import explain_faults, explain_staged, kind_of
from tunebench.recipe.space import space_faults

_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$")
_INT = re.compile(r"^[-+]?[0-9]+$|^0o[0-7]+$|^0x[0-9a-fA-F]+$")
_MOST_BYTES, _MOST_NUMBER = 1_000_000, 2**63 - 1
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
AnyRecipe = spec.Recipe | stages.StagedRecipe


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of YAML 1.2's core schema: ``1e-4`` is a number, ``no`` and ``12:30`` are text.

    Aliases are refused (a few nested ones expand to gigabytes), and so are a key that stands twice, a key that is no
    scalar, and characters that no file can hold.
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
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "expected a name as key", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
            key.tag = "tag:yaml.org,2002:str"  # keys are names: the labels 1 and true stay two
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str):  # JSON writes an emoji as two halves
            value = value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        if isinstance(value, str) and (found := _NO_TEXT.search(value)):
            raise yaml.constructor.ConstructorError(None, None, f"{found[0]!r} is no character of a text", node.start_mark)
        return value


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def _number(kind: Callable[[str], Any]) -> Callable[[Any, Any], Any]:
    return lambda loader, node: kind(loader.construct_scalar(node))


def _int(text: str) -> int:
    """``010`` is ten, as in YAML 1.2; ``0x`` and ``0o`` begin other bases. What no setting can be is refused."""
    number = 0 if len(text) > 100 else int(text, 0) if text.startswith(("0x", "0o")) else int(text)
    if len(text) > 100 or abs(number) > _MOST_NUMBER:
        raise ValueError(f"a number of {len(text)} digits; write it in quotes where it is a name")
    return number


def _float(text: str) -> float:
    return float(text.replace(".inf", "inf").replace(".nan", "nan") if text[-1:] in "fn" else text)


_Loader.add_constructor("tag:yaml.org,2002:int", _number(_int))
_Loader.add_constructor("tag:yaml.org,2002:float", _number(lambda text: _float(text.lower())))


class _SwiftLoader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader, _Loader):  # type: ignore[misc]
    """The same on libyaml's parser, in a fifth of the time: a list of runs reads hundreds of recipes.

    Nodes are composed as before: libyaml's composer follows aliases, and a text that is nested deeply ends its process.
    """

    get_single_node = yaml.composer.Composer.get_single_node

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        yaml.composer.Composer.__init__(self)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that YAML 1.1 or YAML 1.2 would read as something else, such as ``no`` and ``1e5``."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own class-level table
        first: [*yaml.SafeDumper.yaml_implicit_resolvers.get(first, []), *_Loader.yaml_implicit_resolvers.get(first, [])]
        for first in yaml.SafeDumper.yaml_implicit_resolvers.keys() | _Loader.yaml_implicit_resolvers.keys()
    }


def parse_yaml(text: str, subject: str) -> Any:
    """The value of a YAML text; InputError with line and column where it is not YAML."""
    try:
        return _loaded(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        reason = getattr(error, "problem", None) or f"not readable as YAML: {getattr(error, 'reason', error)}"
        raise InputError(subject, f"{where}{reason}") from None
    except ValueError as error:
        raise InputError(subject, f"not readable as YAML: {error}") from None
    except RecursionError:
        raise InputError(subject, "not readable as YAML: settings are nested too deeply") from None


def _loaded(text: str) -> Any:
    with contextlib.suppress(yaml.YAMLError, UnicodeError):  # half characters are no UTF-8, which libyaml reads
        return yaml.load(text, _SwiftLoader)
    return yaml.load(text, _Loader)  # which has the better words for what is wrong


def presets() -> dict[str, str]:
    """Names and texts of the recipes that come with tunebench."""
    folder = resources.files("tunebench.recipe") / "presets"
    return {
        item.name.removesuffix(".yaml"): item.read_text("utf-8")
        for item in sorted(folder.iterdir(), key=lambda item: item.name)
        if item.name.endswith(".yaml")
    }


def load_recipe(source: str, overrides: Sequence[str] = ()) -> spec.Recipe:
    """The recipe of one stage in a file, or the preset of that name, with ``section.key=value`` overrides applied.

    Relative data paths and local base folders are made absolute against the recipe's own folder.
    Raises InputError with every fault of the recipe.
    """
    recipe = load_any(source, overrides)
    if isinstance(recipe, stages.StagedRecipe):
        raise InputError(
            source,
            f"has {len(recipe.stages)} stages, and this takes a recipe of one; a stage that is trained has one in its run",
        )
    return recipe


def load_any(source: str, overrides: Sequence[str] = ()) -> AnyRecipe:
    """The recipe in a file or the preset of that name, of one stage or of several; ``stages.NAME.key=value`` overrides one's."""
    settings, folder = read_settings(source)
    _apply_overrides(settings, overrides)
    return anchored(validate_any(settings, source), folder)


def read_settings(source: str) -> tuple[dict[str, Any], Path]:
    """What stands in a recipe file or preset, not yet validated, and the folder that its relative paths start from."""
    text, folder = _read(source)
    settings = parse_yaml(text, source)
    if not isinstance(settings, dict):
        raise InputError(source, f"expected settings such as `name: my-run`, found {kind_of(settings)}")
    return settings, folder


def _read(source: str) -> tuple[str, Path]:
    """Text of a recipe, and the folder that its relative paths start from."""
    path = Path(source)
    try:
        if path.is_file():
            if path.stat().st_size > _MOST_BYTES:
                raise InputError(
                    source, f"is {path.stat().st_size:,} bytes; a recipe holds at most {_MOST_BYTES:,}: is this a data file?"
                )
            return path.read_text("utf-8-sig"), path.resolve().parent
    except UnicodeDecodeError as error:
        raise InputError(source, f"not UTF-8 text at byte {error.start}; save the recipe as UTF-8") from None
    except OSError as error:
        raise InputError(source, f"cannot be read ({error.strerror})") from None
    if source in presets():
        return presets()[source], Path.cwd()
    found = "is a folder, not a recipe" if path.is_dir() else "no such recipe file, and no preset of that name"
    raise InputError(source, f"{found}{nearest(source, presets())}; presets are {listing(presets(), most=20)}")


def validate(settings: dict[str, Any], subject: str) -> spec.Recipe:
    """The recipe, or InputError with every fault, each naming its key and what to write instead."""
    try:
        recipe = spec.Recipe.model_validate(settings)
    except ValidationError as error:
        raise InputError(subject, explain_faults([dict(item) for item in error.errors()])) from None
    if faults := space_faults(recipe):
        raise InputError(subject, faults)
    return recipe


def validate_any(settings: dict[str, Any], subject: str) -> AnyRecipe:
    """The same for a recipe that may have stages."""
    if "stages" not in settings:
        return validate(settings, subject)
    try:
        return stages.StagedRecipe.model_validate(settings)
    except ValidationError as error:
        raise InputError(subject, explain_staged([dict(item) for item in error.errors()], settings)) from None


def method_from(kind: str, overrides: Sequence[str]) -> methods.Method:
    """A method by its kind with ``key=value`` or ``method.key=value`` overrides, for commands without a recipe."""
    settings: dict[str, Any] = {"method": {"kind": kind}}
    _apply_overrides(settings, [item if item.startswith("method.") else f"method.{item}" for item in overrides])
    probe = {"name": "params", "base": {"model": "-"}, "data": {"train": "-", "validation": "-"}} | settings
    return validate(probe, f"--method {kind}").method


def anchored(recipe: AnyRecipe, folder: Path) -> AnyRecipe:
    """The recipe with its relative files made absolute against ``folder``; hub ids stay as they are."""
    update: dict[str, Any] = {}
    if recipe.base is not None and os.path.exists(_absolute(recipe.base.model, folder)):
        update["base"] = recipe.base.model_copy(update={"model": _absolute(recipe.base.model, folder)})
    if isinstance(recipe, stages.StagedRecipe):
        update["stages"] = [item.model_copy(update={"data": _anchored_data(item.data, folder)}) for item in recipe.stages]
    else:
        update["data"] = _anchored_data(recipe.data, folder)
    return recipe.model_copy(update=update)


def _anchored_data(data: sources.Data, folder: Path) -> sources.Data:
    splits = {} if data.dataset else {key: getattr(data, key) for key in sources.SPLITS}
    update = {key: _absolute(value, folder) for key, value in splits.items() if isinstance(value, str)} | {
        key: value.model_copy(update={"file": _absolute(value.file, folder)})
        for key, value in splits.items()
        if isinstance(value, sources.SplitFile)
    }
    return data.model_copy(update=update)


def dump_recipe(recipe: AnyRecipe) -> str:
    """The recipe as YAML that loads to an equal recipe."""
    return dump_yaml(recipe.model_dump(mode="json", exclude_none=True))


def dump_yaml(value: Any) -> str:
    """Plain values as YAML that means the same under YAML 1.1 and 1.2."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _absolute(path: str, folder: Path) -> str:
    return path if path.startswith(closed.STARTER) else str((folder / os.path.expanduser(path)).resolve())


def _apply_overrides(settings: dict[str, Any], overrides: Iterable[str]) -> None:
    for override in overrides:
        dotted, equals, text = override.partition("=")
        keys = dotted.strip().split(".")
        if not equals or not all(keys):
            raise InputError("--set", f"expected section.key=value, found {override!r}")
        target = settings
        for number, key in enumerate(keys[:-1]):
            inner = target.get(key)
            if inner is None:
                inner = target[key] = {}
            if number == 0 and key == "stages" and isinstance(inner, list):
                inner = _stages_by_name(inner, dotted, keys)
            if not isinstance(inner, dict):
                raise InputError("--set", f"{dotted}: {key!r} holds {kind_of(inner)}, not settings")
            target = inner
        target[keys[-1]] = parse_yaml(text, f"--set {dotted}")


def _stages_by_name(given: list[Any], dotted: str, keys: Sequence[str]) -> dict[str, Any]:
    named = {str(item.get("name")): item for item in given if isinstance(item, dict)}
    if keys[1] not in named:
        raise InputError("--set", f"{dotted}: no stage of that name; stages are {listing(named)}")
    if len(keys) == 2:
        raise InputError("--set", f"{dotted}: which setting of the stage? Write one such as {dotted}.train.max_steps=5")
    return named
