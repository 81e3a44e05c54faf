"""What docs/troubleshooting.md quotes is what is printed: some of it provoked here, all of it written in the sources."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from shelf import tunebench
from tiny import World, make_rows, write_csv, write_recipe

import tunebench as tunebench_package
from tunebench import fitting, jobs
from tunebench.model import objectives
from tunebench.runs import trackers

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "troubleshooting.md").read_text("utf-8")
QUOTED = [line for block in re.findall(r"^```text\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE) for line in block.splitlines()]
MOST = 0.45
Capture = pytest.CaptureFixture[str]


@cache
def templates() -> list[re.Pattern[str]]:
    """Every text of the sources of at least ten letters as a pattern: in groups what is written, gaps for what is filled in."""
    found = []
    for path in Path(tunebench_package.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            values = node.values if isinstance(node, ast.JoinedStr) else [node] if isinstance(node, ast.Constant) else []
            parts = [value.value if isinstance(value, ast.Constant) else None for value in values]
            written = sum(len(part) for part in parts if isinstance(part, str))
            if written >= 10 and all(part is None or isinstance(part, str) for part in parts):
                found.append(re.compile("".join(".+" if part is None else f"({re.escape(part)})" for part in parts)))
    return found


def share_written(line: str) -> float:
    """How much of a line stands in texts of the sources that fit it as a whole."""
    places: set[int] = set()
    for pattern in templates():
        if match := pattern.search(line):
            places.update(i for group in range(1, pattern.groups + 1) for i in range(*match.span(group)))
    return len(places) / len(line)


@pytest.mark.parametrize("line", [line for line in QUOTED if not line.endswith(" faults")])
def test_a_quoted_message_is_one_that_the_sources_print(line: str) -> None:
    """Names, paths and figures in it are examples; of the rest most has to be found."""
    told = re.sub(r"^(error|warning): |^torch uses +|runs/films[\w/-]*|/data/[\w/.-]*|presets are .*", "", line)
    assert share_written(told) >= MOST, line


def test_the_check_of_quotes_finds_what_nobody_prints() -> None:
    made_up = ["films: this run is unknown; make one with `tunebench fit RECIPE`", "out of memory with 16 texts: buy more of it"]
    assert [line for line in made_up if share_written(line) >= MOST] == []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with sound reviews and a recipe for them; messages call it ``/data``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    write_csv(tmp_path / "reviews.csv", make_rows(40))
    write_recipe(tmp_path / "films.yaml", data=Path("reviews.csv"), method={"kind": "tfidf"})
    return tmp_path


def said(capsys: Capture, folder: Path, *arguments: str) -> list[str]:
    """What a failing command prints, as the page shows it."""
    code, _, err = tunebench(capsys, *arguments)
    assert code
    return [line.replace(str(folder), "/data") for line in err.splitlines() if not line.startswith("step ")]


def test_a_missing_package_names_the_extra(folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    assert said(capsys, folder, "train", "films.yaml", "--set", "report_to=wandb")[-1] in QUOTED
    monkeypatch.setattr(fitting, "find_spec", lambda name: None)
    assert said(capsys, folder, "train", "films.yaml") == [QUOTED[0]]


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "films", "--text", "good"],
        ["train", "starter-lorra"],
        ["train", "films.yaml", "--set", "data.test=test.csv"],
        ["train", "films.yaml", "--set", "data.positive_label=positiv"],
        ["train", "imdb-bert-lora", "--set", "data.dataset=null", "--set", "data.train=reviews.csv", "--set", "data.test=null"],
    ],
    ids=["no run", "no recipe", "labels", "positive label", "offline"],
)
def test_a_mistake_is_answered_as_the_page_says(arguments: list[str], folder: Path, capsys: Capture) -> None:
    write_csv(folder / "test.csv", [*make_rows(4), {"id": "a", "text": "fine", "label": "positve"}])
    assert said(capsys, folder, *arguments)[-1] in QUOTED


def test_an_encoding_that_cannot_be_found_out_is_named_by_the_recipe(folder: Path, capsys: Capture) -> None:
    rows = [{"id": str(i), "text": f"第{i}部 电影 好看", "label": ("positive", "negative")[i % 2]} for i in range(40)]
    for kept in (2, 40):
        text = write_csv(folder / "utf8.csv", rows[:kept]).read_text("utf-8")
        (folder / "reviews.csv").write_bytes(text.encode("gb18030"))
        if kept == 2:
            found = said(capsys, folder, "train", "films.yaml")
            place = QUOTED.index(found[0])
            assert QUOTED[place : place + 3] == found
    assert tunebench(capsys, "train", "films.yaml", "--set", "data.encoding=gb18030")[0] == 0


def test_another_recipe_of_the_same_name_is_refused(folder: Path, capsys: Capture) -> None:
    assert tunebench(capsys, "train", "films.yaml")[0] == 0
    found = said(capsys, folder, "train", "films.yaml", "--set", "method.ngram_max=1")
    place = QUOTED.index(found[0])
    assert QUOTED[place : place + 3] == found


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
    ids=["gpu", "cpu"],
)
def test_too_little_memory_is_answered_with_what_needs_less(
    error: Exception, world: World, warm: None, folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(objectives, "classification_loss", fails)
    write_recipe(
        folder / "films.yaml",
        data=folder / "reviews.csv",
        base=world.bases["bert"],
        train={"per_device_train_batch_size": 16},
    )
    line = said(capsys, folder, "train", "films.yaml")[-1]
    assert line.replace("up to 32 tokens", "up to 512 tokens") in QUOTED


def test_another_runtime_error_is_not_taken_for_too_little_memory(
    world: World, warm: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(objectives, "classification_loss", fails)
    path = write_recipe(folder / "films.yaml", data=folder / "reviews.csv", base=world.bases["bert"])
    with pytest.raises(RuntimeError, match="shapes differ"):
        jobs.train(str(path), [], folder / "runs", lambda event: None)
