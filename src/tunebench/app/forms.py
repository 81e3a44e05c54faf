"""The form of a recipe, made from its fields: what kind of widget, limits, help; and the settings that a filled-in form means."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel

from tunebench.recipe.load import dump_yaml, parse_yaml
from tunebench.recipe.methods import BASELINES, LEARNING_RATES, METHODS_OF, method_kinds
from tunebench.recipe.sources import Data
from tunebench.recipe.spec import Base, Recipe, Train

FIRST = (
    "base.model", "method.kind", "method.r", "method.lora_alpha", "method.alpha", "train.learning_rate", "train.num_train_epochs",
    "data.max_train_samples", "train.per_device_train_batch_size", "base.max_length",
)  # fmt: skip
"""What a form shows first, in this order; everything else waits under "more"."""
_OF_DATA = ("max_train_samples",)
_OF_RECIPE = ("seed",)


@dataclass(frozen=True)
class Field:
    """One setting. ``kind`` is ``integer``, ``number``, ``choice``, ``switch``, ``text``, or ``yaml`` for what has several forms.

    ``low`` and ``high`` are limits, themselves outside where ``low_open`` or ``high_open``. ``optional`` ones may be left out.
    """

    key: str
    kind: str
    default: Any
    help: str
    optional: bool = False
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False

    @property
    def limits(self) -> str:
        """The limits as ``≥ 1``, ``> 0, ≤ 1``; empty where there are none."""
        low = [] if self.low is None else [f"{'>' if self.low_open else '≥'} {self.low:,g}"]
        return ", ".join(low + ([] if self.high is None else [f"{'<' if self.high_open else '≤'} {self.high:,.10g}"]))

    def is_within(self, value: float | None) -> bool:
        """Whether a number keeps the limits; no number does."""
        if value is None:
            return True
        too_low = self.low is not None and (value < self.low or (self.low_open and value == self.low))
        too_high = self.high is not None and (value > self.high or (self.high_open and value == self.high))
        return not (too_low or too_high)


def form(kind: str, task: str) -> list[Field]:
    """The fields that a recipe of this method and task has: the first ones in the order of ``FIRST``, then all others."""
    groups: list[tuple[str, type[BaseModel], tuple[str, ...] | None]] = [("data", Data, _OF_DATA), ("", Recipe, _OF_RECIPE)]
    if kind not in BASELINES:
        groups.insert(0, ("base", Base, None))
    groups.append(("method", method_kinds()[kind], None))
    if kind in LEARNING_RATES:
        groups.append(("train", Train, None))
    found = {field.key: field for group in groups for field in _fields(*group)}
    found["method.kind"] = Field("method.kind", "choice", kind, summary(kind), choices=METHODS_OF[task])
    first = [found.pop(key) for key in FIRST if key in found]
    return first + list(found.values())


def summary(kind: str) -> str:
    """A method in one sentence."""
    return (method_kinds()[kind].__doc__ or "").strip().partition("\n")[0]


def value_of(settings: Mapping[str, Any], field: Field) -> Any:
    """What settings say for a field, as its widget takes it; its default where they say nothing."""
    group, _, name = field.key.rpartition(".")
    inside = (settings.get(group) or {}) if group else settings
    value = inside.get(name, field.default)
    if field.kind == "yaml":
        return "" if value is None else _written(value)
    if field.kind == "number" and value is not None:
        return float(value)
    return ("" if value is None else value) if field.kind == "text" else value


def filled_in(settings: Mapping[str, Any], fields: list[Field], values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with what stands in a form; what is at its default, and was not said before, is left out.

    Raises InputError for a value of several forms that cannot be read. Everything else is checked where the recipe is.
    """
    made = copy.deepcopy(dict(settings))
    kind = values.get("method.kind", made["method"]["kind"])
    if kind != made["method"]["kind"]:
        made["method"] = {"kind": kind}
        made.get("train", {}).pop("learning_rate", None)  # every method has a rate of its own
    unused = ("base", "train") if kind in BASELINES else () if kind in LEARNING_RATES else ("train",)
    for key in unused:
        made.pop(key, None)
    for field in fields:
        if field.key in values and field.key != "method.kind":
            _put(made, field, _read(field, values[field.key]))
    return {key: value for key, value in made.items() if value != {} or key == "data"}


def written_number(value: float) -> str:
    """A number as YAML and people write it: ``0.0005``, ``1e-05``."""
    return f"{value:g}"


def _put(settings: dict[str, Any], field: Field, value: Any) -> None:
    group, _, name = field.key.rpartition(".")
    inside = settings.setdefault(group, {}) if group else settings
    if value is None or (value == field.default and name not in inside):
        inside.pop(name, None)
    elif inside.get(name) != value:
        inside[name] = value


def _read(field: Field, value: Any) -> Any:
    """The value behind what a widget holds; None where the field is left out."""
    if field.kind in ("yaml", "text") and not str(value or "").strip():
        return None
    if field.kind == "yaml":
        return parse_yaml(str(value), field.key)
    return str(value).strip() if field.kind == "text" else value


def _written(value: Any) -> str:
    text = dump_yaml(value).strip() if not isinstance(value, list) else "[" + ", ".join(_written(item) for item in value) + "]"
    return text.removesuffix("...").strip()


def _fields(group: str, model: type[BaseModel], only: tuple[str, ...] | None) -> Iterator[Field]:
    for name, shape in _shapes(model).items():
        if name != "kind" and (only is None or name in only):
            yield _field(f"{group}.{name}" if group else name, shape)


@cache
def _shapes(model: type[BaseModel]) -> dict[str, Any]:
    return dict(model.model_json_schema()["properties"])


def _field(key: str, shape: Mapping[str, Any]) -> Field:
    forms = [item for item in shape.get("anyOf", [shape]) if item.get("type") != "null"]
    optional, default, text = len(forms) < len(shape.get("anyOf", [shape])), shape.get("default"), shape.get("description", "")
    if len(forms) > 1:
        return Field(key, "yaml", default, text, optional)
    one = forms[0]
    if "enum" in one:
        return Field(key, "choice", default, text, optional, (*((None,) if optional else ()), *one["enum"]))
    kind = {"integer": "integer", "number": "number", "boolean": "switch", "string": "text"}.get(one.get("type", ""), "yaml")
    if kind == "switch" and optional:
        return Field(key, "choice", default, text, optional, (None, True, False))
    low, high = one.get("minimum", one.get("exclusiveMinimum")), one.get("maximum", one.get("exclusiveMaximum"))
    opened = ("exclusiveMinimum" in one, "exclusiveMaximum" in one)
    return Field(key, kind, default, text, optional, (), low, high, *opened)
