"""Training lab: a recipe as a form, what it would need, and its training as a job that goes on without this page."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import streamlit as st

from tunebench.app import drafting
from tunebench.app.estimates import Estimates
from tunebench.app.form_widgets import draw_fields, draw_method, kept_fields, range_faults
from tunebench.app.forms import FIRST, filled_in, form
from tunebench.app.progress import draw_jobs
from tunebench.app.refusal import refuse
from tunebench.app.state import asking, own_folder, runs_folder
from tunebench.app.words import plain, say
from tunebench.compare.shown import percent, size
from tunebench.detached.queue import jobs, submit
from tunebench.errors import InputError, TunebenchError
from tunebench.recipe.load import dump_yaml, load_any, presets, read_settings
from tunebench.recipe.methods import LEARNING_RATES, METHODS_OF
from tunebench.recipe.spec import Recipe

_FAVOURITE = "starter-lora"
_SAVED, _PRESET = "saved", "preset"


def show() -> None:
    """Draw the page."""
    st.title(say("main.training"))
    st.caption(say("training.lead"))
    kind, name = _choose_source()
    try:
        settings, folder = read_settings(str(own_folder("recipes") / f"{name}.yaml") if kind == _SAVED else name)
        if "stages" in settings or "search" in settings:
            raise InputError(name, "has stages or a search, which are started on the command line")
        drafting.as_recipe(settings, folder)
    except (TunebenchError, OSError) as error:
        refuse("training.unreadable", error)
    else:
        _lab(settings, folder, f"{kind}.{name}")
    draw_jobs()


def _choose_source() -> tuple[str, str]:
    """What the form begins with: a saved recipe or a preset."""
    saved = [(_SAVED, name) for name in drafting.saved_recipes(own_folder("recipes"))]
    there = saved + [(_PRESET, name) for name in _presets()]
    sent = (_SAVED, st.session_state.pop("training.source", ""))
    wanted = sent if sent in there else st.session_state.get("training.begun")
    if sent in there or st.session_state.get("training.chosen") not in there:
        st.session_state["training.chosen"] = wanted if wanted in there else (saved or [(_PRESET, _FAVOURITE)])[0]
    titles = {item: f"{item[1]} · {say(f'training.{item[0]}')}" for item in there}
    chosen: tuple[str, str] = st.selectbox(say("training.source"), there, format_func=titles.__getitem__, key="training.chosen")
    st.session_state["training.begun"] = chosen
    return chosen


@st.cache_data(show_spinner=False)
def _presets() -> list[str]:
    """The presets that a form can hold: one stage, no search. The favourite first, then what needs no hub."""
    found = [name for name in presets() if isinstance(recipe := load_any(name), Recipe) and recipe.search is None]
    return sorted(found, key=lambda name: (name != _FAVOURITE, not name.startswith("starter"), name))


def _lab(settings: dict[str, Any], folder: Path, scope: str) -> None:
    task = settings.get("task", "text-classification")
    left, right = st.columns([2, 1])
    with left:
        name = _name(settings["name"], scope)
        kind = draw_method(METHODS_OF[task], settings["method"]["kind"], scope)
        begun = filled_in(settings, [], {"method.kind": kind})
        fields = [field for field in form(kind, task) if field.key != "method.kind"]
        first = [field for field in fields if field.key in FIRST]
        rest, own = [field for field in fields if field not in first], f"{scope}.{kind}"
        values = draw_fields(first, begun, own)
        more = st.expander(say("training.more"), key="training.more", on_change="rerun")
        with more:  # a browser takes longer to draw these than all that is above
            values |= draw_fields(rest, begun, own) if more.open else kept_fields(rest, own)
    with right:
        faults = range_faults(fields, values)
        try:
            made = drafting.anchored_settings(filled_in(begun, fields, values) | {"name": name}, folder) if not faults else None
        except InputError as error:
            made, faults = None, error.faults
        if made is None:
            refuse("training.invalid", "\n".join(faults))
            return
        _estimate(made)
        _start(made, scope)


def _name(wanted: str, scope: str) -> str:
    key, kept = f"training.name.{scope}", st.session_state.setdefault("training.kept", {})
    if key not in st.session_state:
        st.session_state[key] = kept.get(key) or drafting.free_name(wanted, _taken())
    kept[key] = st.text_input(say("training.name"), key=key, help=say("training.name_help")).strip()
    return str(kept[key])


def _taken() -> set[str]:
    """Names that runs, and jobs that will make runs, have already."""
    folder = runs_folder()
    there = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
    return there | {job.run for job in jobs(folder) if job.run and job.state() in ("waiting", "running")}


@st.cache_resource
def _estimates() -> Estimates:
    return Estimates(asking())


def _estimate(made: dict[str, Any]) -> None:
    """Parameters and needs of what is filled in; looked at again until they are there."""
    if made["method"]["kind"] not in LEARNING_RATES:
        st.caption(say("training.fitted"))
        return
    text = dump_yaml(made | {"name": "estimate"})
    whole = _estimates().of(text).is_whole
    st.fragment(_estimated, run_every=None if whole else 0.7)(text, whole)


def _estimated(text: str, was_whole: bool) -> None:  # noqa: FBT001 - what a fragment is called with
    found = _estimates().of(text)
    if found.is_whole and not was_whole:
        st.rerun()
    counted, plan = found.params, (found.plan or {}).get("stages", [None])[0]
    waits = "…" if not found.is_whole else "–"
    share = say("training.share", percent=percent(counted["trainable_percent"])) if counted else None
    st.metric(
        say("training.trainable"), f"{counted['trainable_parameters']:,}" if counted else waits, share, "off", delta_arrow="off"
    )
    left, right = st.columns(2)
    left.metric(say("training.saved_size"), size(counted["saved_bytes"]) if counted else waits)
    right.metric(say("training.total_steps"), f"{plan['steps']:,}" if plan else waits)
    for verdict in (found.plan or {}).get("verdicts", []):
        limit = verdict["limit"]
        key = "training.need" if limit is None else "training.need_of" if verdict["suffices"] else "training.too_much"
        told = say(
            key, what=say(f"training.{verdict['resource']}"), needed=size(verdict["needed"]), there=size(limit and limit["bytes"])
        )
        (st.warning if verdict["suffices"] is False else st.caption)(told)
        for shortage in verdict["shortages"] if verdict["suffices"] is False else []:
            st.code("\n".join(shortage["remedies"]), language=None, wrap_lines=True)
    for warning in (counted or {}).get("warnings", []):
        st.warning(plain(warning))
    if not found.is_whole:
        st.caption(say("training.counting"))
    for error in found.errors:
        st.caption(say("training.not_counted"))
        st.code(error, language=None, wrap_lines=True)


def _start(made: dict[str, Any], scope: str) -> None:
    name, folder = made["name"], runs_folder()
    path = own_folder("recipes") / f"{name}.yaml"
    command = ["train", str(path), "--runs", str(folder)]
    taken = _taken()
    if name in taken:
        other = drafting.free_name(name, taken)
        begun = any(job.run == name and job.is_live() for job in jobs(folder))
        st.info(say("training.at_work" if begun else "training.taken", name=plain(name)), icon=":material/info:")
        st.button(
            say("training.use", name=plain(other)), on_click=_rename, args=(scope, other), key="training.use", width="stretch"
        )
    pressed = st.button(
        say("training.start"),
        type="primary",
        icon=":material/play_arrow:",
        disabled=name in taken,
        key="training.start",
        width="stretch",
    )
    if pressed and name not in taken:  # a second click comes while the first one's run has the name
        try:
            drafting.save(own_folder("recipes"), made, overwrite=True)
            st.session_state["training.watched"] = submit(folder, [command], kind="train", run=name).number
        except (TunebenchError, OSError) as error:
            refuse("training.refused", error)
        else:
            st.session_state.pop("training.job", None)
            st.rerun()
    with st.expander(say("training.shown")):
        st.code(dump_yaml(made), language="yaml")
        st.code(shlex.join(["tunebench", *command]), language="bash", wrap_lines=True)
        st.caption(say("training.shown_note"))


def _rename(scope: str, name: str) -> None:
    st.session_state[f"training.name.{scope}"] = name


if __name__ == "__main__":
    show()
