"""JSON lines: every line one object, or in its place what is wrong with it; and the types that hold all their values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from tunebench.data.encoding import broken_text, open_text, without_mark
from tunebench.errors import InputError

_BLANK = " \t\r\n\v\f"


def objects(path: Path, encoding: str) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Every line that is not blank, as an object or as an error."""
    with open_text(path, encoding, newline="\n") as file:
        for line in file:
            text = without_mark(line).strip(_BLANK)
            if text:
                broken = broken_text(text, encoding)
                yield ({}, broken) if broken else _object(text)


def _object(text: str) -> tuple[dict[str, Any], str | None]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return {}, f"is not a line of JSON: {error}"
    return record(value)


def record(value: Any) -> tuple[dict[str, Any], str | None]:
    """A JSON value as an object, and its fault where it is none or holds half a character (a lone ``\\ud83d``)."""
    if not isinstance(value, dict):
        return {}, "expected a JSON object with named columns"
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return json.loads(text.encode("utf-8", "replace")), f"holds half a character ({error.object[error.start]!r})"
    return value, None


def column_types(path: Path, encoding: str) -> dict[str, pa.DataType]:
    """The columns of all lines together and the Arrow type that holds every value of each; InputError where no line is sound."""
    return types_of(path, objects(path, encoding))


def types_of(path: Path, records: Iterable[tuple[dict[str, Any], str | None]]) -> dict[str, pa.DataType]:
    """The same of records that were read already."""
    kinds: dict[str, set[type]] = {}
    faults: list[str] = []
    for value, fault in records:
        faults += [fault] if fault and not faults else []
        for key, inner in value.items():
            kinds.setdefault(key, set()).add(_kind(inner))
    if faults and not kinds:
        raise InputError(str(path), f"no row is sound; the first one: {faults[0]}")
    return {key: _arrow_type(found - {type(None)}) for key, found in kinds.items()}


class _Long(int):
    """Stands for whole numbers that float64 does not hold exactly."""


def _kind(value: Any) -> type:
    if type(value) is not int or abs(value) <= 2**53:
        return type(value)
    return _Long if -(2**63) <= value < 2**63 else str


def _arrow_type(kinds: set[type]) -> pa.DataType:
    if kinds == {bool}:
        return pa.bool_()
    if kinds and kinds <= {int, _Long}:
        return pa.int64()
    if kinds and kinds <= {int, float}:
        return pa.float64()
    return pa.string()
