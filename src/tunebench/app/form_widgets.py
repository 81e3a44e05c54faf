"""The widgets of a recipe's form. What is typed is kept while other pages are looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from tunebench.app.forms import FIRST, Field, summary, value_of, written_number
from tunebench.app.words import plain, say, translated
from tunebench.recipe.load import parse_yaml, presets
from tunebench.recipe.methods import LEARNING_RATES, method_kinds
from tunebench.runs.starter import STARTERS

_KEPT = "training.kept"
_ACROSS = 3


def draw_method(kinds: Sequence[str], kind: str, scope: str) -> str:
    """Which method; its own settings follow from it."""
    titles = {name: getattr(method_kinds()[name], "title", name) for name in kinds}
    field = Field("method.kind", "choice", kind, "", choices=tuple(kinds))
    chosen = str(
        _keyed(field, kind, scope, lambda key: st.selectbox(_name(field), kinds, format_func=titles.__getitem__, key=key))
    )
    st.caption(plain(translated("settings", summary(chosen), summary_key(chosen))))
    return chosen


def draw_fields(fields: Sequence[Field], settings: Mapping[str, Any], scope: str) -> dict[str, Any]:
    """The fields beside each other, filled in from the settings; what stands in them, by key."""
    values = {}
    for begun in range(0, len(fields), _ACROSS):
        for place, field in zip(st.columns(_ACROSS, vertical_alignment="bottom"), fields[begun : begun + _ACROSS], strict=False):
            with place:
                values[field.key] = draw_field(field, settings, scope)
    return values


def kept_fields(fields: Sequence[Field], scope: str) -> dict[str, Any]:
    """What stands in fields that are not drawn now: what was filled in when they were."""
    kept = st.session_state.get(_KEPT, {})
    return {field.key: kept[key] for field in fields if (key := _key(field, scope)) in kept}


def draw_field(field: Field, settings: Mapping[str, Any], scope: str) -> Any:
    """One field as the widget of its kind."""
    value = value_of(settings, field)
    return _keyed(field, value, scope, lambda key: _widget(field, value, settings["method"]["kind"], key))


def range_faults(fields: Sequence[Field], values: Mapping[str, Any]) -> list[str]:
    """Every number outside its limits, in the user's language."""
    return [
        say("training.out_of_range", field=_name(field), value=written_number(values[field.key]), limits=field.limits)
        for field in fields
        if field.kind in ("integer", "number") and not field.is_within(values.get(field.key))
    ]


def help_keys(field: Field, method: str) -> tuple[str, str]:
    """Where a translation of a field's help may stand: for this method alone, then for all."""
    return field.key.replace("method.", f"method.{method}.", 1), field.key


def summary_key(method: str) -> str:
    """Where a translation of a method's summary stands."""
    return f"method.kind={method}"


def _keyed(field: Field, value: Any, scope: str, draw: Any) -> Any:
    key, kept = _key(field, scope), st.session_state.setdefault(_KEPT, {})
    if key not in st.session_state:
        st.session_state[key] = kept.get(key, value)
    kept[key] = draw(key)
    return kept[key]


def _key(field: Field, scope: str) -> str:
    return f"training.form.{scope}.{field.key}"


def _widget(field: Field, value: Any, method: str, key: str) -> Any:
    label, helped = _name(field), _help(field, method)
    if field.key == "base.model":
        bases = list(dict.fromkeys([value, st.session_state[key], *_known_bases()]))
        return st.selectbox(label, bases, help=helped, key=key, accept_new_options=True)
    if field.kind == "choice":
        titles = {choice: _choice(choice) for choice in field.choices if choice is not None}
        index, left_out = None if field.optional else 0, say("training.left_out")
        return st.selectbox(label, list(titles), index, titles.__getitem__, key, helped, placeholder=left_out)
    if field.kind == "switch":
        return st.checkbox(label, help=helped, key=key)
    if field.kind == "integer":
        shown = say("training.all_rows" if field.key == "data.max_train_samples" else "training.left_out")
        return st.number_input(label, value=None, step=1, placeholder=shown, help=helped, key=key)
    if field.kind == "number":
        derived = LEARNING_RATES.get(method) if field.key == "train.learning_rate" else None
        shown = say("training.left_out") if derived is None else written_number(derived)
        step = _step(value or derived or field.default)
        return st.number_input(label, value=None, step=step, format="%g", placeholder=shown, help=helped, key=key)
    return st.text_input(label, placeholder=say("training.left_out"), help=helped, key=key)


def _name(field: Field) -> str:
    """Our own word, or the name of a setting: with nothing escaped, as what reads pages aloud would say the escapes too."""
    return say(f"training.field_{field.key.rpartition('.')[2]}") if field.key in FIRST else field.key.rpartition(".")[2]


def _help(field: Field, method: str) -> str:
    limits = f" ({field.limits})" if field.limits else ""
    return say(
        "training.help", setting=field.key, limits=limits, text=translated("settings", field.help, *help_keys(field, method))
    )


def _choice(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _step(value: float | None) -> float:
    return 10.0 ** math.floor(math.log10(value)) if value else 0.05


@st.cache_data(show_spinner=False)
def _known_bases() -> list[str]:
    """The starter base, and those of the presets."""
    named = [(parse_yaml(text, name).get("base") or {}).get("model") for name, text in presets().items()]
    return list(dict.fromkeys([f"starter:{next(iter(STARTERS))}", *filter(None, named)]))
