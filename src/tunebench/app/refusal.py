"""How the studio says that something did not work: a sentence in the user's language, below it the reason."""

from __future__ import annotations

from collections.abc import Collection

import streamlit as st

from tunebench.app.words import plain, say


def refuse(key: str, reason: Exception | str) -> None:
    """An error of the page: the words of ``key``, and the reason as it came, which is plain text."""
    st.error(say(key), icon=":material/error:")
    st.code(str(reason), language=None, wrap_lines=True)


def tell_vanished(chosen: Collection[str], known: Collection[str]) -> bool:
    """A word about runs that were chosen and are not there any more; whether there are such."""
    gone = [name for name in chosen if name not in known]
    if gone:
        st.warning(say("main.vanished", names=plain(", ".join(gone))), icon=":material/warning:")
    return bool(gone)
