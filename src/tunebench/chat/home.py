"""The folder that Chainlit takes for its own: settings, interface texts, page. Nothing of it stays, or lies elsewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tunebench.chat.replies import WORDS
from tunebench.languages import LANGUAGES, closest, sentences
from tunebench.listening import MOST_UPLOADED_MB

PUBLIC = Path(__file__).with_name("public")
PAGE = "page"
THEIRS = {"en": "en-US", "zh-Hant": "zh-TW", "zh-Hans": "zh-CN"}
"""Chainlit's interface texts by our language."""
TAGS = ("en", "zh", *(f"zh-{part}" for part in ("HK", "MO", "SG", "Hant", "Hant-TW", "Hant-HK", "Hant-MO", "Hans", "Hans-CN")))
"""What browsers ask for beside the tags that Chainlit has files for."""
_FROM_ELSEWHERE = re.compile(r"""<link\b[^>]*href=["']https?://[^>]*>""")
_THEME = '<script>localStorage.getItem("vite-ui-theme") ?? localStorage.setItem("vite-ui-theme", "system")</script>'
"""Light or dark is what the visitor's system says until something else is chosen; Chainlit knows no such setting."""
_SETTINGS = f"""
[project]
session_timeout = 600
allow_origins = []
cache = false

[features]
unsafe_allow_html = false
latex = false
user_message_markdown = false
edit_message = false

[features.spontaneous_file_upload]
enabled = true
accept = ["*/*"]
max_files = 5
max_size_mb = {MOST_UPLOADED_MB}

[features.audio]
enabled = false

[features.mcp]
enabled = false

[UI]
name = "tunebench"
description = "Reviews and questions for finished runs"
cot = "hidden"
custom_build = "{PAGE}"
custom_css = "/public/chat.css"
custom_js = "/public/chat.js"
custom_meta_url = "/"
custom_meta_image_url = "/favicon"

[meta]
generated_by = "2.12.0"
"""
_OTHERS = ("CHAINLIT_", "DISCORD_", "LITERAL_", "OAUTH_", "OTEL_", "SLACK_", "TEAMS_", "TRACELOOP_")
_SETTINGS_BY_NAME = {"CHAINLIT_SERVER", "CODE", "DATABASE_URL", "FEATURES", "PROJECT", "ROOT", "RUN", "UI"}
"""Chainlit takes these for settings of its own, among them where conversations are sent to."""


def furnish(home: Path) -> None:
    """Write everything that Chainlit would otherwise write into the working directory, or ask other machines for."""
    frontend = chainlit_folder() / "frontend" / "dist"
    (home / ".chainlit" / "translations").mkdir(parents=True)
    (home / ".chainlit" / "config.toml").write_text(_SETTINGS, "utf-8")
    (home / "chainlit.md").write_text("", "utf-8")
    shutil.copytree(PUBLIC, home / "public")
    (home / PAGE).mkdir()
    for there in frontend.iterdir():
        if there.name != "index.html":
            (home / PAGE / there.name).symlink_to(there)
    page = (frontend / "index.html").read_text("utf-8")
    (home / PAGE / "index.html").write_text(_FROM_ELSEWHERE.sub("", page).replace("<head>", f"<head>{_THEME}", 1), "utf-8")
    _write_translations(home / ".chainlit" / "translations")


def environment(home: Path, host: str, port: int) -> dict[str, str]:
    """The environment of the server: without what would make it send or store conversations, or read a `.env`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(_OTHERS) and name.upper() not in _SETTINGS_BY_NAME
    }
    return kept | {
        "CHAINLIT_APP_ROOT": str(home),
        "CHAINLIT_ENV_FILE": os.devnull,
        "CHAINLIT_HOST": host,
        "CHAINLIT_PORT": str(port),
        "OTEL_SDK_DISABLED": "true",
        "TRACELOOP_TELEMETRY": "false",
    }


def chainlit_folder() -> Path:
    """Where Chainlit is installed; it is not imported."""
    found = find_spec("chainlit")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def _write_translations(folder: Path) -> None:
    theirs = chainlit_folder() / "translations"
    texts = {}
    for language in LANGUAGES:
        read = json.loads((theirs / f"{THEIRS[language]}.json").read_text("utf-8"))
        ours = sentences(WORDS / f"{language}.yaml")["interface"]
        texts[language] = json.dumps(_replaced(read, ours), ensure_ascii=False)
    for tag in {path.stem for path in theirs.glob("*.json")} | set(TAGS):  # in all others the chat speaks English
        (folder / f"{tag}.json").write_text(texts[closest(tag)], "utf-8")


def _replaced(texts: dict[str, Any], ours: Mapping[str, str]) -> dict[str, Any]:
    for place, text in ours.items():
        *way, last = place.split(".")
        at = texts
        for step in way:
            at = at[step]
        at[last] = text
    return texts
