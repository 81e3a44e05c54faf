"""The page Runs: runs found, tagged, renamed, compared, deleted and exported, and damage shown as damage."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import shelf
from answered import answered_run
from streamlit.testing.v1 import AppTest
from studio import page_of, text

from tunebench.app.server import RUNS_VARIABLE
from tunebench.app.shelving import Kept, exported, files_of, found, half_written, is_sealed, opened, shelved, tags_of
from tunebench.app.words import LANGUAGES, words
from tunebench.runs.index import list_runs, summary
from tunebench.runs.looks import looks_at_test
from tunebench.runs.run import Run
from tunebench.runs.shelf import read_notes, write_notes

HOSTILE = "x**y [z](http:--a.b) <b>"


@pytest.fixture
def runs(studio_runs: Path) -> Path:
    """A runs folder that the studio looks at: three finished runs."""
    folder = studio_runs
    shelf.finished_run(folder, "alpha", wrong=20)
    shelf.finished_run(folder, "beta", wrong=5, method={"kind": "ia3"})
    shelf.finished_run(folder, "gamma", wrong=40, base=None, method={"kind": "tfidf"})
    write_notes(Run(folder / "beta"), ["paper", "small"], "for the talk")
    write_notes(Run(folder / "gamma"), ["paper"], "")
    return folder


def page(language: str = "en", chosen: str | None = None) -> AppTest:
    """The page, drawn, with a run chosen."""
    studio = page_of("runs", language)
    return studio if chosen is None else studio.selectbox(key="runs_chosen").set_value(chosen).run()


def press(studio: AppTest, label: str) -> AppTest:
    """A button pressed by what stands on it."""
    return next(button for button in studio.button if button.label == words("en", f"runs.{label}")).click().run()


def names(studio: AppTest) -> list[str]:
    """The runs of the table, in order."""
    return list(studio.dataframe[0].value.iloc[:, 0])


SOUGHT: dict[str, tuple[str, Sequence[str], str, list[str]]] = {
    "by name": ("", (), "name", ["alpha", "beta", "gamma"]),
    "best first": ("", (), "accuracy", ["beta", "alpha", "gamma"]),
    "by a word of the name": ("ALPH", (), "name", ["alpha"]),
    "by method": ("tfidf", (), "name", ["gamma"]),
    "by words of different places": ("ia3 talk", (), "name", ["beta"]),
    "by a tag": ("", ("paper",), "name", ["beta", "gamma"]),
    "by all tags": ("", ("paper", "small"), "name", ["beta"]),
    "by what is not there": ("lora talk", (), "name", []),
}


@pytest.mark.parametrize("name", SOUGHT)
def test_runs_are_found_by_words_and_tags_and_put_in_order(name: str, runs: Path) -> None:
    words_, tags, order, expected = SOUGHT[name]
    lines = shelved([summary(run) for run in list_runs(runs)])
    assert [run.name for run in found(lines, words_, tags, order)] == expected
    assert tags_of(lines) == ["paper", "small"]


def test_the_newest_run_stands_first(runs: Path) -> None:
    for age, name in enumerate(("beta", "gamma", "alpha")):
        os.utime(runs / name / "events.jsonl", (1e9 - age, 1e9 - age))
    lines = shelved([summary(run) for run in list_runs(runs)])
    assert [run.name for run in found(lines)] == ["beta", "gamma", "alpha"]


def test_files_are_listed_without_links_and_hidden_ones(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    (runs / "alpha" / "link").symlink_to(tmp_path / "secret")
    (runs / "alpha" / "folder").symlink_to(tmp_path)
    (runs / "alpha" / "sub").mkdir()
    (runs / "alpha" / "sub" / "weights").write_bytes(b"12345")
    listed = {file.name: file.size for file in files_of(runs / "alpha")}
    assert listed["sub/weights"] == 5
    assert {"recipe.yaml", "manifest.json", "metrics.json", "events.jsonl", "sub/weights"} == set(listed)
    assert files_of(runs / "nowhere") == []
    assert isinstance(files_of(runs / "alpha")[0], Kept)


def test_what_is_half_written_or_gone_is_known_as_that(runs: Path) -> None:
    (runs / "alpha" / "manifest.json").unlink()
    (runs / "logs").mkdir()
    assert half_written(runs) == ["alpha"]
    assert opened("alpha", runs) is None
    assert isinstance(opened("beta", runs), Run)
    assert half_written(runs / "nowhere") == []


def test_an_export_that_cannot_be_read_is_told_and_hides_no_other(runs: Path) -> None:
    for form, content in (("onnx", '{"passed": true}'), ("openvino", "{")):
        (runs / "alpha" / "export" / form).mkdir(parents=True)
        (runs / "alpha" / "export" / form / "export.json").write_text(content)
    told = exported(Run(runs / "alpha"))
    assert told["onnx"] == {"passed": True}
    assert "not readable as JSON" in told["openvino"]["error"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_shows_every_run_whatever_became_of_it(language: str, runs: Path) -> None:
    (runs / "gamma").rename(runs / HOSTILE)
    (shelf.finished_run(runs, "broken").path / "metrics.json").write_text("[", "utf-8")
    (shelf.finished_run(runs, "half").path / "manifest.json").unlink()
    shelf.create_run(runs, shelf.recipe("begun"), shelf.manifest(shelf.recipe("begun")))
    chain = runs / "chain"
    (chain / "stages").mkdir(parents=True)
    (chain / "manifest.json").write_text(json.dumps({"stages": []}))
    studio = page(language)
    assert not studio.exception
    assert [title.value for title in studio.title] == [words(language, "main.runs")]
    assert sorted(names(studio)) == sorted(["alpha", "beta", "begun", "broken", "chain", HOSTILE])
    assert words(language, "runs.half_written", names="half") in text(studio)
    for name in ("broken", "chain"):
        assert words(language, "runs.damaged") in text(studio.selectbox(key="runs_chosen").set_value(name).run())
        assert not studio.exception
    studio.selectbox(key="runs_chosen").set_value(HOSTILE).run()
    assert not studio.exception
    assert HOSTILE in text(studio)
    assert all(HOSTILE not in part.value for part in [*studio.markdown, *studio.header])


def test_an_empty_folder_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUNS_VARIABLE, str(tmp_path / "nothing"))
    studio = page()
    assert not studio.exception
    assert words("en", "runs.none") in text(studio)


def test_somebody_finds_tags_and_writes_beside_a_run(runs: Path) -> None:
    studio = page(chosen="alpha")
    studio.multiselect(key="runs_own_tags_alpha").set_value(["small"])
    studio.text_area(key="runs_note_alpha").set_value("odd <b>curve</b>")
    press(studio, "save")
    assert not studio.exception
    assert words("en", "runs.saved") in text(studio)
    notes = read_notes(Run(runs / "alpha"))
    assert (notes.tags, notes.note) == (("small",), "odd <b>curve</b>")
    studio.multiselect(key="runs_tags").set_value(["small"]).run()
    assert sorted(names(studio)) == ["alpha", "beta"]
    studio.text_input(key="runs_search").set_value("curve").run()
    assert names(studio) == ["alpha"]
    studio.text_input(key="runs_search").set_value("nothing like it").run()
    assert words("en", "runs.none_found") in text(studio)


def test_somebody_renames_a_run_and_is_refused_a_path(runs: Path) -> None:
    studio = page(chosen="alpha")
    for refused in ("../../x", "", "a" * 300, "beta", "\U0001f600"):
        studio.text_input(key="runs_new_name_alpha").set_value(refused)
        press(studio, "rename_do")
        assert not studio.exception
        assert words("en", "runs.fault") in text(studio), refused
    assert sorted(path.name for path in runs.iterdir()) == ["alpha", "beta", "gamma"]
    studio.text_input(key="runs_new_name_alpha").set_value("delta")
    press(studio, "rename_do")
    assert words("en", "runs.renamed", old="alpha", new="delta") in text(studio)
    assert studio.selectbox(key="runs_chosen").value == "delta"
    assert sorted(names(studio)) == ["beta", "delta", "gamma"]


def test_a_run_is_deleted_only_by_its_name(runs: Path) -> None:
    studio = page(chosen="beta")
    studio.text_input(key="runs_typed_beta").set_value("alpha")
    press(studio, "delete_do")
    assert words("en", "runs.not_the_name") in text(studio)
    assert (runs / "beta").is_dir()
    studio.text_input(key="runs_typed_beta").set_value("beta")
    press(studio, "delete_do")
    assert not studio.exception
    assert words("en", "runs.deleted", run="beta") in text(studio)
    assert sorted(path.name for path in runs.iterdir()) == ["alpha", "gamma"]


def test_a_run_at_work_is_not_deleted(runs: Path) -> None:
    studio = page(chosen="beta")
    studio.text_input(key="runs_typed_beta").set_value("beta")
    with Run(runs / "beta").locked():
        press(studio, "delete_do")
    assert "another process is at work" in text(studio)
    assert (runs / "beta" / "manifest.json").is_file()


def test_settings_of_two_runs_are_set_side_by_side(runs: Path) -> None:
    studio = page(chosen="alpha")
    studio.selectbox(key="runs_other").set_value("beta").run()
    assert not studio.exception
    differing = studio.dataframe[-1].value
    kind = differing[differing["setting"] == "method.kind"].iloc[0]
    assert (kind["left"], kind["right"]) == ("lora", "ia3")


def test_a_run_that_goes_while_it_is_shown_leaves_the_page_whole(runs: Path) -> None:
    studio = page(chosen="alpha")
    studio.selectbox(key="runs_other").set_value("beta").run()
    (runs / "alpha" / "recipe.yaml").unlink()
    assert not studio.run().exception
    (runs / "beta" / "manifest.json").unlink()
    assert not studio.run().exception
    assert words("en", "runs.half_written", names="beta") in text(studio)


def test_taking_a_file_with_test_rows_is_a_counted_look(runs: Path) -> None:
    run = answered_run(runs, "seen")
    before = looks_at_test(run)
    studio = page(chosen="seen")
    studio.selectbox(key="runs_file_seen").set_value("recipe.yaml").run()
    assert words("en", "runs.sealed") not in text(studio)
    studio.selectbox(key="runs_file_seen").set_value("predictions.parquet").run()
    assert words("en", "runs.sealed") in text(studio)
    assert looks_at_test(run) == before
    studio.get("download_button")[0].click().run()
    assert not studio.exception
    assert looks_at_test(run) == before + 1
    assert is_sealed("stages/sft/predictions.parquet")
    assert not is_sealed("predictions.parquet.txt")


def test_an_export_is_asked_for_once_and_shown_with_its_proof(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("tunebench.app.run_details.submit", lambda *given, **named: asked.append((given, named)))
    folder = runs / "alpha" / "export" / "onnx"
    folder.mkdir(parents=True)
    proof = {"rows": 64, "largest_difference": 1e-6, "label_flips": 0}
    (folder / "export.json").write_text(json.dumps({"passed": False, "proof": proof, "why": "3 labels flip", "bytes": 1_000_000}))
    studio = page(chosen="alpha")
    assert not studio.exception
    shown = next(table.value for table in studio.dataframe if words("en", "runs.verdict") in table.value)
    assert list(shown[words("en", "runs.verdict")]) == [words("en", "runs.failed_proof")]
    assert words("en", "runs.proof", name="onnx", proof="3 labels flip") in text(studio)
    studio.selectbox(key="runs_format").set_value("onnx-int8")
    studio.checkbox(key="runs_as_default").check()
    press(studio, "make_export")
    assert not studio.exception
    command = ["export", str(runs / "alpha"), "--format", "onnx-int8", "--runs", str(runs), "--default"]
    assert asked == [((runs, [command]), {"kind": "export", "run": "alpha"})]
    assert words("en", "runs.no_export") in text(page(chosen="gamma"))
