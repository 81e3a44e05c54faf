"""Tables as they come: every row in its place, and words for the files that are not what their name says."""

from __future__ import annotations

import csv
import errno
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunebench.data.readers import CHUNK_ROWS, cell_fault, open_table, require_columns
from tunebench.errors import InputError


def file(tmp_path: Path, name: str, content: bytes | str) -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refuse(path: Path, *_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def read(path: Path) -> tuple[dict[str, list[Any]], list[str | None]]:
    reader = open_table(path)
    columns: dict[str, list[Any]] = {name: [] for name in reader.types}
    errors: list[str | None] = []
    for chunk in reader.chunks():
        assert chunk.first_row == len(errors) + 1
        errors += chunk.errors
        for name, values in chunk.columns.items():
            columns[name] += values
    return columns, errors


def fault(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.value.exit_code == 2
    assert str(path) in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_every_format_gives_the_same_rows(ending: str, tmp_path: Path) -> None:
    texts = ["plain", 'say "hi", he said', "two\nlines", "tab\there", "😀 family 👨‍👩‍👧", "שלום עולם", "ﬁn\u00a0\u200b"]
    path = tmp_path / f"t{ending}"
    if ending == ".parquet":
        pq.write_table(pa.table({"text": texts}), path)
    elif ending == ".jsonl":
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    elif ending == ".json":
        path.write_text(json.dumps([{"text": text} for text in texts], indent=1), "utf-8")
    else:
        quoted = ['"' + text.replace('"', '""') + '"' for text in texts]
        path.write_text("text\n" + "\n".join(quoted) + "\n", "utf-8")
    assert read(path) == ({"text": texts}, [None] * len(texts))


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    assert read(file(tmp_path, "t.csv", b"\xef\xbb\xbftext,label\r\na,b\r\n"))[0] == {"text": ["a"], "label": ["b"]}


def test_a_byte_order_mark_is_no_part_of_the_first_object(tmp_path: Path) -> None:
    assert read(file(tmp_path, "t.jsonl", b'\xef\xbb\xbf{"text": "a"}\n'))[0] == {"text": ["a"]}


def test_blank_lines_among_several_columns_are_no_rows(tmp_path: Path) -> None:
    assert read(file(tmp_path, "t.csv", "\n\ntext,label\n\na,b\n\n\nc,d\n\n"))[0] == {"text": ["a", "c"], "label": ["b", "d"]}
    assert read(file(tmp_path, "t.jsonl", '\n{"text": "a"}\n  \n{"text": "b"}\n'))[0] == {"text": ["a", "b"]}


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_a_blank_line_under_a_single_column_is_a_row_with_an_empty_cell(name: str, tmp_path: Path) -> None:
    found = read(file(tmp_path, name, '\n\ntext\n\na\n\r\n""\nb\n\n'))
    assert found == ({"text": ["", "a", "", "", "b", ""]}, [None] * 6)


def test_rows_with_too_few_or_too_many_fields_stay_in_their_place_with_an_error(tmp_path: Path) -> None:
    columns, errors = read(file(tmp_path, "t.csv", "text,label\na,b\nc\nd,e,f\ng,h\n"))
    assert columns == {"text": ["a", "c", "d", "g"], "label": ["b", None, "e", "h"]}
    assert errors == [None, "has 1 fields, the header has 2", "has 3 fields, the header has 2", None]


def test_a_row_that_is_not_utf_8_as_all_others_are_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    content = "text,label\nüber,a\n".encode() + b"ok,a\n" * 2999 + "café,b\n".encode("cp1252") + b"ok,a\n"
    columns, errors = read(file(tmp_path, "t.csv", content))
    assert [i for i, error in enumerate(errors) if error] == [3000]
    assert errors[3000] == "is not UTF-8 (save the whole file as UTF-8; a recipe may name its encoding in data.encoding)"
    assert columns["text"][2999:] == ["ok", "caf\ufffd", "ok"]


def test_a_quote_that_is_never_closed_is_told(tmp_path: Path) -> None:
    _, errors = read(file(tmp_path, "t.csv", 'text,label\na,b\n"c,d\ne,f\ng,h\n'))
    assert errors == [None, "opens a quote that is never closed, so it holds the rest of the file"]


def test_a_last_row_without_a_line_end_is_a_row(tmp_path: Path) -> None:
    assert read(file(tmp_path, "t.csv", 'text,label\na,b\nc,"d"')) == ({"text": ["a", "c"], "label": ["b", "d"]}, [None, None])


def test_a_huge_cell_is_read_whole(tmp_path: Path) -> None:
    huge = "word, " * 900_000
    assert read(file(tmp_path, "t.csv", f'text,label\n"{huge}",a\n'))[0]["text"] == [huge]


def test_a_cell_that_would_fill_the_memory_ends_the_reading(tmp_path: Path) -> None:
    limit = csv.field_size_limit(100)
    try:
        words = fault(file(tmp_path, "t.csv", "text,label\na,b\n" + '"' + "c,d\n" * 60))
    finally:
        csv.field_size_limit(limit)
    assert words == "after row 1: a cell holds more than 134,217,728 characters; look for a quote that is never closed"
    assert limit == 134_217_728


def test_a_null_byte_in_a_text_is_part_of_the_text(tmp_path: Path) -> None:
    assert read(file(tmp_path, "t.csv", b"text,label\na\0b,c\n"))[0]["text"] == ["a\0b"]


@pytest.mark.parametrize("number", [0, 1, CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1])
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_no_row_is_lost_at_the_border_of_a_chunk(number: int, ending: str, tmp_path: Path) -> None:
    ids = [str(i) for i in range(number)]
    if ending == ".csv":
        path = file(tmp_path, "t.csv", "id\n" + "".join(f"{i}\n" for i in ids))
    elif ending == ".jsonl":
        path = file(tmp_path, "t.jsonl", '{"id": "first"}\n' + "".join(f'{{"id": "{i}"}}\n' for i in ids))
        ids = ["first", *ids]
    else:
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table({"id": pa.array(ids, pa.string())}), path)
    assert read(path)[0]["id"] == ids


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", b"", "is empty: expected a header or at least one row"),
        ("t.csv", b"\n \n", "column 1 has no name"),
        ("t.jsonl", b"", "is empty"),
        ("t.jsonl", b"[1,\n2]\n", "no row is sound; the first one: is not a line of JSON"),
        ("t.jsonl", "é é\n".encode() + b"\xff\n", "no row is sound; the first one: is not a line of JSON"),
        ("t.json", b"", "is empty"),
        ("t.json", b"[]", "is empty: expected a header or at least one row"),
        ("t.json", b'[{"text": "a"},\n {"text": }]', "is not JSON: line 2, column 11: Expecting value"),
        ("t.json", b'{"text": "a"}\n{"text": "b"}\n', "line 2, column 1: Extra data; one object per line is JSON lines: name"),
        ("t.json", b'"text"', "expected a list of objects with named columns, found a single value"),
        ("t.json", b'["text", 2]', "no row is sound; the first one: expected a JSON object with named columns"),
        ("t.json", b'[{"text": "\x81"}]', "is not UTF-8"),
        ("t.json", b"[" * 100_000, "is not JSON that can be read: maximum recursion depth"),
        ("t.json", b'[{"n": ' + b"1" * 5000 + b"}]", "is not JSON that can be read: Exceeds the limit"),
        ("t.csv", ",text\n1,a\n", "column 1 has no name; give it one in the header (pandas"),
        ("t.csv", "text,x,text,x\na,b,c,d\n", "2 faults\n  - the column 'text' stands 2 times"),
        ("t.csv", "text,label\n".encode("utf-32-le"), "its header holds NUL bytes; save the file as UTF-8"),
        ("t.csv", b"\0" * 40, "its header holds NUL bytes; save the file as UTF-8"),
        ("t.csv", b"\x1f\x8b\x08\0gzip", "the header: is not UTF-8"),
        ("t.csv", 'text,"label\na,b\n', "the header: opens a quote that is never closed"),
        ("t.parquet", b"text,label\na,b\n", "not a Parquet file"),
        ("t.parquet", b"", "not a Parquet file"),
        ("t.parquet", b"PAR1" + b"\0" * 40 + b"PAR1", "cannot be read (Couldn't deserialize thrift"),
        ("t.xlsx", b"PK", "expected a file ending in .csv, .tsv, .jsonl, .json, .parquet, found .xlsx"),
        ("t.csv.gz", b"\x1f\x8b", "found .gz"),
        ("t", b"text\na\n", "found none"),
    ],
)
def test_a_file_that_is_no_table_is_refused(name: str, content: bytes | str, words: str, tmp_path: Path) -> None:
    assert words in fault(file(tmp_path, name, content))


def test_a_json_list_keeps_unsound_records_in_their_place(tmp_path: Path) -> None:
    columns, errors = read(file(tmp_path, "t.json", '[{"text": "a", "n": 1}, 5, {"text": "\\ud83d", "n": 2}, {"n": 3}]'))
    assert columns == {"text": ["a", None, "?", None], "n": [1, None, 2, 3]}
    assert errors == [None, "expected a JSON object with named columns", "holds half a character ('\\ud83d')", None]
    assert read(file(tmp_path, "one.json", '\ufeff{"text": "a"}')) == ({"text": ["a"]}, [None])


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    assert fault(tmp_path / "folder.csv") == "is a folder, not a file"
    assert fault(tmp_path / "nothing.csv") == "no such file"
    assert fault(tmp_path / ("x" * 300 + ".csv")) == "cannot be read (File name too long)"
    assert fault(Path("/dev/null")) == "no plain file"


def test_an_unreadable_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(tmp_path, "t.csv", "text\na\n")
    monkeypatch.setattr(Path, "open", refuse)
    assert fault(path) == "cannot be read (Permission denied)"


def test_a_parquet_file_that_breaks_off_says_after_which_row(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"text": [f"text {i} " * 9 for i in range(2000)]}), path, use_dictionary=False, compression="snappy")
    content = bytearray(path.read_bytes())
    content[40 : len(content) // 2] = b"\xff" * (len(content) // 2 - 40)
    path.write_bytes(content)
    assert fault(path).startswith("after row 0: not readable (")


def test_broken_lines_of_json_stay_in_their_place_with_an_error(tmp_path: Path) -> None:
    lines = [b'{"text": "\xc3\xa9"}', b"{broken", b"[1]", b"\xff", b"[" * 100_000, b'{"text": "\\ud83d!"}', b'{"text": "b"}']
    columns, errors = read(file(tmp_path, "t.jsonl", b"\n".join(lines)))
    assert columns["text"] == ["é", None, None, None, None, "?!", "b"]
    words = [None, "is not a line of JSON", "expected a JSON object", "is not UTF-8", "is not a line of JSON", "half a character"]
    assert all(
        (error is None) if word is None else word in str(error) for word, error in zip([*words, None], errors, strict=True)
    )


def test_objects_with_other_keys_share_all_columns(tmp_path: Path) -> None:
    path = file(tmp_path, "t.jsonl", '{"text": "a"}\n{"label": 1, "text": "b"}\n{"odd": [1]}\n')
    assert read(path)[0] == {"text": ["a", "b", None], "label": [None, 1, None], "odd": [None, None, [1]]}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["true", "false"], pa.bool_()),
        (["1", "null"], pa.int64()),
        (["1", "2.5"], pa.float64()),
        (["1", '"a"'], pa.string()),
        (["null"], pa.string()),
        ([str(2**63)], pa.string()),
        ([str(-(2**63))], pa.int64()),
        ([str(2**53), "2.5"], pa.float64()),
        ([str(2**53 + 1), "2"], pa.int64()),
        ([str(2**53 + 1), "2.5"], pa.string()),
        ([str(-(2**53) - 1), "2.5"], pa.string()),
    ],
)
def test_the_type_of_a_column_of_json_holds_all_its_values(values: list[str], kind: pa.DataType, tmp_path: Path) -> None:
    assert open_table(file(tmp_path, "t.jsonl", "".join(f'{{"x": {value}}}\n' for value in values))).types == {"x": kind}


def test_a_missing_column_is_told_with_the_setting_the_nearest_and_those_there_are(tmp_path: Path) -> None:
    reader = open_table(file(tmp_path, "t.csv", "Text, label\na,b\n"))
    with pytest.raises(InputError) as caught:
        require_columns(reader, {"data.text": "text", "data.label": "label"})
    assert caught.value.faults == [
        "no column 'text' (setting data.text); nearest is 'Text'; columns are Text,  label",
        "no column 'label' (setting data.label); nearest is ' label'; columns are Text,  label",
    ]


def test_a_delimiter_that_was_told_wrongly_gets_a_hint(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        require_columns(open_table(file(tmp_path, "t.csv", "text;label\na;b\n"), delimiter=","), {"data.text": "text"})
    assert caught.value.faults == [
        "its header 'text;label' is one cell when delimited by ','; it looks delimited by semicolons: "
        "set data.delimiter, or leave it out"
    ]


def test_a_text_that_no_tokenizer_should_meet_is_a_fault() -> None:
    assert cell_fault("x" * 10_000_000) is None
    assert cell_fault("x" * 10_000_001) == "holds 10,000,001 characters; at most 10,000,000 are read"
