"""A folder with one folder of texts per label is a table like any other: every file a row, in the order of the paths."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tunebench.data.dataset import bind
from tunebench.data.folders import open_folder
from tunebench.data.readers import CHUNK_ROWS
from tunebench.data.tables import read_like, read_rows
from tunebench.errors import InputError
from tunebench.recipe.sources import Data

TEXTS = {"pos/0_9.txt": "great\nfilm", "pos/10_7.txt": "warm ☀", "neg/1_1.txt": "flat", "neg/2_2.TXT": " dull "}


def folder(path: Path, texts: dict[str, str | bytes] | dict[str, str] = TEXTS) -> Path:
    for name, text in texts.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def data(path: Path, **settings: Any) -> Data:
    return Data.model_validate({"train": str(path)} | settings)


def faults_of(path: Path, **settings: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_rows(path, data(path, **settings))
    assert caught.value.subject == str(path)
    return caught.value.faults


def test_every_text_is_a_row_with_its_path_as_id_and_its_folder_as_label(tmp_path: Path) -> None:
    rows = read_rows(folder(tmp_path), data(tmp_path))
    assert rows.columns == {
        "id": ["neg/1_1.txt", "neg/2_2.TXT", "pos/0_9.txt", "pos/10_7.txt"],
        "label": ["neg", "neg", "pos", "pos"],
        "text": ["flat", " dull ", "great\nfilm", "warm ☀"],
    }
    assert (rows.ids, rows.labels, rows.texts) == (rows.columns["id"], rows.columns["label"], rows.columns["text"])
    assert rows.remark is None


def test_the_names_of_the_columns_are_those_of_the_recipe(tmp_path: Path) -> None:
    settings = {"text": "review", "label": "stars", "id": "key"}
    assert list(read_rows(folder(tmp_path), data(tmp_path, **settings)).columns) == ["key", "stars", "review"]
    (fault,) = faults_of(tmp_path, text="id")
    assert fault == "a folder has three columns, to be called id, label, id; give each a name of its own"


def test_a_folder_is_any_split_beside_files(tmp_path: Path) -> None:
    train, test = folder(tmp_path / "train"), folder(tmp_path / "test", {"pos/a.txt": "a", "neg/b.txt": "b"})
    (tmp_path / "v.csv").write_text("text,label\nc,pos\n")
    bound = bind(data(train, test=str(test), validation=str(tmp_path / "v.csv")), 1, Path)
    assert bound.labels.names == ("neg", "pos")
    assert {name: len(rows) for name, rows in bound.splits().items()} == {"train": 4, "validation": 1, "test": 2}
    assert bound.digest() == bind(data(train, test=str(test), validation=str(tmp_path / "v.csv")), 1, Path).digest()
    assert read_like(test, data(tmp_path / "v.csv")).labels == ["neg", "pos"]


def test_what_is_no_text_of_a_label_is_left_out_and_said(tmp_path: Path) -> None:
    others: dict[str, str | bytes] = {
        "urls.txt": "x",
        "unsup/0.txt": "x",
        "unsup/1.txt": "x",
        "pos/notes.md": "x",
        "pos/more/a.txt": "x",
    }
    hidden: dict[str, str | bytes] = {".DS_Store": "x", ".cache/a.txt": "x", "pos/.a.txt": "x"}
    rows = read_rows(folder(tmp_path / "reviews", TEXTS | others | hidden), data(tmp_path / "reviews"))
    assert len(rows) == 4
    left_out = "2 files in 'unsup', which have no label; 3 files that are no .txt of a label"
    assert rows.remark == f"reviews is read as a folder of texts; left out: {left_out}"


def test_a_folder_without_labels_or_texts_says_what_is_expected(tmp_path: Path) -> None:
    expected = ["expected one folder of .txt files per label in it, such as pos/ and neg/; found none"]
    assert faults_of(tmp_path) == expected
    assert faults_of(folder(tmp_path, {"a.txt": "x", "unsup/b.txt": "x", ".hidden/c.txt": "x"})) == expected
    folder(tmp_path, {"pos/a.txt": "x", "neg/a.csv": "x"})
    (tmp_path / "odd").mkdir()
    assert faults_of(tmp_path) == [
        "the folder 'neg' holds no .txt file; add texts, or remove it",
        "the folder 'odd' holds no .txt file; add texts, or remove it",
    ]


def test_texts_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    folder(tmp_path, TEXTS | {"neg/a.txt": "café".encode("cp1252"), "pos/b.txt": "", "pos/c.txt": " \n"})
    os.truncate(folder(tmp_path, {"neg/0.txt": "x"}) / "neg/0.txt", 40_000_001)
    assert faults_of(tmp_path) == [
        "row 1: neg/0.txt holds 40,000,001 bytes; at most 40,000,000 are read; correct or remove the row",
        "row 4: neg/a.txt is not utf-8 text (save it as UTF-8, or name its encoding in data.encoding); correct or remove the row",
        "row 7: pos/b.txt is empty; correct or remove the row",
        "row 8: pos/c.txt is empty; correct or remove the row",
    ]


def test_a_text_that_may_not_be_read_is_a_fault_of_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert faults_of(folder(tmp_path, {"pos/a.txt": "x"})) == [
        "row 1: pos/a.txt cannot be read (Permission denied); correct or remove the row"
    ]


def test_the_encoding_that_is_told_is_that_of_every_text(tmp_path: Path) -> None:
    folder(tmp_path, {"pos/a.txt": "café".encode("cp1252"), "neg/b.txt": "öd".encode("cp1252")})
    assert read_rows(tmp_path, data(tmp_path, encoding="cp1252")).texts == ["öd", "café"]
    with pytest.raises(InputError, match="'cp1253x' is no text encoding"):
        read_rows(tmp_path, data(tmp_path, encoding="cp1253x"))
    assert read_rows(folder(tmp_path, {"pos/a.txt": b"\xef\xbb\xbfa", "neg/b.txt": "b"}), data(tmp_path)).texts == ["b", "a"]


def test_a_name_that_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    folder(tmp_path)
    os.makedirs(os.fsencode(tmp_path) + b"/caf\xe9")
    with open(os.fsencode(tmp_path) + b"/caf\xe9/a.txt", "wb") as file:
        file.write(b"x")
    assert faults_of(tmp_path) == ["'caf\\udce9' is a name that is not UTF-8; rename it"]


def test_many_texts_come_in_chunks_without_loss(tmp_path: Path) -> None:
    folder(tmp_path, {f"{'ab'[i % 2]}/{i:05}.txt": f"text {i}" for i in range(CHUNK_ROWS + 3)})
    chunks = list(open_folder(tmp_path, id="id", label="label", text="text").chunks())
    assert [len(chunk) for chunk in chunks] == [CHUNK_ROWS, 3]
    assert [chunk.first_row for chunk in chunks] == [1, CHUNK_ROWS + 1]
    ids = [key for chunk in chunks for key in chunk.columns["id"]]
    assert ids == sorted(ids)
    assert len(set(ids)) == CHUNK_ROWS + 3
