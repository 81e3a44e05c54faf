"""What the studio says, in each of its languages: ``words/<language>/<page>.yaml``."""

from __future__ import annotations

import re
from pathlib import Path

import streamlit as st

from tunebench import languages

LANGUAGES, DEFAULT = languages.LANGUAGES, languages.DEFAULT
FOLDER = Path(__file__).with_name("words")
_STEERS_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|$~:=&^])")


def language() -> str:
    """The language of this visit: chosen in the sidebar, or named in the address (``?lang=zh-Hant``); English otherwise."""
    chosen = st.session_state.get("language") or st.query_params.get("lang")
    return chosen if chosen in LANGUAGES else DEFAULT


def say(key: str, **values: object) -> str:
    """The words of ``page.key`` in the language of this visit, with the values in their places."""
    return words(language(), key, **values)


def words(lang: str, key: str, **values: object) -> str:
    """The words of ``page.key`` in a language, with the values in their places."""
    page, _, name = key.partition(".")
    return str(languages.sentences(FOLDER / lang / f"{page}.yaml")[name]).format(**values)


def plain(text: object) -> str:
    """A user's text for where Markdown is read: shown as it is written, never as a picture, link or formula."""
    return _STEERS_MARKDOWN.sub(r"\\\1", str(text).replace("\n", " "))
