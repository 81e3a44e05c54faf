"""Data: from a file to a saved recipe, with what `check` knows drawn before anything is trained."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from tunebench.app import datasheet, drafting, uploads
from tunebench.app.data_drawn import draw_sheet
from tunebench.app.refusal import refuse
from tunebench.app.state import own_folder, runs_folder
from tunebench.app.words import plain, say
from tunebench.data.readers import FORMATS
from tunebench.detached.queue import jobs, submit
from tunebench.errors import InputError, TunebenchError
from tunebench.listening import MOST_UPLOADED_MB
from tunebench.recipe.spec import Recipe
from tunebench.runs.starter import starter_path

_LONGEST = 100_000  # tokens; more has no base


def show() -> None:
    """Draw the page."""
    st.title(say("main.data"))
    st.caption(say("data.lead"))
    source = _source()
    if source is None:
        return
    try:
        drafted = _columns(source)
        if drafted is not None:
            _looked_through(source, drafted)
    except (TunebenchError, OSError) as error:
        refuse("data.refused", error)


def _source() -> str | None:
    """The path or starter that the user has chosen; None while there is none."""
    ways = {way: say(f"data.{way}") for way in ("drop", "path", "starter")}
    way = st.segmented_control(
        say("data.source"), list(ways), default="drop", format_func=ways.__getitem__, key="data.way", required=True
    )
    try:
        found = {"path": _typed, "starter": _starter}.get(way or "drop", _dropped)()
    except (TunebenchError, OSError) as error:
        refuse("data.refused", error)
        return None
    if found is None and way != "starter":
        st.info(say("data.nothing"), icon=":material/info:")
    return found


def _dropped() -> str | None:
    """The uploaded file; it stays the one while other pages are looked at, until it is taken away or another comes."""
    endings = [ending.removeprefix(".") for ending in FORMATS]
    file = st.file_uploader(say("data.file", most=MOST_UPLOADED_MB), type=endings, key="data.file", on_change=_forget)
    st.caption(say("data.larger"))
    if file is not None and "data.kept" not in st.session_state:
        st.session_state["data.kept"] = str(uploads.keep(own_folder("uploads"), file.name, file.getvalue()))
    kept: str | None = st.session_state.get("data.kept")
    if kept is not None and file is None:
        st.caption(say("data.in_use", name=plain(uploads.shown_name(Path(kept)))))
    return kept


def _forget() -> None:
    st.session_state.pop("data.kept", None)


def _typed() -> str | None:
    typed = st.text_input(say("data.typed"), help=say("data.typed_help"), key="data.typed")
    return str(uploads.local_file(typed)) if typed.strip() else None


def _starter() -> str | None:
    try:
        for name in ("reviews", "minilm"):
            starter_path(name)
    except InputError:
        _fetch_starter()
        return None
    return drafting.STARTER_DATA


@st.fragment(run_every=2)
def _fetch_starter() -> None:
    """Fetching is a job like any other; the page goes on by itself when it is done."""
    fetching = next((job for job in jobs(runs_folder()) if job.kind == "starter"), None)
    state = fetching.state() if fetching is not None else None
    if state in ("waiting", "running"):
        st.info(say("data.starter_fetching"), icon=":material/download:")
        return
    if state == "finished":
        st.rerun()
    st.info(say("data.starter_missing"), icon=":material/info:")
    if fetching is not None and state is not None:
        refuse("data.starter_failed", fetching.log_tail(10))
    if st.button(say("data.starter_fetch"), type="primary", key="data.fetch"):
        try:
            submit(runs_folder(), [["starter"]], kind="starter", run=None)
        except TunebenchError as error:
            refuse("data.starter_failed", error)
        else:
            st.rerun(scope="fragment")


def _columns(source: str) -> drafting.Draft | None:
    """The draft for a source with the columns as guessed or as chosen; None while they are not clear."""
    names = drafting.columns_of(source)
    folder = own_folder("recipes")
    if source == drafting.STARTER_DATA or not names:
        return drafting.draft(source, None, None, folder)
    if st.session_state.get("data.of") != source:
        st.session_state["data.of"] = source
        try:
            guessed = drafting.draft(source, None, None, folder).data
        except InputError as error:
            guessed = {}
            st.session_state["data.unclear"] = str(error)
        else:
            st.session_state.pop("data.unclear", None)
        st.session_state["data.guess"] = {"text": guessed.get("text"), "label": guessed.get("label")}
        st.session_state["data.chosen"] = dict(st.session_state["data.guess"])
    st.header(say("data.columns"))
    chosen = st.session_state["data.chosen"]
    for place, role in zip(st.columns(2), ("text", "label"), strict=True):
        key = f"data.column.{role}.{source}"
        if key not in st.session_state:
            st.session_state[key] = chosen[role] if chosen[role] in names else None
        chosen[role] = place.selectbox(say(f"data.{role}"), names, index=None, placeholder=say("data.choose"), key=key)
    if chosen["text"] is None or chosen["label"] is None:
        st.warning(say("data.columns_unclear"), icon=":material/help:")
        if "data.unclear" in st.session_state:
            st.code(st.session_state["data.unclear"], language=None, wrap_lines=True)
        return None
    return drafting.draft(source, chosen["text"], chosen["label"], folder)


def _looked_through(source: str, drafted: drafting.Draft) -> None:
    """What `check` finds, and the way on."""
    measured = drafted.base["model"].startswith("starter:")
    max_length = drafted.base["max_length"]
    if measured:
        key = f"data.length.{source}"
        st.session_state.setdefault(key, max_length)
        max_length = st.number_input(
            say("data.max_length"), 4, _LONGEST, None, 1, help=say("data.max_length_help"), key=key, width=240
        )
    settings = drafted.settings("draft", max_length)
    recipe = drafting.as_recipe(settings, own_folder("recipes"))
    try:
        sheet = _sheet(recipe if measured else datasheet.without_base(recipe), source)
    except (TunebenchError, OSError) as error:
        refuse("data.check_failed", error)
        return
    draw_sheet(sheet)
    _save(source, drafted, max_length)


def _sheet(recipe: Recipe, source: str) -> datasheet.Sheet:
    """Looked through once, until the settings or the file are others; leaving the page, or another choice, ends the looking."""
    key = (recipe, source, _stamp(source))
    known = st.session_state.get("data.sheet")
    if known is not None and known[0] == key:
        found: datasheet.Sheet = known[1]
        return found
    bar = st.empty()
    bar.progress(0.0, say("data.looking"))

    def tell(rows: int) -> None:
        bar.progress(rows / (rows + 20_000), say("data.looking_rows", rows=f"{rows:,}"))

    found = datasheet.look(recipe, tell)
    bar.empty()
    st.session_state["data.sheet"] = (key, found)
    return found


def _stamp(source: str) -> tuple[int, int]:
    path = Path(source)
    return (path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else (0, 0)


def _save(source: str, drafted: drafting.Draft, max_length: int | None) -> None:
    st.header(say("data.save_title"))
    folder = own_folder("recipes")
    key = f"data.name.{source}"
    if key not in st.session_state:
        file = "reviews" if source == drafting.STARTER_DATA else uploads.shown_name(Path(source))
        st.session_state[key] = drafting.free_name(drafting.name_for(file), drafting.saved_recipes(folder))
    name = st.text_input(say("data.name"), help=say("data.name_help"), key=key, width=480)
    if st.button(say("data.save"), type="primary", icon=":material/arrow_forward:", key="data.save"):
        try:
            drafting.save(folder, drafted.settings(name.strip(), max_length))
        except (TunebenchError, OSError) as error:
            refuse("data.save_refused", error)
        else:
            st.session_state["training.source"] = name.strip()
            st.switch_page("views/training.py")


if __name__ == "__main__":
    show()
