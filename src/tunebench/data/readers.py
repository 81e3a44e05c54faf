"""Reading tables as a stream of chunks: CSV, TSV, JSON, JSONL and Parquet, every row in order, none dropped.

A row that is not sound (too many fields, a broken JSON line) stays in its place and carries its error;
who reads decides whether that is a fault (training) or a result (prediction).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tunebench.data import delimited, encoding, jsonlines, jsonlist
from tunebench.errors import InputError, listing, nearest

FORMATS = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
CHUNK_ROWS = 2048
LONGEST_TEXT = 10_000_000
"""Characters; a longer cell is taken for a mistake, as a tokenizer would need gigabytes and minutes for it."""


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
    """An opened table: its column names, their Arrow types, and the rows as chunks, as often as asked.

    ``encoding`` and ``delimiter`` are those it is read with, None where the format has none. ``remark`` says what was
    found out about the file and is not what everybody expects of it.
    """

    path: Path
    types: dict[str, pa.DataType]
    read: Callable[[], Iterator[Chunk]] = field(repr=False, compare=False)
    encoding: str | None = None
    delimiter: str | None = None
    remark: str | None = None

    def chunks(self) -> Iterator[Chunk]:
        """All rows in order, at most ``CHUNK_ROWS`` at a time."""
        return self.read()


def open_table(path: str | Path, encoding: str | None = None, delimiter: str | None = None) -> TableReader:
    """Look at a file's header and say what columns it has; encoding and delimiter are found out where they are not told.

    Raises InputError for a missing or empty file, an unknown format or encoding, a column without a name or with
    the name of another one.
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
            return _open_parquet(path)
        open_one = {".jsonl": _open_lines, ".json": _open_list}.get(suffix, _open_delimited)
        return open_one(path, encoding, delimiter)
    except pa.ArrowException as error:
        raise InputError(str(path), f"not a Parquet file: {error}") from None
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror or str(error).strip()})") from None


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
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return f"holds {len(value):,} characters; at most {LONGEST_TEXT:,} are read"
    return None


def in_chunks(rows: Iterable[tuple[list[Any], str | None]], names: list[str]) -> Iterator[Chunk]:
    """Rows as lists of cells, each with its error, as chunks of the columns ``names``."""
    left, first = iter(rows), 1
    while block := list(islice(left, CHUNK_ROWS)):
        cells, errors = zip(*block, strict=True)
        columns = {name: list(column) for name, column in zip(names, zip(*cells, strict=True), strict=True)}
        yield Chunk(first, columns, list(errors))
        first += len(block)


def _delimiter_fault(reader: TableReader) -> str | None:
    """Words about a header that stands in one column because the delimiter that was told is not the one it has."""
    names = list(reader.types)
    if reader.delimiter is None or len(names) > 1:
        return None
    found = next((word for mark, word in delimited.DELIMITERS.items() if mark in names[0]), None)
    told = f"its header {names[0]!r} is one cell when delimited by {reader.delimiter!r}"
    return f"{told}; it looks delimited by {found}: set data.delimiter, or leave it out" if found else None


def _check_names(path: Path, names: list[str]) -> None:
    if not names:
        raise InputError(str(path), "is empty: expected a header or at least one row")
    if any("\0" in name for name in names):
        raise InputError(str(path), "is no text: its header holds NUL bytes; save the file as UTF-8")
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


def _encoding_of(path: Path, told: str | None) -> str:
    return encoding.known_encoding(told, f"{path}: data.encoding") if told else encoding.found_encoding(path)


def _open_delimited(path: Path, told: str | None, told_delimiter: str | None) -> TableReader:
    name = _encoding_of(path, told)
    if told_delimiter:
        mark = delimited.known_delimiter(told_delimiter, f"{path}: data.delimiter")
    else:
        mark = delimited.found_delimiter(path, name)
    names, fault = next(delimited.rows(path, name, mark), ([], None))
    if fault:
        raise InputError(str(path), f"the header: {fault}")
    _check_names(path, names)
    odd = (not told and name != "utf-8") or (not told_delimiter and mark != delimited.customary_delimiter(path))
    return TableReader(
        path,
        dict.fromkeys(names, pa.string()),
        lambda: in_chunks(_fitted(path, name, mark, len(names)), names),
        name,
        mark,
        f"{path.name} is read as {name}, delimited by {mark!r}" if odd else None,
    )


def _fitted(path: Path, name: str, mark: str, width: int) -> Iterator[tuple[list[Any], str | None]]:
    """The rows below the header, each with as many cells as it has; one that had more or fewer says so."""
    rows = delimited.rows(path, name, mark)
    next(rows, None)
    for fields, fault in rows:
        if len(fields) == width:
            yield fields, fault
        else:
            cells = (fields + [None] * width)[:width]
            yield cells, fault or f"has {len(fields)} fields, the header has {width}"


def _open_lines(path: Path, told: str | None, _: str | None) -> TableReader:
    name = _encoding_of(path, told)
    types = jsonlines.column_types(path, name)
    names = list(types)
    _check_names(path, names)
    return TableReader(
        path,
        types,
        lambda: in_chunks((([value.get(key) for key in names], error) for value, error in jsonlines.objects(path, name)), names),
        name,
        remark=f"{path.name} is read as {name}" if not told and name != "utf-8" else None,
    )


def _open_list(path: Path, told: str | None, _: str | None) -> TableReader:
    name = _encoding_of(path, told)
    rows = jsonlist.records(path, name)
    types = jsonlines.types_of(path, rows)
    names = list(types)
    _check_names(path, names)
    return TableReader(
        path,
        types,
        lambda: in_chunks((([value.get(key) for key in names], error) for value, error in rows), names),
        name,
        remark=f"{path.name} is read as {name}" if not told and name != "utf-8" else None,
    )


def _open_parquet(path: Path) -> TableReader:
    schema = pq.read_schema(path)
    _check_names(path, schema.names)
    types = {field.name: field.type for field in schema}
    return TableReader(path, types, lambda: _parquet(path, list(types)))


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
