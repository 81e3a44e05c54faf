"""The shelf kept in order: runs renamed, deleted and noted, and what two of them were told differently."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shelf import create_run, finished_run, manifest, recipe, tunebench
from tiny import write_csv, write_recipe

from tunebench.errors import InputError, TunebenchError
from tunebench.recipe.load import validate_any
from tunebench.recipe.stages import StagedRecipe
from tunebench.runs import shelf
from tunebench.runs.chain import Chain, open_chain
from tunebench.runs.index import list_runs, summary
from tunebench.runs.run import Run, open_run
from tunebench.runs.shelf import Notes, config_diff, delete, read_notes, rename, write_notes

BAD_NAMES = ["../../x", "..", ".", "", "a" * 300, "\U0001f600", "/etc", "a/b", ".hidden", "a b", "a\n", "<b>", "=1+1"]


def names(runs: Path) -> list[str]:
    return [summary(run)["run"] for run in list_runs(runs)]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def a_chain(runs: Path, name: str = "pair") -> Chain:
    """A chain of two stages, the second on what the first left, without any training."""
    data = {"train": "/data/train.csv", "validation": {"fraction": 0.1}}
    stages = [{"name": stage, "data": data, "method": {"kind": "lora"}, "merge": stage == "cpt"} for stage in ("cpt", "sft")]
    made = validate_any({"name": name, "base": {"model": "bert-base-uncased"}, "stages": stages}, name)
    assert isinstance(made, StagedRecipe)
    with open_chain(runs, made) as chain:
        for number, stage in enumerate(("cpt", "sft")):
            base = str((chain.path / "stages" / "cpt" / "merged").resolve()) if number else None
            part = made.stage_recipe(number, base)
            with open_run(chain.stage(stage).path, part, manifest(part)):
                pass
        return chain


def test_a_run_bears_its_new_name_everywhere(tmp_path: Path) -> None:
    run = finished_run(tmp_path, "old")
    before = content(run.path)
    assert rename(tmp_path, "old", "new") == tmp_path / "new"
    assert names(tmp_path) == ["new"]
    renamed = Run(tmp_path / "new")
    assert (renamed.name, renamed.recipe.name, renamed.manifest["name"]) == ("new", "new", "new")
    assert renamed.recipe == recipe("new")
    after = content(renamed.path)
    assert {name for name in before if before[name] != after[name]} == {"recipe.yaml", "manifest.json"}
    assert before.keys() == after.keys()


def test_a_chain_bears_its_new_name_in_every_stage(tmp_path: Path) -> None:
    a_chain(tmp_path)
    rename(tmp_path, "pair", "other")
    chain = Chain(tmp_path / "other")
    assert names(tmp_path) == ["other", "other/cpt", "other/sft"]
    assert (chain.recipe.name, chain.manifest["name"]) == ("other", "other")
    told = [(run.recipe.name, run.manifest["name"]) for run in chain.stages().values()]
    assert told == [("other-cpt", "other-cpt"), ("other-sft", "other-sft")]
    second = chain.stage("sft")
    assert second.recipe.base is not None
    assert second.recipe.base.model == str(tmp_path / "other" / "stages" / "cpt" / "merged"), "it starts from its own chain"
    assert "../cpt/merged" in (second.path / "recipe.yaml").read_text("utf-8")


def test_the_old_recipe_makes_a_run_of_its_name_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, runs = write_recipe(tmp_path / "old.yaml", data=write_csv(tmp_path / "t.csv")), tmp_path / "runs"
    assert tunebench(capsys, "train", source, "--runs", runs)[0] == 0
    rename(runs, "old", "new")
    answered = tunebench(capsys, "predict", "new", "--text", "good", "--runs", runs)
    assert answered[0] == 0
    before = content(runs / "new")
    code, out, _ = tunebench(capsys, "train", runs / "new" / "recipe.yaml", "--runs", runs, "--json")
    assert (code, json.loads(out)["already_finished"], json.loads(out)["run"]) == (0, True, "new")
    code, out, _ = tunebench(capsys, "train", source, "--runs", runs, "--json")
    assert (code, json.loads(out)["already_finished"], json.loads(out)["run"]) == (0, False, "old")
    assert names(runs) == ["new", "old"]
    assert content(runs / "new") == before


def test_cards_tell_the_new_name(tmp_path: Path) -> None:
    run = finished_run(tmp_path, "old")
    run.write_text("adapter/README.md", "# old\n")
    run.write_text("merged/README.md", "# old\n")
    told = {"format": "onnx", "truncation_side": "right", "proof": {}, "passed": True}
    run.write_json("export/onnx/export.json", told)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelf, "export_card", lambda told, name, cleaning: f"# {name}, as {told['format']}\n")
        rename(tmp_path, "old", "new")
    for place in ("adapter", "merged", "export/onnx"):
        assert "# new" in (tmp_path / "new" / place / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_does_not_do_is_refused(name: str, tmp_path: Path) -> None:
    runs = tmp_path / "in" / "runs"
    finished_run(runs, "a")
    before = content(tmp_path)
    with pytest.raises(InputError, match="is no name for a run; a run is called by 1 to 100 letters"):
        rename(runs, "a", name)
    for act in (lambda: rename(runs, name, "b"), lambda: delete(runs, name)):
        with pytest.raises(InputError, match="is no run in"):
            act()
    assert content(tmp_path) == before


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    finished_run(tmp_path, "a")
    finished_run(tmp_path, "b")
    (tmp_path / "mine").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    before = content(tmp_path)
    for taken in ("a", "b", "mine", "dangling"):
        with pytest.raises(InputError, match="there is something of this name"):
            rename(tmp_path, "a", taken)
    with pytest.raises(InputError, match="is no run in"):
        delete(tmp_path, "mine")
    assert content(tmp_path) == before


def test_a_link_out_of_the_runs_folder_is_left_alone(tmp_path: Path) -> None:
    outside = finished_run(tmp_path / "elsewhere", "real")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(outside.path)
    for act in (lambda: delete(tmp_path / "runs", "link"), lambda: rename(tmp_path / "runs", "link", "b")):
        with pytest.raises(InputError, match="is a link to"):
            act()
    assert outside.is_finished()
    assert outside.recipe.name == "real"


@pytest.mark.parametrize("act", [lambda runs, name: delete(runs, name), lambda runs, name: rename(runs, name, "b")])
def test_what_is_worked_on_is_refused(act: Callable[[Path, str], None], tmp_path: Path) -> None:
    run, chain = create_run(tmp_path, recipe("a"), manifest(recipe("a"))), a_chain(tmp_path)
    for name, busy in (("a", run), ("pair", chain), ("pair", chain.stage("cpt"))):
        with busy.locked():
            before = content(tmp_path)
            with pytest.raises(TunebenchError, match="another process is at work on this run; wait for it or stop it"):
                act(tmp_path, name)
            assert content(tmp_path) == before
    for name in ("pair/cpt", "pair/sft"):
        with pytest.raises(InputError, match="is a stage of pair; a chain is renamed or deleted as a whole"):
            act(tmp_path, name)


def test_a_deleted_run_is_gone_with_everything(tmp_path: Path) -> None:
    finished_run(tmp_path, "a")
    finished_run(tmp_path, "b")
    a_chain(tmp_path)
    (tmp_path / "b" / "recipe.yaml").write_text("damaged: [")
    delete(tmp_path, "b")
    delete(tmp_path, "pair")
    assert sorted(os.listdir(tmp_path)) == ["a"]
    with pytest.raises(InputError, match=r"'pairs' is|'b': is no run in"):
        delete(tmp_path, "b")


def test_a_chain_with_damage_can_be_deleted(tmp_path: Path) -> None:
    (a_chain(tmp_path).path / "manifest.json").write_text("{")
    delete(tmp_path, "pair")
    assert os.listdir(tmp_path) == []


def test_a_deletion_that_breaks_off_leaves_no_run_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished_run(tmp_path, "a")

    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(shelf.shutil, "rmtree", refused)
    with pytest.raises(TunebenchError, match=r"a: cannot be written \(Permission denied: .*\); make the folder writable"):
        delete(tmp_path, "a")
    assert names(tmp_path) == []


def test_a_disk_that_refuses_leaves_the_run_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished_run(tmp_path, "a")
    before = content(run.path)

    def refused(*_: Any) -> None:
        raise OSError(30, "Read-only file system")

    for act in (lambda: rename(tmp_path, "a", "b"), lambda: delete(tmp_path, "a")):
        with monkeypatch.context() as patch:
            patch.setattr(shelf.os, "rename", refused)
            with pytest.raises(TunebenchError, match=r"cannot be written \(Read-only file system\); make the folder writable"):
                act()
    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_json", refused)
        with pytest.raises(TunebenchError, match="Read-only file system"):
            rename(tmp_path, "a", "b")
    assert names(tmp_path) == ["a"]
    assert content(run.path).keys() == before.keys()


def test_a_stage_whose_name_would_get_too_long_keeps_the_chain_as_it_is(tmp_path: Path) -> None:
    before = content(a_chain(tmp_path).path)
    with pytest.raises(InputError, match="which are more than 100; shorten it"):
        rename(tmp_path, "pair", "x" * 98)
    assert content(tmp_path / "pair") == before


def test_notes_are_kept_and_move_with_the_run(tmp_path: Path) -> None:
    run = finished_run(tmp_path, "a")
    assert read_notes(run) == Notes()
    with run.locked():  # also while it is trained
        assert write_notes(run, [" best ", "best", "", "審核"], "lr too high?\n<b>=1+1</b>") == Notes(
            ("best", "審核"), "lr too high?\n<b>=1+1</b>"
        )
    assert json.loads((run.path / "notes.json").read_text("utf-8")) == {
        "tags": ["best", "審核"],
        "note": "lr too high?\n<b>=1+1</b>",
    }
    rename(tmp_path, "a", "b")
    assert read_notes(Run(tmp_path / "b")).tags == ("best", "審核")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"tags": 3, "note": ""}', '{"tags": []}', "\xff"])
def test_notes_that_cannot_be_read_are_none(text: str, tmp_path: Path) -> None:
    run = finished_run(tmp_path, "a")
    (run.path / "notes.json").write_text(text, "latin-1")
    assert read_notes(run) == Notes()


def test_every_fault_of_notes_is_told_at_once(tmp_path: Path) -> None:
    run = finished_run(tmp_path, "a")
    with pytest.raises(InputError) as told:
        write_notes(run, ["x" * 41, "a\nb", *(f"t{i}" for i in range(20))], "n" * 10_001 + "\ud800")
    assert len(told.value.faults) == 5
    assert not (run.path / "notes.json").exists()
    delete(tmp_path, "a")
    with pytest.raises(InputError, match="is not there any more"):
        write_notes(run, [], "late")
    assert not run.path.exists()


def test_what_two_runs_were_told_differently(tmp_path: Path) -> None:
    a = finished_run(tmp_path, "a")
    b = finished_run(tmp_path, "b", method={"kind": "lora", "r": 16}, seed=7)
    assert config_diff(a, finished_run(tmp_path, "c")) == {}
    assert config_diff(a, b) == {"seed": (42, 7), "method.r": (8, 16)}
    full = finished_run(tmp_path, "d", method={"kind": "full"})
    assert config_diff(a, full)["method.r"] == (8, None)
    assert config_diff(full, a)["method.r"] == (None, 8)
    assert config_diff(a_chain(tmp_path), a)["stages.sft.method.kind"] == ("lora", None)
