"""What a recipe's text means: the scalars of YAML 1.2, and what is refused before any setting is looked at."""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path
from typing import Any

import pytest

from tunebench.errors import InputError
from tunebench.recipe import load
from tunebench.recipe.load import load_recipe, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 0.0001),
        ("-1.5E+3", -1500.0),
        (".5", 0.5),
        ("3.", 3.0),
        ("010", 10),
        ("+7", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("-.inf", -math.inf),
        (".INF", math.inf),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("y", "y"),
        ("12:30", "12:30"),
        ("2020-01-01", "2020-01-01"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("1e", "1e"),
        ("<<", "<<"),
        ("=", "="),
        ("'010'", "010"),
        ('"1e-4"', "1e-4"),
        ("!!str 3", "3"),
    ],
)
def test_a_scalar_is_read_as_yaml_1_2_says(text: str, value: Any) -> None:
    found = parse_yaml(text, "r.yaml")
    assert found == value
    assert type(found) is type(value)


def test_a_number_that_is_none_is_read_as_one() -> None:
    assert math.isnan(parse_yaml(".nan", "r.yaml"))


def test_keys_are_names_as_they_are_written() -> None:
    assert parse_yaml("{1: a, true: b, no: c, 010: d, ~: e}", "r.yaml") == {
        "1": "a",
        "true": "b",
        "no": "c",
        "010": "d",
        "~": "e",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2", "line 4, column 3: the key 'c' stands twice"),
        ("{1: a, '1': b}", "the key '1' stands twice"),
        ("a: &x 1\nb: *x", "line 2, column 4: aliases (*name) are not read; write the value out"),
        ("a: &a [1, *a]", "aliases"),
        ("a: 1\n\tb: 2", "line 2, column 1: found character '\\t'"),
        ("a: b: c", "line 1, column 5: mapping values are not allowed here"),
        ("[1, 2", "line 1, column 6: expected ',' or ']'"),
        ("'open", "found unexpected end of stream"),
        ("a: 1\n---\nb: 2", "found another document"),
        ("[1, 2]: 3", "line 1, column 1: expected a name as key"),
        ("{{a: 1}: 3}", "expected a name as key"),
        ("!!python/object/apply:os.system [id]", "could not determine a constructor for the tag"),
        ("9" * 5000, "a number of 5000 digits"),
        ("[" * 400, "not readable as YAML"),
        ("a: \0", "special characters are not allowed"),
        ('a: "\\ud800"', "line 1, column 4: '\\ud800' is no character of a text"),
        ('a: "x\\0"', "'\\x00' is no character of a text"),
    ],
)
def test_unsound_yaml_is_refused_with_its_place(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "r.yaml")
    assert str(caught.value).startswith("r.yaml: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "expected settings such as `name: my-run`, found nothing"),
        (b"# only a comment\n", "found nothing"),
        (b"- name: a\n- name: b\n", "found a list"),
        (b"just words\n", "found text"),
        (b"name: caf\xe9\n", "not UTF-8 text at byte 9; save the recipe as UTF-8"),
        ("name: a\n".encode("utf-16"), "not UTF-8 text at byte 0"),
        (b"\x89PNG\r\n\x1a\n", "not UTF-8 text at byte 0"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_recipe(str(path))
    assert words in str(caught.value)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: a\r\ndata: {train: t.csv}\r\nmethod: {kind: majority}\r\n")
    assert load_recipe(str(path)).name == "a"


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder, not a recipe"):
        load_recipe(str(tmp_path))


def test_a_name_too_long_for_a_file_is_refused_and_no_crash() -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_recipe("a" * 300)


def test_an_unreadable_recipe_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    path = tmp_path / "r.yaml"
    path.write_text("name: a")
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
        load_recipe(str(path))


def test_both_parsers_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = {"a": ["1e5", 1e5, "no", None, "", " x", "a: b", "x #y", "é\U0001f600", "two\nlines"], "b": {"c": {}}, "d": "- e"}
    texts = [*load.presets().values(), load.dump_yaml(odd)]
    swift = [parse_yaml(text, "r.yaml") for text in texts]
    monkeypatch.setattr(load, "_SwiftLoader", load._Loader)
    assert [parse_yaml(text, "r.yaml") for text in texts] == swift
    assert swift[-1] == odd


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000])
def test_what_is_nested_without_end_is_refused_and_not_the_end_of_the_process(text: str) -> None:
    with pytest.raises(InputError, match="settings are nested too deeply"):
        parse_yaml(text, "r.yaml")
