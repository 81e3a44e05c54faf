"""Writing tables chunk by chunk, beside the target and renamed into place when complete."""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tunebench.data.readers import FORMATS
from tunebench.errors import InputError, TunebenchError

Write = Callable[[dict[str, list[Any]]], None]


@contextlib.contextmanager
def table_writer(path: str | Path, types: dict[str, pa.DataType]) -> Iterator[Write]:
    """A function that appends columns to a new table at ``path`` (CSV, TSV, JSONL or Parquet by its ending).

    The file appears only when the block ends without an error; before that it stands beside it as ``.part``.
    Raises InputError for an unknown ending, TunebenchError where the place cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise InputError(str(path), f"expected an output file ending in {', '.join(FORMATS)}, found {suffix or 'no ending'!r}")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    open_one = {".csv": _delimited, ".tsv": _delimited, ".jsonl": _jsonl, ".parquet": _parquet}[suffix]
    try:
        with open_one(part, types, "\t" if suffix == ".tsv" else ",") as write:
            yield write
        os.replace(part, path)
    except OSError as error:
        raise TunebenchError(
            f"{path}: cannot be written ({error.strerror}); choose a folder that exists, is writable and has room"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _rows(columns: dict[str, list[Any]], names: list[str]) -> Iterator[tuple[Any, ...]]:
    return zip(*(columns[name] for name in names), strict=True)


@contextlib.contextmanager
def _delimited(path: Path, types: dict[str, pa.DataType], delimiter: str) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        out.writerow(types)
        yield lambda columns: out.writerows([_cell(value) for value in row] for row in _rows(columns, list(types)))


def _cell(value: Any) -> Any:
    """A value as a CSV cell: lists and objects as JSON, truth values as JSON writes them."""
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, (list, dict, bool)) else value


@contextlib.contextmanager
def _jsonl(path: Path, types: dict[str, pa.DataType], _: str) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as file:
        yield lambda columns: _write_objects(file, columns, list(types))


def _write_objects(file: IO[str], columns: dict[str, list[Any]], names: list[str]) -> None:
    for row in _rows(columns, names):
        file.write(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, default=str) + "\n")


@contextlib.contextmanager
def _parquet(path: Path, types: dict[str, pa.DataType], _: str) -> Iterator[Write]:
    schema = pa.schema(list(types.items()))
    with pq.ParquetWriter(path, schema) as out:
        yield lambda columns: out.write_table(
            pa.table({name: pa.array(_typed(columns[name], kind), kind) for name, kind in types.items()}, schema=schema)
        )


def _typed(values: list[Any], kind: pa.DataType) -> list[Any]:
    if not pa.types.is_string(kind):
        return values
    return [
        value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        for value in values
    ]
