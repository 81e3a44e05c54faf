"""The page Data: uploads are never trusted, test rows never shown, and a saved recipe is one that trains."""

from __future__ import annotations

import csv
import io
import os
import re
from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml
from streamlit.testing.v1 import AppTest
from studio import mute, page_of

from tunebench.app import datasheet, drafting, uploads
from tunebench.app.data_plots import balance_figure, length_figure
from tunebench.app.words import FOLDER, LANGUAGES, plain, words
from tunebench.binding import bind_recipe
from tunebench.errors import InputError
from tunebench.recipe.closed import NAME_PATTERN
from tunebench.recipe.load import load_recipe
from tunebench.recipe.spec import Recipe

HOSTILE = ("<script>alert(1)</script>", "=1+1")
MARKED = "<b>nice</b> =cmd|' /C calc'!A0 [x](http://a.b)"


@pytest.fixture
def runs(studio_runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty runs folder that the studio looks at."""
    mute(monkeypatch)
    return studio_runs


def page(language: str = "en") -> AppTest:
    """The page, drawn."""
    return page_of("data", language)


def typed(studio: AppTest, path: Path) -> AppTest:
    """The page with a path on this machine typed in."""
    studio.segmented_control(key="data.way").set_value("path").run()
    return studio.text_input(key="data.typed").set_value(str(path)).run()


def table(rows: list[dict[str, Any]]) -> bytes:
    """Rows as the bytes of a CSV file."""
    text = io.StringIO(newline="")
    out = csv.DictWriter(text, list(rows[0]))
    out.writeheader()
    out.writerows(rows)
    return text.getvalue().encode()


def hostile_rows() -> list[dict[str, str]]:
    """Sound rows whose labels and texts would be markup, a script or a formula elsewhere."""
    rows = tiny.make_rows(60, HOSTILE)
    return [row | {"text": f"{MARKED} {row['text']}"} for row in rows]


REFUSED = {
    "an executable": ("data.csv", b"\x7fELF\x02\x01\x01\0\0\0 a,b\n", "is no text"),
    "an archive": ("data.zip", b"PK\x03\x04", "expected a file ending in"),
    "nothing": ("data.csv", b"", "is empty"),
    "no ending": ("passwd", b"a,b\n", "found none"),
    "no parquet": ("data.parquet", b"not one", "not a Parquet file"),
    "too large": ("data.csv", b"text,label\n" + b"x" * 100, "at most"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_table_is_refused_and_nothing_of_it_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(uploads, "MOST_BYTES", 100)
    name, content, said = REFUSED[kind]
    with pytest.raises(InputError, match=said) as caught:
        uploads.keep(tmp_path, name, content)
    assert caught.value.subject == name
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["../../x.csv", "/etc/cron.d/x.csv", "..\\..\\x.csv", "a\0b.csv", "x" * 300 + ".csv", "<b>🎬</b>.CSV"]
)
def test_an_uploaded_name_never_becomes_a_path(tmp_path: Path, name: str) -> None:
    place = tmp_path / "uploads"
    path = uploads.keep(place, name, tiny.write_csv(tmp_path / "a.csv").read_bytes())
    assert path.parent.parent == place
    assert {file.name for file in path.parent.iterdir()} == {"data.csv", uploads.NAME_FILE}
    assert {entry.name for entry in tmp_path.iterdir()} == {"uploads", "a.csv"}
    assert uploads.shown_name(path) == name
    assert re.fullmatch(NAME_PATTERN, drafting.name_for(name))


def test_the_same_content_is_kept_once_and_a_copy_in_utf16_is_read(tmp_path: Path) -> None:
    content = table(hostile_rows())
    assert uploads.keep(tmp_path, "a.csv", content) == uploads.keep(tmp_path, "b.csv", content)
    other = uploads.keep(tmp_path, "c.csv", content.decode().encode("utf-16"))
    assert drafting.draft(str(other), None, None, tmp_path).data["label"] == "label"


@pytest.mark.parametrize("typed_path", ["", "/no/such/file", "a\0b", "../" * 40 + "nowhere.csv", "x" * 5000])
def test_a_typed_path_that_is_none_is_refused(typed_path: str) -> None:
    with pytest.raises(InputError, match="no such file"):
        uploads.local_file(typed_path or "nowhere")


def sheet_of(tmp_path: Path, rows: list[dict[str, str]]) -> tuple[Recipe, datasheet.Sheet]:
    """A drafted recipe for some rows and what is shown of them."""
    path = tiny.write_csv(tmp_path / "own.csv", rows)
    recipe = drafting.as_recipe(drafting.draft(str(path), None, None, tmp_path).settings("own"), tmp_path)
    recipe = datasheet.without_base(recipe)
    return recipe, datasheet.look(recipe, lambda count: None)


def test_the_rows_shown_are_those_that_training_has_and_no_others(tmp_path: Path) -> None:
    recipe, sheet = sheet_of(tmp_path, hostile_rows())
    train = bind_recipe(recipe).data.train
    assert {row.id: (row.label, row.text) for row in sheet.rows} == {
        key: (label, text) for key, text, label in zip(train.ids, train.texts, train.labels, strict=True)
    }
    assert len(sheet.lengths) == len(sheet.rows) == sheet.findings.splits["train"].rows < 60
    assert max(sheet.lengths) == (sheet.findings.splits["train"].lengths.quantiles or {})["max"]
    assert sheet.some_rows(5, 1) == sheet.some_rows(5, 1) != sheet.some_rows(5, 2)


def test_rows_are_shown_of_data_that_training_refuses(tmp_path: Path) -> None:
    _, sheet = sheet_of(tmp_path, [*tiny.make_rows(60), {"id": "e", "text": "", "label": "positive"}])
    assert sheet.findings.refused
    assert sheet.rows


def test_labels_are_text_in_figures(tmp_path: Path) -> None:
    _, sheet = sheet_of(tmp_path, hostile_rows())
    drawn = balance_figure({name: part.labels for name, part in sheet.findings.splits.items()}, "share").to_json()
    assert "<script" not in drawn
    assert "&lt;script" in drawn
    line = length_figure([3, 4, 5], 4, "tokens", "rows", "cut at 4").layout.shapes[0]
    assert line.x0 == line.x1 == 4


@pytest.mark.parametrize("name", ["", "../x", "a/b", "x" * 101, "🎬", "a\n", ".hidden", "-x"])
def test_a_recipe_that_cannot_be_named_so_is_not_saved(tmp_path: Path, name: str) -> None:
    data = tiny.write_csv(tmp_path / "a.csv")
    folder = tmp_path / "recipes"
    folder.mkdir()
    with pytest.raises(InputError, match="name"):
        drafting.save(folder, drafting.draft(str(data), None, None, folder).settings(name))
    assert not list(folder.iterdir())


def test_a_saved_recipe_loads_and_none_is_overwritten(tmp_path: Path) -> None:
    data = tiny.write_csv(tmp_path / "a.csv")
    settings = drafting.draft(str(data), None, None, tmp_path).settings("own", 64)
    recipe = load_recipe(str(drafting.save(tmp_path, settings)))
    assert recipe.data.train == str(data)
    assert recipe.base is not None
    assert recipe.base.max_length == 64
    with pytest.raises(InputError, match="saved already"):
        drafting.save(tmp_path, settings | {"seed": 1})
    assert drafting.free_name("own", drafting.saved_recipes(tmp_path)) == "own-2"


@pytest.mark.parametrize("language", LANGUAGES)
def test_from_a_path_to_a_saved_recipe(runs: Path, tmp_path: Path, language: str) -> None:
    rows = [{"n": row["id"], "words": row["text"], "feeling": row["label"]} for row in hostile_rows()]
    newer = tiny.write_recipe(runs / ".studio" / "recipes" / "newer.yaml", data=tmp_path / "own.csv")
    os.utime(newer, (2e9, 2e9))
    studio = page(language)
    assert [title.value for title in studio.title] == [words(language, "main.data")]
    assert words(language, "data.nothing") in [info.value for info in studio.info]
    typed(studio, tiny.write_csv(tmp_path / "own.csv", rows))
    columns = {box.label: box.value for box in studio.selectbox if (box.key or "").startswith("data.column")}
    assert columns == {words(language, "data.text"): "words", words(language, "data.label"): "feeling"}
    shown = studio.dataframe[-1].value
    assert set(shown[words(language, "data.row_label")]) <= set(HOSTILE)
    studio.text_input(key=f"data.name.{tmp_path / 'own.csv'}").set_value("../../x").run()
    studio.button(key="data.save").click().run()
    assert words(language, "data.save_refused") in [error.value for error in studio.error]
    studio.text_input(key=f"data.name.{tmp_path / 'own.csv'}").set_value("mine").run()
    studio.button(key="data.save").click().run()
    assert not studio.exception
    assert load_recipe(str(runs / ".studio" / "recipes" / "mine.yaml")).data.label == "feeling"
    assert studio.session_state["training.begun"] == ("saved", "mine")


@pytest.mark.parametrize("language", ["zh-Hant", "zh-Hans"])
def test_checks_are_in_the_chosen_language(runs: Path, tmp_path: Path, language: str) -> None:
    twice = [
        row | {"id": f"again {row['id']}", "label": label} for row in tiny.make_rows(30) for label in ("negative", "positive")
    ]
    studio = typed(page(language), tiny.write_csv(tmp_path / "own.csv", twice))
    told = yaml.safe_load((FOLDER / language / "checks.yaml").read_text("utf-8"))
    name = told["train rows whose text stands under another label too"]
    assert set(studio.dataframe[0].value[words(language, "data.check")]) <= set(told.values())
    assert name in set(studio.dataframe[0].value[words(language, "data.check")])
    remedy = plain(f"{name}：{told['decide for one label per text, or remove these rows']}")
    assert any(f"- {remedy}" in text.value for text in studio.markdown)


UNCLEAR = {
    "one column": b"text\nhello there\ngood morning\n",
    "one row": b"text,label\nhello there my friend,yes\n",
    "no rows": b"text,label\n",
    "three columns of names": b"a,b,c\n1,2,3\n2,3,4\n3,4,5\n",
}


@pytest.mark.parametrize("kind", UNCLEAR)
def test_what_cannot_be_used_is_told_and_columns_can_be_chosen(runs: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "odd.csv"
    path.write_bytes(UNCLEAR[kind])
    studio = typed(page(), path)
    assert not studio.exception
    assert [code.value for code in studio.code]
    assert not studio.button
    names = UNCLEAR[kind].split(b"\n")[0].decode().split(",")
    for role, name in zip(("text", "label"), (names[0], names[-1]), strict=True):
        studio.selectbox(key=f"data.column.{role}.{path}").set_value(name)
    assert not studio.run().exception
    assert [error.value for error in studio.error]


def test_an_uploaded_file_is_looked_through(runs: Path, tmp_path: Path) -> None:
    studio = page()
    studio.file_uploader(key="data.file").set_value(("../../x.csv", table(hostile_rows()), "text/csv")).run()
    assert not studio.exception
    assert {path.name for path in (runs / ".studio").iterdir()} <= {"uploads", "recipes", "jobs"}
    assert [metric.value for metric in studio.metric][:1] == ["48"]
    studio.file_uploader(key="data.file").set_value(("y.csv", b"\x7fELF\0\0", "text/csv")).run()
    assert not studio.exception
    assert "is no text" in studio.code[0].value


def test_the_pages_say_the_same_things_in_every_language() -> None:
    for name in ("data", "training"):
        keys = [set((FOLDER / lang / f"{name}.yaml").read_text("utf-8").split("\n")) for lang in LANGUAGES]
        first, *others = ([line.partition(":")[0] for line in sorted(lines) if line] for lines in keys)
        assert all(sorted(found) == sorted(first) for found in others)
