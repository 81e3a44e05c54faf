"""The studio's pages as tests see them: drawn without a browser, read as text."""

from __future__ import annotations

import re
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tunebench.app.words import FOLDER
from tunebench.asking.client import Asking
from tunebench.errors import TunebenchError


def mute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the answering process count nothing, and not be started for it."""

    def refuse(self: Asking, recipe_text: str) -> dict[str, Any]:
        raise TunebenchError("nothing is counted here")

    monkeypatch.setattr(Asking, "params", refuse)
    monkeypatch.setattr(Asking, "plan", refuse)


def page_of(name: str, language: str = "en", state: dict[str, Any] | None = None) -> AppTest:
    """A page, drawn, with what another page has left in the state of the visit."""
    studio = AppTest.from_file(str(FOLDER.with_name("main.py")), default_timeout=60)
    studio.query_params["lang"] = language
    for key, value in (state or {}).items():
        studio.session_state[key] = value
    return studio.switch_page(f"views/{name}.py").run()


def text(studio: AppTest) -> str:
    """All that the page says as text, as it is read."""
    parts = [*studio.markdown, *studio.caption, *studio.error, *studio.warning, *studio.success, *studio.info, *studio.code]
    return re.sub(r"\\(.)", r"\1", "\n".join(part.value for part in [*parts, *studio.header]))
