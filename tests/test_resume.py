"""Law 2: killed at any instant and started again with the same command, a run ends with the same bytes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from killing import Nursery
from test_seed import lasting, untimed
from tiny import METHODS, World, write_recipe

from tunebench import binding, jobs
from tunebench.errors import InputError, TunebenchError
from tunebench.events import Evaluated, Resumed, Step, Warned
from tunebench.model.methods import trainable_state
from tunebench.recipe.spec import Train
from tunebench.runs import checkpoints
from tunebench.runs.run import Run
from tunebench.train.checkpoint import Keeper, restore
from tunebench.train.loop import Job, State, fit
from tunebench.train.session import pin_machine, prepare
from tunebench.train.stopping import Asked, Stopping

KILLS = 20
STEPS = {
    "max_steps": 40,
    "eval_strategy": "steps",
    "eval_steps": 7,
    "metric_for_best_model": "loss",
    "save_strategy": "steps",
    "save_steps": 5,
    "gradient_accumulation_steps": 2,
    "per_device_train_batch_size": 4,
}


KINDS = METHODS | {"pissa": METHODS["lora"] | {"init_lora_weights": "pissa"}, "vera": {"kind": "vera", "r": 8}}


def write(world: World, folder: Path, method: str = "lora", **settings: Any) -> Path:
    return write_recipe(
        folder / "killed.yaml",
        data=world.data,
        base=world.bases["bert"],
        method=KINDS[method],
        train=STEPS | {"learning_rate": 0.003 if method == "full" else 0.02} | settings,
    )


def told(run: Run) -> list[Any]:
    """What the job said, without numbers, times and the word that it was resumed."""
    lines = (run.path / "events.jsonl").read_text("utf-8").splitlines()
    records = [untimed(json.loads(line)) for line in lines]
    return [{key: value for key, value in item.items() if key != "number"} for item in records if item["kind"] != "resumed"]


def ends(run: Run) -> dict[str, Any]:
    """Everything a run leaves, apart from times, memory and the events' numbers."""
    return {name: value for name, value in lasting(run).items() if name != "events.jsonl"}


@pytest.mark.parametrize("method", ["lora", "full"])
def test_killed_at_random_instants_a_run_ends_with_the_same_bytes(
    world: World, nursery: Nursery, tmp_path: Path, method: str
) -> None:
    recipe, log = str(write(world, tmp_path, method)), tmp_path / "log.txt"
    nursery.start(["train", recipe, "--runs", str(tmp_path / "whole")], log)
    begun = time.monotonic()
    assert nursery.wait() == 0, log.read_text()
    seconds = time.monotonic() - begun
    whole, draw, kills, attempt = Run(tmp_path / "whole" / "killed"), random.Random(method), 0, 0
    resumed_at = set()
    while kills < KILLS // 2:
        runs = tmp_path / f"attempt-{attempt}"
        attempt += 1
        while True:
            child = nursery.start(["train", recipe, "--runs", str(runs)], log)
            if kills < KILLS // 2:
                time.sleep(draw.uniform(0.0, seconds * 0.9))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            code = nursery.wait()
            if code == 0:
                break
            assert code == -signal.SIGKILL, log.read_text()
            kills += 1
        run = Run(runs / "killed")
        resumed_at |= {event.step for event in run.events() if isinstance(event, Resumed)}
        assert list(ends(run)) == list(ends(whole))
        assert [name for name, value in ends(whole).items() if value != ends(run)[name]] == []
        assert told(run) == told(whole)
        assert not (run.path / "checkpoints").exists()
    assert resumed_at  # else every attempt began again, and nothing was shown


@pytest.mark.parametrize("name", [".git", ".envrc", "notes/.hidden"])
def test_hidden_files_of_the_user_are_never_swept(world: World, tmp_path: Path, name: str) -> None:
    recipe = str(write_recipe(tmp_path / "killed.yaml", data=world.data))
    run = tmp_path / "runs" / "killed"
    (run / name).mkdir(parents=True)
    with pytest.raises(InputError, match="exists and is not a run"):
        jobs.train(recipe, [], tmp_path / "runs", lambda event: None)
    run.rename(tmp_path / "kept")
    jobs.train(recipe, [], tmp_path / "runs", lambda event: None)
    (run / "events.jsonl").unlink()  # not finished
    (tmp_path / "kept").rename(run / "own")
    (run / ".link").symlink_to(tmp_path)
    (run / ".own.part").write_text("left over by a killed attempt")
    jobs.train(recipe, [], tmp_path / "runs", lambda event: None)
    assert (run / "own" / name).is_dir()
    assert (run / ".link").is_symlink()
    assert not (run / ".own.part").exists()


def test_a_second_signal_in_the_middle_of_a_step_keeps_no_torn_moment() -> None:
    with Stopping() as stopping:
        signal.raise_signal(signal.SIGINT)
        assert stopping.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(Asked), stopping.interruptible():
            pytest.fail("it had been asked before")
        stopping.hear_no_more()
        signal.raise_signal(signal.SIGINT)
    with Stopping() as stopping, pytest.raises(Asked), stopping.interruptible():
        signal.raise_signal(signal.SIGTERM)


def test_the_same_step_kept_twice_is_whole_at_every_moment(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = new_job(write(world, tmp_path, max_steps=2))
    run, state = Run(tmp_path / "run"), State(job)
    run.path.mkdir()
    keeper = Keeper(run, job, state)
    for event in fit(job, state):
        run.record(event)
    keeper.save()
    monkeypatch.setattr(checkpoints.shutil, "rmtree", lambda *_, **__: pytest.fail("the only checkpoint was removed"))
    run.record(Warned("said since"))
    keeper.save()
    point = checkpoints.newest(run.path)
    assert point is not None
    assert point.events == run.recorded()


def test_a_run_goes_on_only_on_the_kind_of_device_it_began_on(world: World, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.path.mkdir()
    manifest = {"identity": {}, "labels": {}, "base": None, "data": {}}
    run.write_json("manifest.json", manifest | {"training": {"threads": 1, "precision": "float16", "device": "cuda"}})
    with pytest.raises(InputError, match="began on a cuda"):
        pin_machine(run, Train())


def test_new_display_names_reach_a_run_that_is_there_already(world: World, tmp_path: Path) -> None:
    recipe = str(write_recipe(tmp_path / "killed.yaml", data=world.data))
    run = jobs.train(recipe, [], tmp_path / "runs", lambda event: None).run
    done = jobs.train(recipe, ["data.label_names={positive: Good}"], tmp_path / "runs", lambda event: None)
    assert done.already_finished
    assert run.manifest["labels"]["display"] == {"positive": "Good"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_and_the_command_that_goes_on(
    world: World, nursery: Nursery, tmp_path: Path, number: signal.Signals
) -> None:
    unsaved = {"save_strategy": "no", "save_steps": None, "eval_strategy": "no", "eval_steps": None}
    recipe, log = str(write(world, tmp_path, **unsaved)), tmp_path / "log"
    command = ["train", recipe, "--runs", str(tmp_path / "runs")]
    child = nursery.start(command, log)
    run = Run(tmp_path / "runs" / "killed")
    while not any(isinstance(event, Step) for event in run.events()):
        time.sleep(0.005)
    os.kill(child, number)
    assert nursery.wait() == 130
    point = checkpoints.newest(run.path)
    assert point is not None
    assert 0 < point.step < STEPS["max_steps"]
    again = f"`tunebench train {recipe} --runs={tmp_path / 'runs'}` goes on"
    assert f"stopped at step {point.step} of 40, which is kept; {again}" in log.read_text()
    assert run.status() == "interrupted"
    assert [event.step for event in run.events() if isinstance(event, Step)] == list(range(1, point.step + 1))
    nursery.start(command, log)
    assert nursery.wait() == 0, log.read_text()
    assert f"goes on after step {point.step} of 40" in log.read_text()
    nursery.start(["train", recipe, "--runs", str(tmp_path / "whole")], log)
    assert nursery.wait() == 0
    whole = Run(tmp_path / "whole" / "killed")
    assert told(run) == told(whole)
    assert ends(run) == ends(whole)


def new_job(recipe: Path) -> Job:
    bound = binding.bind(str(recipe))
    return prepare(bound.recipe, bound.data).job


def trained(job: Job) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in trainable_state(job.model).items()}


@pytest.mark.parametrize("method", ["full", "head", "lora", "ia3", "pissa", "vera"])
@pytest.mark.parametrize("stop", [1, 6, 7, 11])
def test_a_moment_saved_and_restored_goes_on_as_if_nothing_had_happened(
    world: World, tmp_path: Path, method: str, stop: int
) -> None:
    recipe = write(world, tmp_path, method, max_steps=12, eval_steps=3)
    whole = new_job(recipe)
    expected = [untimed(vars(event)) for event in fit(whole)]
    run = Run(tmp_path / "run")
    run.path.mkdir()
    first = new_job(recipe)
    state, said = State(first), []
    for event in fit(first, state):
        run.record(event)
        said.append(untimed(vars(event)))
        if isinstance(event, Step) and event.step == stop:
            Keeper(run, first, state).save()
            break
    point = checkpoints.newest(run.path)
    assert point is not None
    assert point.events == len(said)
    second = new_job(recipe)
    state = State(second)
    restore(second, state, point)
    said += [untimed(vars(event)) for event in fit(second, state)]
    assert said == expected
    one, other = trained(whole), trained(second)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("lost", ["optimizer", "progress.step"])
def test_without_any_part_of_the_state_the_weights_differ(world: World, tmp_path: Path, lost: str) -> None:
    """The law's test can fail: a checkpoint that lacks something does not do."""
    recipe = write(world, tmp_path, max_steps=12, eval_strategy="no", eval_steps=None)
    whole = new_job(recipe)
    list(fit(whole))
    run = Run(tmp_path / "run")
    run.path.mkdir()
    first = new_job(recipe)
    state = State(first)
    for event in fit(first, state):
        run.record(event)
        if isinstance(event, Step) and event.step == 6:
            Keeper(run, first, state).save()
            break
    point = checkpoints.newest(run.path)
    assert point is not None
    second = new_job(recipe)
    state = State(second)
    restore(second, state, point)
    if lost == "optimizer":
        state.optimizer.state.clear()
    else:
        state.progress.step = 5
    list(fit(second, state))
    assert any(not torch.equal(tensor, trained(second)[name]) for name, tensor in trained(whole).items())


def test_the_newest_and_the_best_checkpoint_are_kept_while_training(world: World, tmp_path: Path) -> None:
    job = new_job(write(world, tmp_path))
    run, state = Run(tmp_path / "run"), State(job)
    run.path.mkdir()
    keeper, best = Keeper(run, job, state), 0
    for event in fit(job, state):
        run.record(event)
        keeper.see(event)
        best = event.step if isinstance(event, Evaluated) and event.best else best
        newest = max(best, state.progress.step // 5 * 5)
        kept = {path.name for path in (run.path / "checkpoints").iterdir()} if newest else set()
        assert kept == {f"checkpoint-{step}" for step in (best, newest) if step}
        for name in kept:
            assert set(os.listdir(run.path / "checkpoints" / name)) == {"state.safetensors", "progress.json"}


def test_by_time_a_checkpoint_waits_for_a_minute_and_for_a_hundred_times_its_cost(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("tunebench.train.checkpoint.time.monotonic", lambda: now[0])
    job = new_job(write(world, tmp_path, save_strategy="time", save_steps=None, eval_strategy="no", eval_steps=None))
    run, state, saved = Run(tmp_path / "run"), State(job), []
    run.path.mkdir()
    keeper = Keeper(run, job, state)
    real = checkpoints.write

    def slow(path: Path, step: int, *rest: Any) -> None:
        real(path, step, *rest)
        now[0] += 2.0
        saved.append(now[0])

    monkeypatch.setattr(checkpoints, "write", slow)
    for event in fit(job, state):
        run.record(event)
        now[0] += 10.0
        keeper.see(event)
    assert saved == [62.0, 264.0]  # after 60 s, then after 100 * 2 s


def test_a_resumed_run_keeps_threads_and_precision_and_warns_of_other_versions(
    world: World, nursery: Nursery, tmp_path: Path
) -> None:
    recipe, log = str(write(world, tmp_path)), tmp_path / "log"
    command = ["train", recipe, "--runs", str(tmp_path / "runs")]
    child = nursery.start(command, log)
    run = Run(tmp_path / "runs" / "killed")
    while checkpoints.newest(run.path) is None:
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    nursery.wait()
    manifest = run.manifest
    assert manifest["training"] == {"threads": 1, "precision": "float32", "device": "cpu"}
    run.write_json("manifest.json", manifest | {"versions": manifest["versions"] | {"peft": "0.0.1"}})
    nursery.start(command, log)
    assert nursery.wait() == 0
    assert run.metrics["threads"] == 1
    warned = [event.message for event in run.events() if isinstance(event, Warned)]
    assert any("began with peft 0.0.1" in message for message in warned)


def test_a_damaged_checkpoint_is_told_and_another_methods_is_refused(world: World, tmp_path: Path) -> None:
    jobs_of = {method: new_job(write(world, tmp_path / method, method)) for method in ("lora", "ia3")}
    run = Run(tmp_path / "run")
    run.path.mkdir()
    Keeper(run, jobs_of["lora"], State(jobs_of["lora"])).save()
    point = checkpoints.newest(run.path)
    assert point is not None
    with pytest.raises(TunebenchError, match="other weights"):
        restore(jobs_of["ia3"], State(jobs_of["ia3"]), point)
    (point.folder / "state.safetensors").write_bytes(b"{}")
    with pytest.raises(InputError, match="remove that folder"):
        restore(jobs_of["lora"], State(jobs_of["lora"]), point)
    (point.folder / "progress.json").write_text("{")
    with pytest.raises(InputError, match="remove that folder"):
        checkpoints.newest(run.path)
