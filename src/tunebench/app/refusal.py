"""How the studio says that something did not work: a sentence in the user's language, below it the reason."""

from __future__ import annotations

import streamlit as st

from tunebench.app.words import say


def refuse(key: str, reason: Exception | str) -> None:
    """An error of the page: the words of ``key``, and the reason as it came, which is plain text."""
    st.error(say(key), icon=":material/error:")
    st.code(str(reason), language=None, wrap_lines=True)
