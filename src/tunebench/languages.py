"""The languages that studio and chat speak, and the files with what they say."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

LANGUAGES = {"en": "English", "zh-Hant": "繁體中文", "zh-Hans": "简体中文"}
DEFAULT = "en"
_TRADITIONAL = ("hant", "tw", "hk", "mo")


def closest(tag: str) -> str:
    """The language for what a browser asks for (``zh-TW``, ``zh_Hans``, ``fr``): English where none is near."""
    first, *rest = tag.lower().replace("_", "-").split("-")
    if first != "zh":
        return DEFAULT
    if "hans" in rest:
        return "zh-Hans"
    return "zh-Hant" if any(part in _TRADITIONAL for part in rest) else "zh-Hans"


@lru_cache
def sentences(path: Path) -> dict[str, Any]:
    """What a YAML file of words holds, by name."""
    return dict(yaml.safe_load(path.read_text("utf-8")))
