"""How a text file is read that nobody described: its encoding and delimiter are found, said, and overruled by settings."""

from __future__ import annotations

import codecs
import random
from pathlib import Path

import pytest

from tunebench.data import encoding
from tunebench.data.delimited import DELIMITERS
from tunebench.data.readers import TableReader, open_table
from tunebench.errors import InputError

HEADER = ["text", "label", "note"]
WESTERN = [
    ["café, bon; 5 €", "gut", "“naïve”"],
    ["nothing odd", "böse", "a|b"],
    ["tab\there", "gut", 'she said "hi"\nand left'],
]
WORLD = [*WESTERN, ["שלום 😀 עולם", "gut", "一丁七"], ["台語，真好", "böse", "ﬁn\u00a0"]]
NOTHING_WESTERN = [["привет мир", "хорошо", "да"], ["плохо", "плохо", "нет"]]


def delimited(rows: list[list[str]], delimiter: str = ",") -> str:
    quoted = [['"' + cell.replace('"', '""') + '"' if set(cell) & set(',;|\t"\n') else cell for cell in row] for row in rows]
    return "".join(delimiter.join(row) + "\r\n" for row in [HEADER, *quoted])


def written(tmp_path: Path, content: bytes, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def rows_of(reader: TableReader) -> list[list[str]]:
    (chunk,) = reader.chunks()
    assert set(chunk.errors) == {None}
    return [list(row) for row in zip(*chunk.columns.values(), strict=True)]


ENCODINGS = {
    "utf-8": ("utf-8", b"", WORLD),
    "utf-8 with a mark": ("utf-8", codecs.BOM_UTF8, WORLD),
    "utf-16-le with a mark": ("utf-16-le", codecs.BOM_UTF16_LE, WORLD),
    "utf-16-be with a mark": ("utf-16-be", codecs.BOM_UTF16_BE, WORLD),
    "utf-16-le": ("utf-16-le", b"", WORLD),
    "utf-16-be": ("utf-16-be", b"", WORLD),
    "utf-32-le with a mark": ("utf-32-le", codecs.BOM_UTF32_LE, WORLD),
    "cp1252": ("cp1252", b"", WESTERN),
}


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("kind", ENCODINGS)
def test_every_encoding_and_delimiter_is_found_and_said(kind: str, delimiter: str, ending: str, tmp_path: Path) -> None:
    name, mark, rows = ENCODINGS[kind]
    reader = open_table(written(tmp_path, mark + delimited(rows, delimiter).encode(name), f"t{ending}"))
    assert (reader.encoding, reader.delimiter) == (name, delimiter)
    assert list(reader.types) == HEADER
    assert rows_of(reader) == rows
    expected = name == "utf-8" and delimiter == {".csv": ",", ".tsv": "\t"}[ending]
    assert reader.remark == (None if expected else f"t{ending} is read as {name}, delimited by {delimiter!r}")


def test_lines_of_json_are_read_in_the_encoding_they_have(tmp_path: Path) -> None:
    reader = open_table(written(tmp_path, '{"text": "café"}\n{"text": "台語"}\n'.encode("utf-16"), "t.jsonl"))
    assert rows_of(reader) == [["café"], ["台語"]]
    assert reader.remark == "t.jsonl is read as utf-16-le"
    told = open_table(written(tmp_path, '{"text": "台語"}\n'.encode("big5"), "t.jsonl"), encoding="big5")
    assert (rows_of(told), told.remark) == ([["台語"]], None)


def test_what_is_told_wins_and_is_not_remarked_upon(tmp_path: Path) -> None:
    path = written(tmp_path, delimited(NOTHING_WESTERN, ";").encode("cp1251"))
    assert "is not UTF-8" in str(next(open_table(path).chunks()).errors[0])  # too little of it is ASCII to be Western text
    told = open_table(path, encoding="windows-1251", delimiter=";")
    assert (told.encoding, told.delimiter, told.remark) == ("cp1251", ";", None)
    assert rows_of(told) == NOTHING_WESTERN
    assert list(open_table(path, encoding="cp1251", delimiter=",").types) == [";".join(HEADER)]


def test_rows_that_are_not_in_the_encoding_that_was_told_say_so(tmp_path: Path) -> None:
    path = written(tmp_path, "text,label\nok,a\n".encode("cp1252") + b"\x81\x8d,b\nok,a\n")
    (chunk,) = open_table(path, encoding="cp1252").chunks()
    assert [bool(error) for error in chunk.errors] == [False, True, False]
    assert "is not cp1252" in str(chunk.errors[1])


@pytest.mark.parametrize("name", ["utf-9", "rot13", "hex", "é", "", " ", "../x", "cp1252\nx", "undefined"])
def test_what_is_no_encoding_for_text_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no text encoding"):
        encoding.known_encoding(name, "t.csv: data.encoding")
    if name.strip():
        with pytest.raises(InputError, match=r"t\.csv: data\.encoding: "):
            open_table(written(tmp_path, b"text\na\n"), encoding=name)


@pytest.mark.parametrize("delimiter", ['"', "\n", "\r", "ab"])
def test_what_cannot_delimit_is_refused(delimiter: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"t\.csv: data\.delimiter: .* is no delimiter"):
        open_table(written(tmp_path, b"text\na\n"), delimiter=delimiter)


def test_bytes_far_into_a_file_decide_too(tmp_path: Path) -> None:
    content = b"text\n" + b"plain words\n" * 300_000
    assert open_table(written(tmp_path, content)).encoding == "utf-8"
    assert open_table(written(tmp_path, content + "café\n".encode("cp1252"))).encoding == "cp1252"
    assert open_table(written(tmp_path, content + "café\n".encode())).encoding == "utf-8"
    assert open_table(written(tmp_path, content + "café".encode("cp1252"))).encoding == "cp1252"


@pytest.mark.parametrize("cut", range(1 << 20, (1 << 20) - 4, -1))
def test_a_character_across_two_blocks_is_whole(cut: int, tmp_path: Path) -> None:
    content = b"text\n" + b"x" * (cut - 5) + "😀\n".encode()
    assert rows_of(open_table(written(tmp_path, content)))[0][0].endswith("x😀")


def test_what_is_no_text_is_not_taken_for_western_text(tmp_path: Path) -> None:
    noise, picture = random.Random(1).randbytes(5000), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
    for content in (noise, picture, b"\x1f\x8b\x08\0gzip", bytes(range(256)) * 9, "台語".encode("big5") * 99):
        assert encoding.found_encoding(written(tmp_path, content)) == "utf-8"


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        ("text\na; b; c\nd; e; f\n", ","),
        ("Question; Answer\nplain\nwords\n", ","),
        ("text;label\nwell, yes, no;a\nno, no;b\n", ";"),
        ("text,label;kind\na,b;c\n", ","),
        ("id;text, long;label\n1;a;x\n2;b, c, d;y\n", ";"),
        ("text,label\nunquoted, commas, here,a\nmore, of them,b\n", ","),
        ("text|note\n", "|"),
        ("Question; Answer\nplain\nwords\nhere; too\n", ","),
        ("text;label\n" + "x" * 70_000 + ";a\n", ";"),
        ('"a;b",label\nx,y\n', ","),
        ("text,label\n" + "x;" * 40_000 + ",a\n", ","),
    ],
)
def test_a_delimiter_is_taken_for_another_only_where_the_rows_say_so(content: str, delimiter: str, tmp_path: Path) -> None:
    assert open_table(written(tmp_path, content.encode())).delimiter == delimiter
