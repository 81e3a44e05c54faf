"""Tables as they are written: what a cell holds comes back, and only faults of the file are called so."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunebench.data.readers import open_table
from tunebench.data.writers import table_writer
from tunebench.errors import TunebenchError

TEXTS = ["lone\rreturn", "windows\r\nline", "unix\nline", "\r", "\r\n", "\n", 'say "hi",\rhe said', "end\r", "plain", "", "\ttab"]


def copy(source: Path, target: Path) -> Path:
    reader = open_table(source)
    with table_writer(target, reader.types) as write:
        for chunk in reader.chunks():
            assert chunk.errors == [None] * len(chunk)
            write(chunk.columns)
    return target


def read(path: Path) -> dict[str, list[Any]]:
    (chunk,) = open_table(path).chunks()
    assert chunk.errors == [None] * len(chunk)
    return chunk.columns


def objects(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
@pytest.mark.parametrize("names", [("text",), ("text", "note\rhere")])
def test_line_ends_of_every_kind_survive_in_the_cells_of_a_delimited_file(
    ending: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    lines = [json.dumps(dict.fromkeys(names, text)) for text in TEXTS]
    once = copy(objects(tmp_path / "t.jsonl", *lines), tmp_path / f"once{ending}")
    twice = copy(once, tmp_path / f"twice{ending}")
    assert read(once) == read(twice) == dict.fromkeys(names, TEXTS)
    assert once.read_bytes() == twice.read_bytes()


def test_the_lines_of_a_delimited_file_end_as_they_do_on_unix(tmp_path: Path) -> None:
    source = objects(tmp_path / "t.jsonl", '{"a": "x", "b": "y\\r\\n"}', '{"a": 1, "b": null}')
    assert copy(source, tmp_path / "t.csv").read_bytes() == b'a,b\nx,"y\r\n"\n1,\n'


def test_long_whole_numbers_beside_fractions_are_written_to_parquet_as_they_stand(tmp_path: Path) -> None:
    source = objects(tmp_path / "t.jsonl", f'{{"x": {2**53 + 1}, "n": {2**53 + 1}}}', '{"x": 0.5, "n": 7}')
    found = pq.read_table(copy(source, tmp_path / "t.parquet"))
    assert found.to_pydict() == {"x": [str(2**53 + 1), "0.5"], "n": [2**53 + 1, 7]}


def test_a_value_that_its_parquet_column_cannot_hold_is_told_in_words(tmp_path: Path) -> None:
    with (
        pytest.raises(TunebenchError, match=r"t\.parquet: a value does not fit its column .*write \.jsonl"),
        table_writer(tmp_path / "t.parquet", {"x": pa.int64()}) as write,
    ):
        write({"x": ["no number"]})
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_json_does_not_know_become_null(tmp_path: Path) -> None:
    source = objects(tmp_path / "t.jsonl", '{"x": NaN, "y": [1, {"z": -Infinity}]}', '{"x": 1e999, "y": "NaN"}', '{"x": 1}')
    lines = copy(source, tmp_path / "out.jsonl").read_text("utf-8").splitlines()

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    assert [json.loads(line, parse_constant=refuse) for line in lines] == [
        {"x": None, "y": [1, {"z": None}]},
        {"x": None, "y": "NaN"},
        {"x": 1, "y": None},
    ]
    assert read(copy(source, tmp_path / "out.csv"))["y"] == ['[1, {"z": null}]', "NaN", ""]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("trouble", [OSError(errno.EIO, "not yours"), pa.ArrowInvalid("not yours")])
def test_an_error_of_the_work_in_between_passes_through_unchanged(ending: str, trouble: Exception, tmp_path: Path) -> None:
    def work() -> None:
        with table_writer(tmp_path / f"t{ending}", {"x": pa.int64()}) as write:
            write({"x": [1]})
            raise trouble

    with pytest.raises(type(trouble), match="not yours") as caught:
        work()
    assert caught.value is trouble
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("place", ["gone", "file"])
def test_a_place_that_cannot_be_written_is_told_with_a_remedy(ending: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / place / f"t{ending}"
    with pytest.raises(TunebenchError, match=r"cannot be written \(.+\); choose a folder"), table_writer(path, {"x": pa.int64()}):
        raise AssertionError("the block is not entered")


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_file_that_cannot_be_put_in_its_place_is_told(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with (
        pytest.raises(TunebenchError, match=r"cannot be written \(No space left on device\)"),
        table_writer(tmp_path / f"t{ending}", {"x": pa.int64()}) as write,
    ):
        write({"x": [1]})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
@pytest.mark.parametrize("rows", [1, 100_000])
def test_a_full_disk_is_told_while_writing_and_while_closing(
    ending: str, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *args, **kwargs: plain(Path("/dev/full"), *args, **kwargs))
    with (
        pytest.raises(TunebenchError, match="No space left on device"),
        table_writer(tmp_path / f"t{ending}", {"x": pa.string()}) as write,
    ):
        write({"x": ["some text"] * rows})
