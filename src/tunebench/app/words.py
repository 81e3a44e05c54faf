"""What the studio says, in each of its languages: ``words/<language>/<page>.yaml``.

What the engine says is English in its own code, and only its translations stand here: ``settings.yaml``, ``checks.yaml``.
"""

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


def translated(about: str, text: str, *keys: str) -> str:
    """A text of the engine in the language of this visit, as it is where ``words/<language>/<about>.yaml`` has none for it.

    The first of the keys that the file has counts; with no keys the text itself is the key.
    """
    if language() == DEFAULT:
        return text
    known = languages.sentences(FOLDER / language() / f"{about}.yaml")
    return next((str(known[key]) for key in keys or (text,) if key in known), text)


def plain(text: object) -> str:
    """A user's text for where Markdown is read: shown as it is written, never as a picture, link or formula."""
    return _STEERS_MARKDOWN.sub(r"\\\1", str(text).replace("\n", " "))
