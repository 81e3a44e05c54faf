"""Reading tables as a stream of chunks: CSV, TSV, JSONL and Parquet, every row in order, none dropped.

A row that is not sound (too many fields, a broken JSON line) stays in its place and carries its error;
who reads decides whether that is a fault (training) or a result (prediction).
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tunebench.errors import InputError, listing

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
    if suffix not in FORMATS:
        raise InputError(str(path), f"expected a file ending in {', '.join(FORMATS)}, found {suffix or 'no ending'!r}")
    if not path.is_file():
        raise InputError(str(path), "is a folder, not a file" if path.is_dir() else "no such file")
    try:
        if suffix == ".parquet":
            types = {field.name: field.type for field in pq.read_schema(path)}
            names = pq.read_schema(path).names
        elif suffix == ".jsonl":
            types = _jsonl_types(path)
            names = list(types)
        else:
            names = _header(path)
            types = dict.fromkeys(names, pa.string())
    except pa.ArrowInvalid as error:
        raise InputError(str(path), f"not a Parquet file: {error}") from None
    _check_names(path, names)
    return TableReader(path, types)


def require_columns(reader: TableReader, wanted: dict[str, str]) -> None:
    """Fail with every column that is wanted (``setting -> column``) and not there."""
    faults = [
        f"no column {column!r} (setting {setting}); columns are {listing(reader.types)}"
        for setting, column in wanted.items()
        if column not in reader.types
    ]
    if faults:
        raise InputError(str(reader.path), faults)


def _check_names(path: Path, names: list[str]) -> None:
    if not names:
        raise InputError(str(path), "is empty: expected a header or at least one row")
    faults = [f"column {i} has no name; give it one in the header" for i, name in enumerate(names, 1) if not name.strip()]
    faults += [
        f"the column {name!r} stands {names.count(name)} times; rename all but one"
        for name in dict.fromkeys(names)
        if name.strip() and names.count(name) > 1
    ]
    if faults:
        raise InputError(str(path), faults)


def _rows_of(path: Path) -> Iterator[list[str]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    row = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row, fields in enumerate(csv.reader(file, delimiter=delimiter)):  # noqa: B007 - named in the error
                if fields:
                    yield fields
    except UnicodeDecodeError as error:
        raise InputError(str(path), f"after row {row}: not UTF-8 ({error.reason}); save the file as UTF-8") from None
    except csv.Error as error:
        raise InputError(str(path), f"after row {row}: {error}") from None


def _header(path: Path) -> list[str]:
    return next(_rows_of(path), [])


def _delimited(path: Path, names: list[str]) -> Iterator[Chunk]:
    rows = _rows_of(path)
    next(rows, None)
    first, block, errors = 1, [], list[str | None]()
    for fields in rows:
        wrong = len(fields) != len(names)
        errors.append(f"has {len(fields)} fields, the header has {len(names)}" if wrong else None)
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
            except ValueError as error:
                yield {}, f"not a line of JSON: {error}"
                continue
            yield (value, None) if isinstance(value, dict) else ({}, "expected a JSON object with named columns")


def _jsonl_types(path: Path) -> dict[str, pa.DataType]:
    kinds: dict[str, set[type]] = {}
    for value, _ in _objects(path):
        for key, inner in value.items():
            kinds.setdefault(key, set()).add(type(inner))
    return {key: _arrow_type(found - {type(None)}) for key, found in kinds.items()}


def _arrow_type(kinds: set[type]) -> pa.DataType:
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
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
    for batch in pq.ParquetFile(path).iter_batches(CHUNK_ROWS):
        yield Chunk(first, {name: batch.column(name).to_pylist() for name in names}, [None] * batch.num_rows)
        first += batch.num_rows
