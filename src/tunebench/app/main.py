"""The studio's frame: its pages, the language, and what is at work right now. Streamlit runs this file for every visit."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from tunebench.app.state import runs_folder
from tunebench.app.words import LANGUAGES, language, plain, say
from tunebench.detached.queue import jobs

VIEWS, ICON, LOOK = (Path(__file__).with_name(name) for name in ("views", "icon.svg", "frame.css"))
# Pages in the order of the work, with their pictures.
PAGES = {
    "overview": ":material/home:",
    "data": ":material/table_view:",
    "training": ":material/model_training:",
    "try_it": ":material/chat:",
    "compare": ":material/balance:",
    "runs": ":material/inventory_2:",
}


def main() -> None:
    """Draw the frame, then the page."""
    st.set_page_config(page_title="tunebench", page_icon=str(ICON), layout="wide")
    st.html(LOOK)
    st.session_state.setdefault("language", language())
    here = [page(name) for name in PAGES]
    chosen = st.navigation(here)
    with st.sidebar:
        _choose_language()
        _at_work()
        st.caption(say("main.folder", folder=plain(_from_here(runs_folder()))))
    chosen.run()


def page(name: str) -> st.Page:
    """A page of the studio by its name, for the menu and for links."""
    return st.Page(
        VIEWS / f"{name}.py", title=say(f"main.{name}"), icon=PAGES[name], url_path=name, default=name == next(iter(PAGES))
    )


def _from_here(folder: Path) -> Path:
    """The folder as a command in the terminal beside would call it."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _choose_language() -> None:
    st.selectbox(
        say("main.language"), list(LANGUAGES), format_func=LANGUAGES.__getitem__, key="language", on_change=_remember_language
    )


def _remember_language() -> None:
    st.query_params["lang"] = st.session_state["language"]


@st.fragment(run_every=3)
def _at_work() -> None:
    """What runs and what waits, wherever in the studio somebody is."""
    states = [(job, job.state()) for job in jobs(runs_folder())]
    running = [job for job, state in states if state == "running"]
    waiting = sum(state == "waiting" for _, state in states)
    if running:
        at_work = say("main.running", name=plain(running[0].run or running[0].kind))
        st.info(at_work + (say("main.waiting", number=waiting) if waiting else ""), icon=":material/progress_activity:")


main()
