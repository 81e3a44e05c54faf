"""Tables of delimited text (CSV, TSV): which delimiter a file has, and its rows with what is wrong with each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tunebench.data.encoding import broken_text, open_text, without_mark, writable
from tunebench.errors import InputError

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SAMPLE = 1 << 16
"""Characters at the beginning of a file that show its delimiter."""
_LONGEST_CELL = 1 << 27
"""A cell of more characters ends the reading, as a quote that is never closed would else fill the memory."""
csv.field_size_limit(_LONGEST_CELL)


def customary_delimiter(path: Path) -> str:
    """What the file's ending promises: a tab for ``.tsv``, else a comma."""
    return "\t" if path.suffix.lower() == ".tsv" else ","


def known_delimiter(delimiter: str, subject: str) -> str:
    """The delimiter; InputError for a character that ends cells or rows in another way."""
    if len(delimiter) != 1 or delimiter in '"\r\n\0':
        raise InputError(subject, f"{delimiter!r} is no delimiter; expected one character such as ',' ';' '|' or a tab")
    return delimiter


def found_delimiter(path: Path, encoding: str) -> str:
    """The delimiter that the beginning of a file shows: it splits the header, and most rows into as many cells.

    Where several do so equally well, the customary one; it is also what a file of a single column has.
    """
    custom = customary_delimiter(path)
    with open_text(path, encoding, newline="") as file:
        sample = without_mark(file.read(_SAMPLE))
    shares = {mark: _share(sample, mark) for mark in dict.fromkeys((custom, *DELIMITERS))}
    best = max(shares, key=lambda mark: shares[mark])
    return best if shares[best] >= 0.5 else custom


def _share(sample: str, delimiter: str) -> float:
    """The share of rows with as many cells as the header has; 0 where it has a single one."""
    try:
        widths = [len(row) for row in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter) if row]
    except csv.Error:
        return 0
    if len(sample) == _SAMPLE and len(widths) > 1:
        widths.pop()  # which may have been cut
    header, *others = widths or [0]
    if header < 2:
        return 0
    return sum(width == header for width in others) / len(others) if others else 1


def rows(path: Path, encoding: str, delimiter: str) -> Iterator[tuple[list[str], str | None]]:
    """Rows of a delimited file, the header first, each with what is wrong with its text.

    Blank lines are no rows, as is the custom, with one exception: under a header of a single column a blank line is
    how many programs write an empty cell, so there it is a row.
    """
    ended = False

    def lines(file: IO[str]) -> Iterator[str]:
        nonlocal ended
        yield without_mark(file.readline())
        yield from file
        ended = True

    row = width = 0
    try:
        with open_text(path, encoding, newline="") as file:
            for fields in csv.reader(lines(file), delimiter=delimiter):
                if fields or width == 1:
                    yield _sound(fields or [""], encoding, unclosed=ended)  # the lines ended before the row was complete
                    row, width = row + 1, width or len(fields)
    except csv.Error:
        fault = f"a cell holds more than {_LONGEST_CELL:,} characters; look for a quote that is never closed"
        raise InputError(str(path), f"after row {max(0, row - 1)}: {fault}") from None
    except UnicodeError as error:
        raise InputError(str(path), f"after row {max(0, row - 1)}: not {encoding} text ({error}); name another one") from None


def _sound(fields: list[str], encoding: str, *, unclosed: bool) -> tuple[list[str], str | None]:
    """The fields as they can be written again, and the fault of a row whose last quote or whose bytes are wrong."""
    fault = "opens a quote that is never closed, so it holds the rest of the file" if unclosed else None
    if broken := broken_text("".join(fields), encoding):
        return [writable(field) for field in fields], broken
    return fields, fault
