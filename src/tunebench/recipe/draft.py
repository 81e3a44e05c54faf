"""The text of a first recipe: what was guessed, everything else left to its default."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunebench.recipe.closed import PACKAGE, STARTER
from tunebench.recipe.load import dump_yaml, parse_yaml, validate

_HEAD = "# Written by `tunebench init`. What else can be said: `tunebench schema`, docs/recipe.md.\n"
_COMMENTS = {"validation": "chooses the best checkpoint", "test": "scored once, at the end"}


def draft_text(name: str, base: Mapping[str, Any] | None, data: Mapping[str, Any], method: str, subject: str) -> str:
    """A recipe as YAML that loads; InputError where a setting is not one, such as an unknown method."""
    settings = {"name": name, "seed": 42, "base": base and dict(base), "data": dict(data), "method": {"kind": method}}
    text = dump_yaml({key: value for key, value in settings.items() if value is not None})
    for key, comment in _COMMENTS.items():
        text = re.sub(rf"^  {key}:", f"  # {comment}\n  {key}:", text, count=1, flags=re.MULTILINE)
    validate(parse_yaml(text, subject), subject)
    return _HEAD + text


def draft_name(data: Path, method: str) -> str:
    """A name for a run out of the name of its data: ``reviews-lora`` for ``reviews.csv`` and ``reviews/train.csv``."""
    stem = re.sub(r"(?i)(?<![a-z0-9])train(ing)?(?![a-z0-9])", "", data.stem if data.is_file() else data.name)
    plain, folder = (re.sub(r"[^A-Za-z0-9._-]+", "-", word).strip("-._") for word in (stem, data.parent.name))
    return f"{(plain or folder or 'recipe')[:80]}-{method}"


def relative_path(path: Path, folder: Path) -> str:
    """How a recipe in ``folder`` names a file or folder."""
    relative = Path(os.path.relpath(path, folder)).as_posix()
    return f"./{relative}" if relative.startswith(("~", STARTER, PACKAGE)) else relative  # which mean something else
