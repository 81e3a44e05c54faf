"""A staged recipe is one resumable chain of runs: each stage starts from exactly the weights that the one before it left."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from chains import TRAIN, causal_settings, settings_of, write
from killing import Nursery
from shelf import finished_run, tunebench
from test_seed import lasting
from tiny import METHODS, World, write_csv, write_recipe

from tunebench import jobs
from tunebench.errors import GateFailed, InputError, TunebenchError
from tunebench.events import Event, Noted, Proved, Staged, Step
from tunebench.runs import environment
from tunebench.runs.bases import base_digest
from tunebench.runs.chain import Chain
from tunebench.runs.index import find_run, list_runs, summary
from tunebench.training import Trained

MOMENTS = ("cpt/checkpoints", "cpt/metrics.json", "cpt/merged-unproved", "cpt/merged", "sft/checkpoints")
"""What lies in the directory of a chain, one after the other, when it is killed."""


def train(recipe: str, runs: Path, *overrides: str, force: bool = False) -> tuple[Trained, list[Event]]:
    said: list[Event] = []
    return jobs.train(recipe, overrides, runs, said.append, force=force), said


def trained_in(said: list[Event]) -> list[str]:
    """The stages in which a step was made."""
    stage, found = "", []
    for event in said:
        stage = event.name if isinstance(event, Staged) else stage
        found += [stage] if isinstance(event, Step) and stage not in found else []
    return found


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def pair(world: World, warm: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``pair.yaml`` and the finished chain ``runs/pair``. Not to be changed: see ``own``."""
    folder = tmp_path_factory.mktemp("pair")
    train(write(folder / "pair.yaml", settings_of(world)), folder / "runs")
    return folder


@pytest.fixture
def own(pair: Path, tmp_path: Path) -> Path:
    """A copy of ``pair`` to change."""
    return Path(shutil.copytree(pair, tmp_path / "own"))


def test_every_stage_starts_from_what_the_one_before_it_left(pair: Path) -> None:
    chain = Chain(pair / "runs" / "pair")
    first, second = chain.stages().values()
    merged = base_digest(first.path / "merged")
    assert merged == first.manifest["merged_weights"] == second.manifest["base"]["digest"] != first.manifest["base"]["digest"]
    assert [
        (item["name"], item["start_weights"], item["end_weights"], item["merged_weights"]) for item in chain.manifest["stages"]
    ] == [
        ("cpt", first.manifest["base"]["digest"], first.weights_digest(), merged),
        ("sft", merged, second.weights_digest(), None),
    ]
    assert [proof["name"] for proof in first.metrics["proofs"]] == ["reload", "merge"]
    assert (first.name, second.name, second.recipe.name) == ("pair-cpt", "pair-sft", "pair-sft")
    assert chain.recipe.stages[1].method.target_modules == ["query", "value"]  # type: ignore[union-attr]
    assert not (second.path / "merged").exists()


def test_the_same_command_again_does_nothing(pair: Path) -> None:
    before = content(pair / "runs")
    done, said = train(str(pair / "pair.yaml"), pair / "runs")
    assert done.already_finished
    assert trained_in(said) == []
    assert [(event.position, event.stages, event.name) for event in said if isinstance(event, Staged)] == [
        (1, 2, "cpt"),
        (2, 2, "sft"),
    ]
    assert content(pair / "runs") == before


def test_a_chain_serves_its_last_stage_and_names_every_one(pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = pair / "runs"
    for name, stage in (("pair", "sft"), ("pair/cpt", "cpt"), (str(runs / "pair"), "sft"), (str(runs / "pair" / "cpt"), "cpt")):
        assert find_run(name, runs).path.resolve() == (runs / "pair" / "stages" / stage).resolve()
    with pytest.raises(InputError, match=r"no such run; nearest is 'pair/cpt'; runs in .* are pair, pair/cpt, pair/sft"):
        find_run("pair/cpd", runs)
    assert [(row["run"], row["status"], row["method"]) for row in map(summary, list_runs(runs))] == [
        ("pair", "finished", "2 stages"),
        ("pair/cpt", "finished", "lora"),
        ("pair/sft", "finished", "lora"),
    ]
    served, own = (
        json.loads(tunebench(capsys, "predict", name, "--text", "good", "--runs", runs, "--json")[1])
        for name in ("pair", "pair/sft")
    )
    assert served == own
    code, out, _ = tunebench(capsys, "train", pair / "pair.yaml", "--runs", runs, "--json")
    found = json.loads(out)
    assert (code, found["run"], found["path"], found["already_finished"]) == (0, "pair", str(runs / "pair"), True)
    assert [(stage["run"], stage["merged"] is not None) for stage in found["stages"]] == [("pair/cpt", True), ("pair/sft", False)]
    assert found["metrics"] == found["stages"][1]["metrics"]
    code, out, said = tunebench(capsys, "train", pair / "pair.yaml", "--runs", runs)
    assert "stage 2/2 sft: text-classification" in said
    assert out.splitlines()[-1] == f"{runs / 'pair'} is already finished; nothing to do"


def test_a_chain_can_be_moved(own: Path) -> None:
    (own / "runs").rename(own / "elsewhere")
    run = find_run("pair", own / "elsewhere")
    assert run.recipe.base.model == str(own / "elsewhere" / "pair" / "stages" / "cpt" / "merged")  # type: ignore[union-attr]
    assert run.manifest["base"]["model"] == "../cpt/merged"
    assert jobs.predict_texts("pair", own / "elsewhere", ["a good film"])[0]["error"] is None
    assert train(str(own / "pair.yaml"), own / "elsewhere")[0].already_finished


def test_another_recipe_takes_a_finished_stage_over_instead_of_training_it(world: World, own: Path) -> None:
    runs, first = own / "runs", own / "runs" / "pair" / "stages" / "cpt"
    before = content(runs / "pair")
    settings = settings_of(world, "other")
    settings["stages"][1]["method"] = METHODS["ia3"]
    done, said = train(write(own / "other.yaml", settings), runs)
    taken = done.stages[0].run
    assert trained_in(said) == ["sft"]
    assert [event.message for event in said if isinstance(event, Noted)] == [
        f"{taken.path}: taken over from pair/cpt, which is finished, of the same settings, data and base"
    ]
    assert (taken.name, taken.recipe.name, taken.manifest["taken_from"]) == ("other-cpt", "other-cpt", "pair/cpt")
    assert "# other-cpt" in (taken.path / "merged" / "README.md").read_text("utf-8")
    large = taken.path / "merged" / "model.safetensors"
    assert large.samefile(first / "merged" / "model.safetensors")
    assert not (taken.path / "events.jsonl").samefile(first / "events.jsonl")
    assert done.run.manifest["base"]["digest"] == taken.manifest["merged_weights"]
    assert content(runs / "pair") == before
    done, said = train(str(own / "other.yaml"), runs, "stages.cpt.train.max_steps=7", force=True)
    assert trained_in(said) == ["cpt", "sft"]
    assert content(runs / "pair") == before


def test_a_recipe_that_differs_in_its_name_alone_trains_nothing(world: World, own: Path) -> None:
    done, said = train(write(own / "other.yaml", settings_of(world, "other")), own / "runs")
    assert trained_in(said) == []
    entries = Chain(done.path).manifest["stages"]
    of_pair = Chain(own / "runs" / "pair").manifest["stages"]
    assert entries == of_pair


def test_a_stage_is_taken_over_under_another_name_but_not_one_that_names_its_start_otherwise(world: World, own: Path) -> None:
    settings = settings_of(world, "other")
    settings["stages"][0]["name"] = "pre"
    done, said = train(write(own / "other.yaml", settings), own / "runs")
    assert trained_in(said) == ["sft"]
    assert json.loads((done.run.weights / "adapter_config.json").read_text("utf-8"))["base_model_name_or_path"] == "../pre/merged"


def test_a_stage_with_another_start_is_not_taken_over(world: World, own: Path) -> None:
    settings = settings_of(world, "other")
    settings["stages"][0]["train"] = TRAIN | {"learning_rate": 0.01}
    assert trained_in(train(write(own / "other.yaml", settings), own / "runs")[1]) == ["cpt", "sft"]


@pytest.mark.parametrize(
    ("stage", "override", "told", "anew"),
    [
        ("sft", "stages.sft.method.r=3", "method.r: 2 -> 3", ["sft"]),
        ("cpt", "stages.cpt.train.learning_rate=0.01", "train.learning_rate: 0.02 -> 0.01", ["cpt", "sft"]),
    ],
)
def test_a_finished_stage_that_was_edited_is_refused_and_with_force_done_anew(
    own: Path, stage: str, override: str, told: str, anew: list[str]
) -> None:
    recipe, runs = str(own / "pair.yaml"), own / "runs"
    other = finished_run(runs, "other").path
    before = content(runs)
    with pytest.raises(InputError) as caught:
        train(recipe, runs, override)
    assert caught.value.subject == str(runs / "pair" / "stages" / stage)
    assert caught.value.faults == [
        f"a run of this name exists and differs: {told}",
        "give the recipe another name, or train it anew in place of that run with --force",
    ]
    assert content(runs) == before
    done, said = train(recipe, runs, override, force=True)
    assert trained_in(said) == anew
    assert done.run.manifest["base"]["digest"] == done.stages[0].run.manifest["merged_weights"]
    assert override.split("=")[1] in (runs / "pair" / "recipe.yaml").read_text("utf-8")
    kept = content(runs)
    kept_places = ["other/"] + ["pair/stages/cpt/"] * (anew == ["sft"])
    assert all(kept[name] == data for name, data in before.items() if name.startswith(tuple(kept_places)))
    assert other.is_dir()
    assert train(recipe, runs, override)[0].already_finished


def test_force_replaces_an_ordinary_run_of_other_settings_and_only_such_a_one(world: World, tmp_path: Path) -> None:
    recipe = str(write_recipe(tmp_path / "plain.yaml", data=world.data))
    run = train(recipe, tmp_path)[0].run
    (run.path / ".git").mkdir()
    assert train(recipe, tmp_path, force=True)[0].already_finished
    with pytest.raises(InputError, match="--force"):
        train(recipe, tmp_path, "seed=8")
    assert not train(recipe, tmp_path, "seed=8", force=True)[0].already_finished
    assert (run.recipe.seed, run.status(), (run.path / ".git").is_dir()) == (8, "finished", True)


def test_merged_weights_that_were_changed_are_refused_and_merged_again_once_they_are_gone(own: Path) -> None:
    recipe, runs = str(own / "pair.yaml"), own / "runs"
    merged = runs / "pair" / "stages" / "cpt" / "merged"
    whole = content(merged)
    config = json.loads((merged / "config.json").read_text("utf-8"))
    (merged / "config.json").write_text(json.dumps(config | {"note": 1}), "utf-8")
    with pytest.raises(
        InputError, match=r"merged: holds other files than the ones that were proved.* remove that folder"
    ) as caught:
        train(recipe, runs)
    assert caught.value.exit_code == 2
    with pytest.raises(InputError, match="was trained on another"):
        jobs.predict_texts("pair", runs, ["good"])
    shutil.rmtree(merged)
    done, said = train(recipe, runs)
    assert trained_in(said) == []
    assert [event.name for event in said if isinstance(event, Proved)] == ["merge"]
    assert content(merged) == whole
    assert [proof["name"] for proof in done.stages[0].run.metrics["proofs"]] == ["reload", "merge"]


def test_whole_weights_of_a_full_training_that_were_changed_are_refused(world: World, warm: None, tmp_path: Path) -> None:
    settings = settings_of(world)
    settings["stages"][0] |= {"method": METHODS["full"], "merge": False, "train": TRAIN | {"learning_rate": 0.002}}
    recipe = write(tmp_path / "pair.yaml", settings)
    done, _ = train(recipe, tmp_path / "runs")
    model = done.stages[0].run.weights
    assert (model.name, done.run.manifest["base"]["digest"]) == ("model", base_digest(model))
    assert done.run.recipe.base.model == str(model)  # type: ignore[union-attr]
    (model / "config.json").write_text((model / "config.json").read_text("utf-8") + " ", "utf-8")
    with pytest.raises(InputError, match=r"model: holds other files.*restore them, or remove"):
        train(recipe, tmp_path / "runs")


def test_a_merge_that_fails_its_proof_ends_the_chain_there(
    world: World, warm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunebench.runs.proof.MERGE_TOLERANCE", -1.0)
    recipe = write(tmp_path / "pair.yaml", settings_of(world))
    with pytest.raises(GateFailed):
        train(recipe, tmp_path / "runs")
    chain = Chain(tmp_path / "runs" / "pair")
    assert not (chain.stage("cpt").path / "merged").exists()
    assert not chain.stage("sft").path.exists()
    assert chain.status() == "interrupted"
    with pytest.raises(InputError, match=r"has not come to its last stage 'sft' yet; .*; there is pair/cpt"):
        find_run("pair", tmp_path / "runs")
    monkeypatch.undo()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tunebench.train.session.fit_and_keep", lambda *_: pytest.fail("the first stage was trained again"))
        with pytest.raises(pytest.fail.Exception):
            train(recipe, tmp_path / "runs")  # in the second stage
    assert (chain.stage("cpt").path / "merged").is_dir()


def test_killed_in_every_phase_a_chain_ends_with_the_same_bytes(world: World, nursery: Nursery, tmp_path: Path) -> None:
    settings = settings_of(world)
    for stage in settings["stages"]:
        stage["train"] = TRAIN | {"max_steps": 12, "save_strategy": "steps", "save_steps": 4}
    recipe, log, runs, kills = write(tmp_path / "pair.yaml", settings), tmp_path / "log.txt", tmp_path / "killed", 0
    nursery.start(["train", recipe, "--runs", str(tmp_path / "whole")], log)
    assert nursery.wait() == 0, log.read_text()
    for moment in MOMENTS:
        child = nursery.start(["train", recipe, "--runs", str(runs)], log)
        end = time.monotonic() + 30
        while not (runs / "pair" / "stages" / moment).exists() and time.monotonic() < end:
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        code = nursery.wait()
        assert code in (0, -signal.SIGKILL), log.read_text()
        kills += code != 0
    assert kills >= len(MOMENTS) - 1  # the last one may come too late
    nursery.start(["train", recipe, "--runs", str(runs)], log)
    assert nursery.wait() == 0, log.read_text()
    whole, killed = Chain(tmp_path / "whole" / "pair"), Chain(runs / "pair")
    assert killed.status() == "finished"
    assert {key: value for key, value in killed.manifest.items() if key != "created"} == {
        key: value for key, value in whole.manifest.items() if key != "created"
    }
    for one, other in zip(whole.stages().values(), killed.stages().values(), strict=True):
        expected, found = lasting(one), lasting(other)
        assert set(expected) == set(found)
        assert [name for name in expected if name != "events.jsonl" and expected[name] != found[name]] == []


def test_bad_data_of_the_last_stage_is_told_before_the_first_is_trained(world: World, tmp_path: Path) -> None:
    settings = settings_of(world)
    settings["stages"][1]["data"]["train"] = "nowhere.csv"
    with pytest.raises(InputError, match=r"nowhere\.csv"):
        train(write(tmp_path / "pair.yaml", settings), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_chain_and_a_run_never_take_each_others_place(world: World, pair: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a chain of stages; give the recipe another name"):
        train(str(write_recipe(tmp_path / "pair.yaml", data=world.data)), pair / "runs", force=True)
    staged = write(tmp_path / "plain.yaml", settings_of(world, "plain"))
    finished_run(tmp_path / "runs", "plain")
    with pytest.raises(InputError, match="is the run of a recipe without stages"):
        train(staged, tmp_path / "runs", force=True)
    (tmp_path / "mine" / "plain").mkdir(parents=True)
    (tmp_path / "mine" / "plain" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="exists and is not a run"):
        train(staged, tmp_path / "mine", force=True)
    assert (tmp_path / "mine" / "plain" / "thesis.tex").read_text() == "mine"


def damage(name: str, text: str) -> Callable[[Chain], None]:
    return lambda chain: (chain.path / name).write_text(text, "utf-8") and None


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (damage("manifest.json", "{}"), "lacks stages"),
        (damage("manifest.json", '{"stages": []}'), "names no stages"),
        (damage("manifest.json", '{"stages": [{"name": "../../x"}]}'), "names no stages"),
        (damage("recipe.yaml", "name: x"), r"recipe\.yaml"),
    ],
)
def test_a_damaged_chain_is_listed_as_damaged(own: Path, act: Callable[[Chain], None], told: str) -> None:
    act(Chain(own / "runs" / "pair"))
    row = summary(list_runs(own / "runs")[0])
    assert (row["run"], row["status"]) == ("pair", "damaged")
    assert re.search(told, row["error"])


def test_the_status_of_a_chain_is_a_fold_over_its_stages(own: Path) -> None:
    chain = Chain(own / "runs" / "pair")
    assert chain.status() == "finished"
    with chain.locked():
        assert chain.status() == "finished"
        (chain.stage("sft").path / "events.jsonl").unlink()
        assert chain.status() == "running"
        with pytest.raises(TunebenchError, match="another process is at work"):
            train(str(own / "pair.yaml"), own / "runs")
    assert chain.status() == "interrupted"


def test_compare_takes_a_chain_for_its_last_stage(pair: Path, tmp_path: Path, world: World) -> None:
    sources = [str(pair / "pair.yaml"), str(pair / "runs" / "pair" / "cpt")]
    found = jobs.compare(sources, pair / "runs", tmp_path, lambda _: None, timed=False)
    assert [[cell["run"] for cell in row["cells"]] for row in found["rows"]] == [["pair-sft"], ["pair-cpt"]]


def test_check_looks_through_the_data_of_every_stage(
    pair: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, world: World
) -> None:
    code, out, _ = tunebench(capsys, "check", pair / "pair.yaml", "--json")
    assert (code, list(json.loads(out)["stages"])) == (0, ["cpt", "sft"])
    settings = settings_of(world)
    settings["stages"][1]["data"]["train"] = str(
        write_csv(tmp_path / "few.csv", [{"id": i, "text": "x", "label": "a"} for i in range(9)])
    )
    code, out, said = tunebench(capsys, "check", write(tmp_path / "pair.yaml", settings))
    assert code == 3
    assert "stage sft\n" in out
    assert "sft: " in said


def test_memory_is_given_back_between_stages_and_its_peak_counted_anew() -> None:
    from tunebench.model.release import release_memory

    release_memory()
    large = b"x" * 300_000_000
    peak = environment.peak_memory_bytes()
    del large
    assert environment.peak_memory_bytes() > peak - 10_000_000
    release_memory()
    assert environment.peak_memory_bytes() < peak - 250_000_000


def test_pre_training_goes_on_to_questions_and_their_answers(
    warm: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write(tmp_path / "taigi.yaml", causal_settings(tmp_path))
    done, _ = train(recipe, tmp_path / "runs")
    first, second = (stage.run for stage in done.stages)
    assert second.manifest["base"]["digest"] == base_digest(first.path / "merged") == first.manifest["merged_weights"]
    assert [proof["name"] for proof in first.metrics["proofs"]] == ["reload", "merge"]
    assert first.metrics["test"]["perplexity_per_character"]["n"] == 6
    assert second.metrics["test"]["accuracy"]["n"] == 6
    assert [run.recipe.base.max_length for run in (first, second)] == [48, 60]  # type: ignore[union-attr]
    answers = (second.path / "answers.csv").read_text("utf-8").splitlines()
    assert (answers[0], len(answers)) == ("ID,Answer", 31)
    assert {line.split(",")[1] for line in answers[1:]} <= {"1", "2", "3"}
    code, out, _ = tunebench(capsys, "train", recipe, "--runs", tmp_path / "runs")
    assert code == 0
    assert "cpt is already finished; nothing to do: test perplexity per character" in out
