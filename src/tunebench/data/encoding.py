"""How the bytes of a text file are read: by the encoding that was named, else by the one that the bytes show.

Finding out reads the file once, block by block, and never holds more than a block of it.
"""

from __future__ import annotations

import codecs
import encodings.aliases
from pathlib import Path
from typing import IO

from tunebench.errors import InputError, nearest

BROKEN = "\udcff"
"""Stands for bytes that the encoding does not have; no sound text holds it."""
_ERRORS = "tunebench.broken"
_BLOCK = 1 << 20
_ENOUGH = 1_000_000
"""So many broken places decide; a large file that is no text at all is not read further."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before the mark of UTF-16, with which it begins
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_HIGH = bytes(range(0x80, 0x100))
_NOT_WESTERN = bytes({*range(0x20), 0x7F, 0x81, 0x8D, 0x8F, 0x90, 0x9D} - set(b"\t\n\v\f\r"))
"""Control characters, and the bytes that cp1252 leaves undefined."""
_MOST_HIGH = 0.25
"""Western text is mostly ASCII; where more bytes are not, it is another alphabet."""


def _mark_broken(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return BROKEN, error.end


codecs.register_error(_ERRORS, _mark_broken)


def known_encoding(name: str, subject: str) -> str:
    """The usual name of an encoding; InputError for one that Python does not know or that is not for text."""
    try:
        b"ab".decode(name, "replace")
        return codecs.lookup(name).name
    except (LookupError, ValueError):
        near = nearest(name, {*encodings.aliases.aliases, *encodings.aliases.aliases.values()})
        raise InputError(
            subject, f"{name!r} is no text encoding{near}; utf-8, utf-16, cp1252, big5 and shift_jis are some"
        ) from None


def found_encoding(path: Path) -> str:
    """The encoding that a file's bytes show: by its mark, by UTF-16's pattern of NUL bytes, else UTF-8 or cp1252.

    cp1252 is found only where the bytes are clearly Western text. Anything else is UTF-8: whatever in it is not, is an
    error of its row.
    """
    with path.open("rb") as file:
        start = file.read(4096)
        marked = next((name for mark, name in _MARKS if start.startswith(mark)), None)
        if found := marked or _utf_16(start):
            return found
        file.seek(0)
        return _utf_8_or_western(file)


def open_text(path: Path, encoding: str, newline: str) -> IO[str]:
    """The file as text, with ``BROKEN`` in place of bytes that the encoding does not have."""
    return path.open(encoding=encoding, errors=_ERRORS, newline=newline)


def without_mark(text: str) -> str:
    """The text without the byte order mark that some programs write in front of it."""
    return text.removeprefix("\ufeff")


def broken_text(text: str, encoding: str) -> str | None:
    """Words about a text that holds characters no file can hold, as its bytes were not in this encoding."""
    try:
        text.encode()
    except UnicodeEncodeError:
        name = encoding.upper() if encoding.startswith("utf") else encoding
        return f"is not {name} (save the whole file as UTF-8; a recipe may name its encoding in data.encoding)"
    return None


def writable(text: str) -> str:
    """The text with U+FFFD in place of every character that no file can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _utf_16(start: bytes) -> str | None:
    """UTF-16 without a mark: text in it has a NUL in many pairs of bytes, and nearly always on the same side."""
    first, second, pairs = start[0::2].count(0), start[1::2].count(0), len(start) // 2
    if pairs < 2 or max(first, second) < max(2, 0.1 * pairs) or max(first, second) < 10 * min(first, second):
        return None
    return "utf-16-le" if second > first else "utf-16-be"


def _utf_8_or_western(file: IO[bytes]) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")(_ERRORS)
    sound = broken = high = odd = seen = 0
    while broken < _ENOUGH and (block := file.read(_BLOCK)):
        text = decoder.decode(block)
        if text.isascii():
            continue
        wide, wrong = len(block) - _without(block, _HIGH), text.count(BROKEN)
        sound += len(text) - _without(block, _HIGH) - wrong
        broken, high, seen = broken + wrong, high + wide, seen + len(block)
        odd += len(block) - _without(block, _NOT_WESTERN)
    broken += decoder.decode(b"", final=True).count(BROKEN)
    if broken <= sound or odd or high > _MOST_HIGH * seen:
        return "utf-8"
    return "cp1252"


def _without(block: bytes, left_out: bytes) -> int:
    """How many bytes of the block are not among these."""
    return len(block.translate(None, left_out))
