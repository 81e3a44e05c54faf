"""Writing tables chunk by chunk, beside the target and renamed into place when complete.

Every value comes back as it was, except that JSON has no NaN and no infinity: as a number in JSONL, and inside a
list or an object that is written as text, these become null. The text "NaN" stays a text.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tunebench.errors import InputError, TunebenchError

Write = Callable[[dict[str, list[Any]]], None]
FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")


@contextlib.contextmanager
def table_writer(path: str | Path, types: dict[str, pa.DataType]) -> Iterator[Write]:
    """A function that appends columns to a new table at ``path`` (CSV, TSV, JSONL or Parquet by its ending).

    The file appears only when the block ends without an error; before that it stands beside it as ``.part``.
    Raises InputError for an unknown ending, TunebenchError where the place cannot be written or a column cannot hold
    a value. What the block itself raises passes through unchanged.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise InputError(str(path), f"expected an output file ending in {', '.join(FORMATS)}, found {suffix or 'no ending'!r}")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    open_one = {".csv": _delimited, ".tsv": _delimited, ".jsonl": _jsonl, ".parquet": _parquet}[suffix]
    opened = contextlib.ExitStack()
    try:
        with _explained(path):
            write = opened.enter_context(open_one(part, types, "\t" if suffix == ".tsv" else ","))
        yield _explained(path)(write)
        with _explained(path):
            opened.close()
            os.replace(part, path)
    finally:
        with contextlib.suppress(OSError, pa.ArrowException):  # another error is on its way
            opened.close()
        with contextlib.suppress(OSError):
            part.unlink()


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn a fault of the file or of its format into a TunebenchError about ``path``."""
    try:
        yield
    except OSError as error:
        raise TunebenchError(
            f"{path}: cannot be written ({error.strerror or error}); choose a folder that exists, is writable and has room"
        ) from error
    except pa.ArrowException as error:
        raise TunebenchError(
            f"{path}: a value does not fit its column ({error}); nothing was written, write .jsonl or .csv instead"
        ) from error


def _rows(columns: dict[str, list[Any]], names: list[str]) -> Iterator[tuple[Any, ...]]:
    return zip(*(columns[name] for name in names), strict=True)


class UnixLines:
    """A text file for ``csv.writer`` that ends rows with ``\\n`` alone.

    The writer must not be told so itself: it quotes only cells that hold the delimiter, a quote or a character of its
    line terminator, so with ``\\n`` a lone ``\\r`` would stay bare and be read as the end of a row.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, row: str) -> int:
        """Write one row, which ends with the writer's own ``\\r\\n``."""
        return self._file.write(row.removesuffix("\r\n") + "\n")


@contextlib.contextmanager
def _delimited(path: Path, types: dict[str, pa.DataType], delimiter: str) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(UnixLines(file), delimiter=delimiter, lineterminator="\r\n")
        out.writerow(types)
        yield lambda columns: out.writerows([_cell(value) for value in row] for row in _rows(columns, list(types)))


def _cell(value: Any) -> Any:
    """A value as a CSV cell: lists and objects as JSON, truth values as JSON writes them."""
    return _json(value) if isinstance(value, (list, dict, bool)) else value


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, default=str)


def _finite(value: Any) -> Any:
    """The value with null in place of NaN and infinity, however deep they stand."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextlib.contextmanager
def _jsonl(path: Path, types: dict[str, pa.DataType], _: str) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as file:
        yield lambda columns: _write_objects(file, columns, list(types))


def _write_objects(file: IO[str], columns: dict[str, list[Any]], names: list[str]) -> None:
    for row in _rows(columns, names):
        file.write(_json(dict(zip(names, row, strict=True))) + "\n")


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
    return [str(v) if isinstance(v, float) else v if v is None or isinstance(v, str) else _json(v) for v in values]
