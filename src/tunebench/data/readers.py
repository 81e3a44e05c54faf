"""Reading tables as a stream of chunks: CSV, TSV, JSONL and Parquet, every row in order, none dropped.

A row that is not sound (too many fields, a broken JSON line) stays in its place and carries its error;
who reads decides whether that is a fault (training) or a result (prediction).
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tunebench.errors import InputError, listing, nearest

FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
CHUNK_ROWS = 2048
csv.field_size_limit(min(sys.maxsize, 2**31 - 1))


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows: ``columns[name][i]`` belongs to row ``first_row + i`` (the first data row is 1)."""

    first_row: int
    columns: dict[str, list[Any]]
    errors: list[str | None]

    def __len__(self) -> int:
        return len(self.errors)


@dataclass(frozen=True)
class TableReader:
    """An opened table: its column names, their Arrow types, and the rows as chunks, as often as asked."""

    path: Path
    types: dict[str, pa.DataType]

    def chunks(self) -> Iterator[Chunk]:
        """All rows in order, at most ``CHUNK_ROWS`` at a time."""
        read = {".csv": _delimited, ".tsv": _delimited, ".jsonl": _jsonl, ".parquet": _parquet}
        return read[self.path.suffix.lower()](self.path, list(self.types))


def open_table(path: str | Path) -> TableReader:
    """Look at a file's header and say what columns it has.

    Raises InputError for a missing or empty file, an unknown format, a column without a name or with the
    name of another one.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    try:
        if not path.is_file():
            raise InputError(
                str(path), "is a folder, not a file" if path.is_dir() else "no plain file" if path.exists() else "no such file"
            )
        if suffix not in FORMATS:
            raise InputError(str(path), f"expected a file ending in {', '.join(FORMATS)}, found {suffix or 'none'}")
        if suffix == ".parquet":
            schema = pq.read_schema(path)
            types, names = {field.name: field.type for field in schema}, schema.names
        elif suffix == ".jsonl":
            types = _jsonl_types(path)
            names = list(types)
        else:
            names = _header(path)
            types = dict.fromkeys(names, pa.string())
    except pa.ArrowException as error:
        raise InputError(str(path), f"not a Parquet file: {error}") from None
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror or str(error).strip()})") from None
    _check_names(path, names)
    return TableReader(path, types)


def require_columns(reader: TableReader, wanted: dict[str, str]) -> None:
    """Fail with every column that is wanted (``setting -> column``) and not there."""
    faults = [
        f"no column {column!r} (setting {setting}){nearest(column, reader.types)}; columns are {listing(reader.types)}"
        for setting, column in wanted.items()
        if column not in reader.types
    ]
    if faults:
        raise InputError(str(reader.path), _delimiter_fault(reader) or faults)


def cell_fault(value: Any) -> str | None:
    """What is wrong with a cell that should hold a text or a name: ``is empty``, ``holds a list …``, or nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)) or not str(value).strip():
        return "is empty"
    if isinstance(value, list | dict | bytes):
        kind = {list: "a list", dict: "an object", bytes: "bytes"}[type(value)]
        return f"holds {kind}; expected text"
    return None


def _delimiter_fault(reader: TableReader) -> str | None:
    """Words about a header that stands in one column because its cells are delimited otherwise."""
    suffix, names = reader.path.suffix.lower(), list(reader.types)
    marks = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}
    found = next((word for mark, word in marks.items() if mark in names[0]), None) if len(names) == 1 else None
    if found is None or suffix not in (".csv", ".tsv"):
        return None
    remedy = {"tabs": "name the file .tsv", "commas": "name the file .csv"}.get(found, "save it again with commas")
    wanted = "tabs" if suffix == ".tsv" else "commas"
    return f"its header {names[0]!r} is delimited by {found}, but a {suffix} file is by {wanted}; {remedy}"


def _check_names(path: Path, names: list[str]) -> None:
    if not names:
        raise InputError(str(path), "is empty: expected a header or at least one row")
    if any("\0" in name for name in names):
        raise InputError(str(path), "is no UTF-8 text: its header holds NUL bytes, as in UTF-16; save the file as UTF-8")
    faults = [
        f"column {i} has no name; give it one in the header (pandas writes such a column without `index=False`)"
        for i, name in enumerate(names, 1)
        if not name.strip()
    ]
    faults += [
        f"the column {name!r} stands {names.count(name)} times; rename all but one"
        for name in dict.fromkeys(names)
        if name.strip() and names.count(name) > 1
    ]
    if faults:
        raise InputError(str(path), faults)


def _rows_of(path: Path) -> Iterator[tuple[list[str], str | None]]:
    """Rows of a delimited file, the header first, each with what is wrong with its text.

    Blank lines are no rows, as is the custom, with one exception: under a header of a single column a blank line is
    how many programs write an empty cell, so there it is a row.
    """
    ended = False

    def lines(file: IO[str]) -> Iterator[str]:
        nonlocal ended
        yield from file
        ended = True

    row = width = 0
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            for fields in csv.reader(lines(file), delimiter="\t" if path.suffix.lower() == ".tsv" else ","):
                if fields or width == 1:
                    yield _decoded(fields or [""], unclosed=ended)  # the lines ended before the row was complete
                    row, width = row + 1, width or len(fields)
    except csv.Error as error:
        raise InputError(str(path), f"after row {row}: {error}") from None


def _decoded(fields: list[str], *, unclosed: bool) -> tuple[list[str], str | None]:
    """The fields as they can be written again, and the fault of a row whose last quote or whose bytes are wrong."""
    fault = "opens a quote that is never closed, so it holds the rest of the file" if unclosed else None
    try:
        "".join(fields).encode()
    except UnicodeEncodeError:
        fault = "is not UTF-8 (save the whole file as UTF-8)"
        fields = [field.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for field in fields]
    return fields, fault


def _header(path: Path) -> list[str]:
    names, fault = next(_rows_of(path), ([], None))
    if fault:
        raise InputError(str(path), f"the header: {fault}")
    return names


def _delimited(path: Path, names: list[str]) -> Iterator[Chunk]:
    rows = _rows_of(path)
    next(rows, None)
    first, block, errors = 1, [], list[str | None]()
    for fields, fault in rows:
        wrong = len(fields) != len(names)
        errors.append(fault or (f"has {len(fields)} fields, the header has {len(names)}" if wrong else None))
        block.append((fields + [None] * len(names))[: len(names)] if wrong else fields)
        if len(block) == CHUNK_ROWS:
            yield Chunk(first, _columns(names, block), errors)
            first, block, errors = first + len(block), [], []
    if block:
        yield Chunk(first, _columns(names, block), errors)


def _columns(names: list[str], block: list[Any]) -> dict[str, list[Any]]:
    return {name: list(column) for name, column in zip(names, zip(*block, strict=True), strict=True)}


def _objects(path: Path) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Every line that is not blank, as an object or as an error."""
    with path.open("rb") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                value = json.loads(line.decode("utf-8-sig"))
            except UnicodeDecodeError:
                yield {}, "is not UTF-8 (save the whole file as UTF-8)"
                continue
            except (ValueError, RecursionError) as error:
                yield {}, f"is not a line of JSON: {error}"
                continue
            yield _sound(value) if isinstance(value, dict) else ({}, "expected a JSON object with named columns")


def _sound(value: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The object, and its fault where it holds half a character (a lone ``\\ud83d``), which no file can hold."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return json.loads(text.encode("utf-8", "replace")), f"holds half a character ({error.object[error.start]!r})"
    return value, None


def _jsonl_types(path: Path) -> dict[str, pa.DataType]:
    kinds: dict[str, set[type]] = {}
    faults: list[str] = []
    for value, fault in _objects(path):
        faults += [fault] if fault and not faults else []
        for key, inner in value.items():
            kinds.setdefault(key, set()).add(_kind(inner))
    if faults and not kinds:
        raise InputError(str(path), f"no line is sound; the first one: {faults[0]}")
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


def _jsonl(path: Path, names: list[str]) -> Iterator[Chunk]:
    first, block, errors = 1, [], list[str | None]()
    for value, error in _objects(path):
        block.append([value.get(name) for name in names])
        errors.append(error)
        if len(block) == CHUNK_ROWS:
            yield Chunk(first, _columns(names, block), errors)
            first, block, errors = first + len(block), [], []
    if block:
        yield Chunk(first, _columns(names, block), errors)


def _parquet(path: Path, names: list[str]) -> Iterator[Chunk]:
    first = 1
    with pq.ParquetFile(path) as file:
        batches = file.iter_batches(CHUNK_ROWS)
        while True:
            try:
                batch = next(batches, None)
                columns = {} if batch is None else {name: batch.column(name).to_pylist() for name in names}
            except (pa.ArrowException, OSError, ValueError) as error:
                raise InputError(str(path), f"after row {first - 1}: not readable ({error})") from None
            if batch is None:
                return
            yield Chunk(first, columns, [None] * batch.num_rows)
            first += batch.num_rows
