"""A JSON file that is one list of objects, or a single one: its rows, in order, each with what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tunebench.data.encoding import broken_text, open_text, without_mark
from tunebench.data.jsonlines import record
from tunebench.errors import InputError


def records(path: Path, encoding: str) -> list[tuple[dict[str, Any], str | None]]:
    """Every element of the list, as an object or as an error. Raises InputError, with line and column, where it is not JSON."""
    with open_text(path, encoding, newline="\n") as file:
        text = without_mark(file.read())
    if broken := broken_text(text, encoding):
        raise InputError(str(path), broken)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(str(path), _not_json(text, error)) from None
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), f"is not JSON that can be read: {error}") from None
    if not isinstance(value, list | dict):
        raise InputError(str(path), "expected a list of objects with named columns, found a single value")
    return [record(element) for element in (value if isinstance(value, list) else [value])]


def _not_json(text: str, error: json.JSONDecodeError) -> str:
    if not text.strip():
        return "is empty: expected a list of objects with named columns"
    where = f"is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
    lines = error.msg == "Extra data" and text.lstrip().startswith("{")
    return f"{where}; one object per line is JSON lines: name the file .jsonl" if lines else where
