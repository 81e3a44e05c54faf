"""Searching settings: spaces are closed, the test rows untouched, hopeless trials stopped; killed anywhere, it goes on."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from killing import Nursery
from tiny import World, make_rows, write_csv, write_recipe

from tunebench import jobs
from tunebench.errors import InputError, MissingExtra, TunebenchError
from tunebench.events import Evaluated, Finished, Scored, Started, Stopped
from tunebench.predict.linear import LinearScorer
from tunebench.recipe.load import load_recipe, validate
from tunebench.recipe.spec import Recipe
from tunebench.runs.run import Run
from tunebench.search_text import search_text, told_text
from tunebench.searching import following, ledger, search, study
from tunebench.searching.ledger import Trial
from tunebench.searching.search import Told

SPACE = {"method.C": {"low": 0.01, "high": 100, "log": True}, "method.ngram_max": [1, 2, 3]}


def recipe_file(folder: Path, *, search: Any = None, **changes: Any) -> str:
    data = write_csv(folder / "texts.csv")
    search = {"space": SPACE, "trials": 3} if search is None else search
    return str(write_recipe(folder / "wide.yaml", data=data, **{"method": {"kind": "tfidf"}, "search": search} | changes))


def searched(source: str, runs: Path, *overrides: str, force: bool = False) -> dict[str, Any]:
    return jobs.search(source, overrides, runs, lambda told: None, force=force)


def settings(space: Any, **search: Any) -> dict[str, Any]:
    return {
        "name": "a",
        "base": {"model": "somewhere"},
        "data": {"train": "train.csv", "validation": {"fraction": 0.1}},
        "method": {"kind": "lora"},
        "search": {"space": space, **search},
    }


RATE = {"train.learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}}
SOUND: list[dict[str, Any]] = [
    {"method.r": [4, 8], **RATE},
    {"train.class_weight": ["balanced", None], "base.max_length": {"low": 64, "high": 256, "step": 64}},
    {"method.target_modules": ["all-linear", ["query", "value"]], "method.lora_dropout": {"low": 0, "high": 0.3, "step": 0.1}},
]
FAULTS: list[tuple[Any, dict[str, Any], str]] = [
    ({}, {}, "search.space: expected at least one setting, such as train.learning_rate, found {}"),
    ([1], {}, "search.space: expected settings, found [1]"),
    (RATE, {"trials": 0}, "search.trials: expected at least 1, found 0"),
    (RATE, {"prunner": "median"}, "search.prunner: unknown key; nearest is 'pruner'; known are space, trials, metric, pruner"),
    (RATE, {"pruner": "mean"}, "search.pruner: expected 'median' or 'none', found 'mean'"),
    ({"train.learning_rat": [1, 2]}, {}, "search.space.train.learning_rat: no setting; nearest is 'train.learning_rate'"),
    ({"method.C": [1, 2]}, {}, "search.space.method.C: no setting of the method 'lora'"),
    ({"data.train": ["a", "b"]}, {}, "search.space.data.train: can be searched are settings of base, method, prompt, train,"),
    ({"train": {"learning_rate": [1, 2]}}, {}, "search.space.train: expected a list of choices, or numbers such as {low:"),
    ({"method.kind": ["lora", "ia3"]}, {}, "search.space.method.kind: methods are compared, not searched"),
    ({"base.model": ["a", "b"]}, {}, "search.space.base.model: models are compared, not searched"),
    ({"train.eval_steps": [1, 2]}, {}, "search.space.train.eval_steps: all trials are judged at the same moments"),
    ({"train.logging_steps": [1, 2]}, {}, "search.space.train.logging_steps: changes no result; remove it"),
    ({"method.r": [0, 8]}, {}, "search.space.method.r: 0 is refused (method.r: expected at least 1, found 0)"),
    (
        {"method.r": 8},
        {},
        "search.space.method.r: expected a list of choices, or numbers such as {low: 1e-5, high: 1e-3}, found 8",
    ),
    ({"method.r": [8]}, {}, "search.space.method.r: expected a list of at least 2 choices"),
    ({"method.r": [8, 8]}, {}, "search.space.method.r: the choice 8 stands twice"),
    ({"method.r": {"low": 1.5, "high": 8}}, {}, "search.space.method.r: takes whole numbers, found low 1.5"),
    ({"method.r": {"low": 8}}, {}, "search.space.method.r.high: missing; the largest value"),
    ({"method.r": {"low": 1, "high": 8, "steps": 1}}, {}, "search.space.method.r.steps: unknown key; nearest is 'step'"),
    ({"method.r": {"low": 8, "high": 2}}, {}, "search.space.method.r: low (8) has to be less than high (2)"),
    ({"method.lora_dropout": {"low": 0, "high": 2}}, {}, "search.space.method.lora_dropout: 2.0 is refused"),
    (
        {"train.weight_decay": {"low": 0, "high": 1, "log": True}},
        {},
        "search.space.train.weight_decay: log: needs a low above zero",
    ),
    ({"train.warmup_ratio": {"low": 0, "high": 0.25, "step": 0.1}}, {}, "search.space.train.warmup_ratio: step: from 0 in steps"),
    (
        {"train.bf16": [True, None], "train.fp16": [True, None]},
        {},
        "search.space.train.bf16: true and train.fp16: true is refused",
    ),
]


@pytest.mark.parametrize("space", SOUND)
def test_a_space_may_hold_numbers_words_lists_and_nothing(space: dict[str, Any]) -> None:
    assert validate(settings(space), "r.yaml").search is not None


@pytest.mark.parametrize(("space", "search", "words"), FAULTS, ids=[words.split(":")[0] for *_, words in FAULTS])
def test_what_cannot_be_tried_is_refused_before_anything_is_trained(space: Any, search: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        validate(settings(space, **search), "r.yaml")
    assert [fault[: len(words)] for fault in caught.value.faults] == [words]


def test_all_faults_of_a_space_are_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        validate(settings({"method.r": [0, 8], "train.lr": [1, 2], "method.kind": ["lora", "ia3"]}, metric="f1"), "r.yaml")
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": {"train": "train.csv"}, "train": {"eval_strategy": "no"}}, ["data.validation: ", "train.eval_strategy: "]),
        ({"train": {"metric_for_best_model": "loss"}}, ["search.metric: is f1, and train.metric_for_best_model loss"]),
        ({"name": "a" * 95}, ["name: trials are named after it"]),
    ],
)
def test_a_recipe_that_gives_trials_no_score_cannot_be_searched(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        validate({**settings(RATE, metric="f1"), **changes}, "r.yaml")
    assert [fault[: len(word)] for fault, word in zip(caught.value.faults, words, strict=True)] == words


def test_a_search_is_not_trained_and_a_plain_recipe_not_searched(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`tunebench search` tries its space"):
        jobs.train(recipe_file(tmp_path), [], tmp_path / "runs", lambda event: None)
    with pytest.raises(InputError, match="search: missing; it says what is tried"):
        searched("starter-lora", tmp_path / "runs")
    with pytest.raises(InputError, match="chain of stages is not searched"):
        searched("taigi-qa", tmp_path / "runs", "search.trials=3")
    assert not (tmp_path / "runs").exists()


def test_a_base_without_so_many_positions_is_told_before_anything_is_trained(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {"space": {"base.max_length": [32, 65]}, "trials": 2}
    source = write_recipe(tmp_path / "long.yaml", data=world.data, base=world.bases["bert"], search=space)
    monkeypatch.setattr(following, "start", pytest.fail)
    with pytest.raises(InputError, match="65 is more than the base has positions for"):
        searched(str(source), tmp_path / "runs")


def test_without_optuna_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'tunebench\[search\]'"):
        searched(recipe_file(tmp_path), tmp_path / "runs")


# What is proposed


def proposals(recipe: Recipe, number: int, seed: int = 0) -> list[dict[str, Any]]:
    done: list[Trial] = []
    for i in range(number):
        state = ("finished", "pruned", "failed")[i % 3]
        scores = (0.1 * ((i + seed) % 7), 0.1 * (i % 5))
        done.append(Trial(i + 1, study.propose(recipe, done), state, scores[-1], 1, scores))  # type: ignore[arg-type]
    return [trial.settings for trial in done]


def test_what_is_proposed_lies_in_the_space_and_follows_from_the_seed_and_the_trials_alone() -> None:
    recipe = validate(settings({**SOUND[0], **SOUND[1], **SOUND[2]}), "r.yaml")
    found = proposals(recipe, 15)
    assert found == proposals(recipe, 15)
    assert found[:12] != proposals(recipe.model_copy(update={"seed": 7}), 12)
    assert {type(item["base.max_length"]) for item in found} == {int}
    assert {item["base.max_length"] for item in found} <= {64, 128, 192, 256}
    assert {item["method.lora_dropout"] for item in found} <= {0, 0.1, 0.2, 0.3}
    assert all(1e-5 <= item["train.learning_rate"] <= 1e-3 for item in found)
    assert all(item["train.learning_rate"] == float(f"{item['train.learning_rate']:.4g}") for item in found)
    assert {str(item["method.target_modules"]) for item in found} == {"all-linear", "['query', 'value']"}


def test_nothing_is_tried_twice() -> None:
    recipe = validate(settings({"method.r": [4, 8, 16], "method.use_rslora": [True, False]}), "r.yaml")
    assert len({json.dumps(item) for item in proposals(recipe, 6)}) == 6


@pytest.mark.parametrize(("metric", "hopeless"), [("accuracy", 0.1), ("loss", 0.9)])
def test_a_trial_is_hopeless_when_it_is_worse_than_the_median(metric: str, hopeless: float) -> None:
    recipe = validate(settings(RATE, metric=metric), "r.yaml")
    done: list[Trial] = []
    for number, score in enumerate((0.3, 0.4, 0.5, 0.6, 0.7), 1):
        done.append(Trial(number, study.propose(recipe, done), "finished", score, 1, (score,)))
    mine = study.propose(recipe, done)
    assert study.judge(recipe, done, mine).is_hopeless(hopeless)
    assert not study.judge(recipe, done, mine).is_hopeless(1 - hopeless)
    assert not study.judge(recipe, done[:4], mine).is_hopeless(hopeless)


# What comes of a search: children that write what a training would


class Child:
    """Stands for `tunebench train`: one event at every look at it; what is written before it is killed stays."""

    script: Callable[[str, int], Sequence[float]]
    "Scores of the evaluations of a trial, by its name and number."
    looks = 0
    kill_at = 0
    "The look at which the whole search is killed; 0 for never."
    signalled: list[str] = []  # noqa: RUF012 - emptied by the fixture
    started: list[str] = []  # noqa: RUF012 - emptied by the fixture
    deaths: dict[str, list[int]] = {}  # noqa: RUF012 - emptied by the fixture
    "Exit codes that the children of a trial end with at once, the first one first."

    def __init__(self, command: Sequence[str], log: Path) -> None:
        arguments = command[command.index("train") :]
        assert (arguments[0], arguments[2], arguments[4]) == ("train", "--runs", "--no-test")
        recipe, log_text = load_recipe(arguments[1]), "step 1\nerror: no room\n"
        log.write_text(log_text)
        self.run = Run(Path(arguments[3]) / recipe.name)
        self.run.make()
        self.started.append(recipe.name)
        self.scores = type(self).script(recipe.name, int(recipe.name[-3:]))
        self.done = sum(isinstance(event, Evaluated) for event in self.run.events())
        if not (self.run.path / "events.jsonl").exists():
            self.run.record(Started(10 * len(self.scores), 1, 1, 1))
        self.code: int | None = None
        if codes := self.deaths.get(recipe.name):
            self.code = codes.pop(0)

    def poll(self) -> int | None:
        Child.looks += 1
        if Child.looks == Child.kill_at:
            raise Killed
        if self.code is not None:
            return self.code
        if self.done < len(self.scores):
            score, earlier = self.scores[self.done], self.scores[: self.done]
            self.done += 1
            best = score > max(earlier, default=-1.0)
            self.run.record(Evaluated(10 * self.done, "validation", {"accuracy": score}, best, float(self.done)))
            return None
        at = 10 * (1 + max(range(len(self.scores)), key=lambda i: (self.scores[i], -i)))
        self.run.record(Stopped(10 * self.done, at, "finished", float(self.done)))
        self.run.record(Finished())
        self.code = 0
        return 0

    def send_signal(self, number: int) -> None:
        assert number == signal.SIGINT
        self.signalled.append(self.run.name)
        self.code = 130

    def kill(self) -> None:
        self.code = -9

    def wait(self) -> int:
        assert self.code is not None
        return self.code


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Child]]:
    monkeypatch.setattr(following, "start", Child)
    monkeypatch.setattr(following, "PAUSE", 0)
    Child.script = staticmethod(lambda name, number: (0.5, 0.6, 0.7))  # type: ignore[method-assign]
    Child.looks, Child.kill_at, Child.signalled, Child.started, Child.deaths = 0, 0, [], [], {}
    yield Child
    Child.kill_at = 0


def falling(name: str, number: int) -> tuple[float, ...]:
    """Five good trials, after which the median has something to say, then bad ones and one good one."""
    return (0.5, 0.6, 0.7 + number / 100) if number < 6 or number == 7 else (0.3, 0.4, 0.9)


def wide(**search: Any) -> dict[str, Any]:
    return {"space": SPACE, **search}


def test_a_hopeless_trial_is_stopped_and_its_room_given_back(tmp_path: Path, scripted: type[Child]) -> None:
    scripted.script = staticmethod(falling)  # type: ignore[method-assign]
    found = searched(recipe_file(tmp_path, search=wide(trials=8)), tmp_path / "runs")
    assert [trial["state"] for trial in found["trials"]] == ["finished"] * 5 + ["pruned", "finished", "pruned"]
    assert scripted.signalled == ["wide-006", "wide-008"]
    assert scripted.started == [f"wide-{number:03}" for number in range(1, 9)]
    six, seven = found["trials"][5:7]
    assert (six["scores"], six["value"], six["step"], six["run"]) == ([0.3], 0.3, 10, None)
    assert (seven["scores"], seven["value"], seven["step"], seven["seconds"]) == ([0.5, 0.6, 0.77], 0.77, 30, 3.0)
    assert Path(seven["run"]).is_dir()
    assert found["best"]["number"] == 7
    assert not list((tmp_path / "runs" / "wide-search" / "trials").glob("*.log"))


def test_without_a_pruner_every_trial_comes_to_its_end(tmp_path: Path, scripted: type[Child]) -> None:
    scripted.script = staticmethod(falling)  # type: ignore[method-assign]
    found = searched(recipe_file(tmp_path, search=wide(trials=8, pruner="none")), tmp_path / "runs")
    assert {trial["state"] for trial in found["trials"]} == {"finished"}
    assert found["best"]["value"] == 0.9


def test_what_has_come_to_its_last_step_is_not_thrown_away(tmp_path: Path, scripted: type[Child]) -> None:
    scripted.script = staticmethod(lambda name, number: [1 - number / 100])  # type: ignore[method-assign]
    found = searched(recipe_file(tmp_path, search=wide(trials=8)), tmp_path / "runs")
    assert {trial["state"] for trial in found["trials"]} == {"finished"}


def said(runs: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((runs / "wide-search" / "search.json").read_text())["trials"]
    return found


def test_killed_at_any_instant_a_search_ends_with_the_same_trials(
    tmp_path: Path, scripted: type[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.script = staticmethod(falling)  # type: ignore[method-assign]
    source = recipe_file(tmp_path, search=wide(trials=7))
    searched(source, tmp_path / "whole")
    whole, looks = said(tmp_path / "whole"), scripted.looks
    best = (tmp_path / "whole" / "wide-search" / "best.yaml").read_text()
    for moment in range(1, looks + 1, 6):
        runs = tmp_path / f"look-{moment}"
        scripted.looks, scripted.kill_at = 0, moment
        with pytest.raises(Killed):
            searched(source, runs)
        searched(source, runs)
        assert said(runs) == whole
        assert (runs / "wide-search" / "best.yaml").read_text() == best
    write = ledger.Ledger._write
    for moment in (1, 2, 12, 13, 14, 15):  # trial 6 is pruned
        runs, writes = tmp_path / f"write-{moment}", 0

        def dying(self: ledger.Ledger) -> None:
            nonlocal writes
            writes += 1
            write(self)
            if writes == moment:  # noqa: B023 - called within this round
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(ledger.Ledger, "_write", dying)
            with pytest.raises(Killed):
                searched(source, runs)
        searched(source, runs)
        assert said(runs) == whole
        assert not (runs / "wide-search" / "trials" / "wide-006").exists()


def test_a_trial_that_was_begun_keeps_its_settings(
    tmp_path: Path, scripted: type[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, scripted.kill_at = recipe_file(tmp_path), 2
    with pytest.raises(Killed):
        searched(source, tmp_path / "runs")
    (begun,) = said(tmp_path / "runs")
    monkeypatch.setattr(search, "propose", lambda recipe, done: {"method.C": 50.0 + len(done), "method.ngram_max": 1})
    found = searched(source, tmp_path / "runs")
    assert [trial["settings"]["method.C"] for trial in found["trials"]] == [begun["settings"]["method.C"], 51, 52]


def test_more_trials_may_be_asked_for_later(tmp_path: Path, scripted: type[Child]) -> None:
    source = recipe_file(tmp_path, search=wide(trials=5))
    searched(source, tmp_path / "whole")
    searched(source, tmp_path / "runs", "search.trials=2")
    first = said(tmp_path / "runs")
    searched(source, tmp_path / "runs")
    assert said(tmp_path / "runs") == said(tmp_path / "whole")
    assert said(tmp_path / "runs")[:2] == first


def test_another_search_in_its_place_is_refused_naming_what_differs(tmp_path: Path, scripted: type[Child]) -> None:
    runs = tmp_path / "runs"
    searched(recipe_file(tmp_path, search=wide(trials=2)), runs)
    searched(recipe_file(tmp_path, search=wide(trials=2)), runs, "method.C=3")  # every trial has another one
    other = recipe_file(tmp_path, search={"space": {"method.C": [1, 2], "method.min_df": [1, 2]}, "trials": 2})
    with pytest.raises(InputError) as caught:
        searched(other, runs, "method.sublinear_tf=false")
    told = "\n".join(caught.value.faults)
    assert all(
        key in told for key in ("method.sublinear_tf: True -> False", "search.space.method.C", "search.space.method.min_df")
    )
    assert len(said(runs)) == 2
    found = searched(other, runs, force=True)
    assert scripted.started == ["wide-001", "wide-002"] * 2
    assert [list(trial["settings"]) for trial in found["trials"]] == [["method.C", "method.min_df"]] * 2
    (tmp_path / "runs" / "wide-search" / "search.json").unlink()
    with pytest.raises(InputError, match="exists and is not a search"):
        searched(other, runs, force=True)


def test_a_space_of_few_settings_is_tried_whole_and_once(tmp_path: Path, scripted: type[Child]) -> None:
    source = recipe_file(tmp_path, search={"space": {"method.ngram_max": {"low": 1, "high": 3}, "method.min_df": [1, 2]}})
    found = searched(source, tmp_path / "runs")
    assert len({json.dumps(trial["settings"]) for trial in found["trials"]}) == len(found["trials"]) == 6


def test_a_trial_that_fails_is_kept_with_its_words(tmp_path: Path, scripted: type[Child]) -> None:
    scripted.deaths = {"wide-002": [1]}
    found = searched(recipe_file(tmp_path), tmp_path / "runs")
    assert [trial["state"] for trial in found["trials"]] == ["finished", "failed", "finished"]
    assert found["trials"][1]["error"] == "no room"
    assert "trial 2 failed: no room" in search_text(found)


def test_a_trial_that_the_system_killed_goes_on_once(tmp_path: Path, scripted: type[Child]) -> None:
    scripted.deaths = {"wide-001": [-9], "wide-002": [-9, -9]}
    found = searched(recipe_file(tmp_path), tmp_path / "runs")
    assert [trial["state"] for trial in found["trials"]] == ["finished", "failed", "finished"]
    assert "SIGKILL" in found["trials"][1]["error"]


def test_a_search_of_which_nothing_comes_ends_soon(tmp_path: Path, scripted: type[Child]) -> None:
    scripted.deaths = {f"wide-{number:03}": [1] for number in range(1, 20)}
    with pytest.raises(TunebenchError, match="3 trials failed one after the other; the last one: no room"):
        searched(recipe_file(tmp_path, search=wide(trials=10)), tmp_path / "runs")
    assert len(said(tmp_path / "runs")) == 3


def test_a_stopped_trial_stops_the_search_with_the_command_that_goes_on(tmp_path: Path, scripted: type[Child]) -> None:
    scripted.deaths = {"wide-002": [130]}
    with pytest.raises(TunebenchError, match=r"stopped after 1 of 3 trials; `tunebench search .*` goes on") as caught:
        searched(recipe_file(tmp_path), tmp_path / "runs")
    assert caught.value.exit_code == 130


def test_lines_tell_what_came_of_a_trial_and_how_long_it_goes_on() -> None:
    best = Trial(1, {"method.r": 8}, "finished", 0.9, 30, (0.8, 0.9), 4.0)
    pruned = Trial(2, {"method.r": 4}, "pruned", 0.5, 10, (0.5,), 1.0)
    assert told_text(Told(best, best, 3, "accuracy", 65)) == (
        "trial 1 of 3: accuracy 0.9000, best so far; method.r 8; about 1:05 left"
    )
    assert told_text(Told(pruned, best, 2, "accuracy", 0)) == (
        "trial 2 of 2: stopped early at evaluation 1, accuracy 0.5000 (best 0.9000 in trial 1); method.r 4"
    )


# The real thing: trials of tfidf


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials are trained by `jobs.train` here, as `tunebench train` would in a process of its own."""

    class Done:
        def __init__(self, command: Sequence[str], log: Path) -> None:
            arguments = command[command.index("train") :]
            jobs.train(arguments[1], [], Path(arguments[3]), lambda event: None, test="--no-test" not in arguments)

        def poll(self) -> int:
            return 0

        def wait(self) -> int:
            return 0

    monkeypatch.setattr(following, "start", Done)


def test_no_trial_reads_a_test_file_or_scores_test_rows(
    tmp_path: Path, in_this_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row | {"text": f"{row['text']} {row['id']}"} for row in make_rows()]
    write_csv(tmp_path / "own.csv", rows[:40])
    sealed = tmp_path / "sealed.csv"
    sealed.write_bytes(b"\x89 no table at all \xff\x00")
    data = {"validation": {"fraction": 0.2, "stratify": True}, "id": "id"}
    source = write_recipe(
        tmp_path / "wide.yaml",
        data=tmp_path / "own.csv",
        method={"kind": "tfidf"},
        search={"space": SPACE, "trials": 2, "metric": "loss"},
    )
    found = searched(str(source), tmp_path / "runs", f"data.test={sealed}")
    assert [trial["state"] for trial in found["trials"]] == ["finished"] * 2
    with pytest.raises(InputError):  # an ordinary training does read it
        jobs.train(found["recipe"], [], tmp_path / "runs", lambda event: None)

    seen: list[str] = []
    score = LinearScorer.score
    monkeypatch.setattr(LinearScorer, "score", lambda self, texts: seen.extend(texts) or score(self, texts))  # type: ignore[func-returns-value]
    cut = write_recipe(tmp_path / "cut.yaml", data=write_csv(tmp_path / "all.csv", rows), method={"kind": "tfidf"})
    cut.write_text(yaml.safe_dump(yaml.safe_load(cut.read_text()) | {"search": {"space": SPACE, "trials": 2}, "data": {
        "train": str(tmp_path / "all.csv"), "test": {"fraction": 0.2, "stratify": True}, **data}}))  # fmt: skip
    found = searched(str(cut), tmp_path / "runs")
    splits = json.loads((Path(found["trials"][0]["run"]) / "splits.json").read_text())
    test_texts = {row["text"] for row in rows if row["id"] in splits["test"]}
    assert len(test_texts) == 12
    assert not set(splits["train"]) & set(splits["test"])
    assert seen
    assert not test_texts & set(seen)
    for trial in found["trials"]:
        run = Run(Path(trial["run"]))
        assert run.metrics["test"] is None
        assert not any(isinstance(event, Scored) for event in run.events())
        assert not (run.path / "predictions.parquet").exists()
    jobs.train(found["recipe"], [], tmp_path / "runs", lambda event: None)
    assert test_texts <= set(seen)


def test_the_best_settings_become_a_recipe_that_trains(tmp_path: Path, in_this_process: None) -> None:
    found = searched(recipe_file(tmp_path, search=wide(trials=3, metric="loss")), tmp_path / "runs")
    values = [trial["value"] for trial in found["trials"]]
    assert found["best"]["value"] == min(values)
    best = load_recipe(found["recipe"])
    assert (best.name, best.search) == ("wide-best", None)
    assert {name: getattr(best.method, name.split(".")[1]) for name in SPACE} == found["best"]["settings"]
    run = jobs.train(found["recipe"], [], tmp_path / "runs", lambda event: None).run
    assert run.metrics["test"]["n"] == 12
    trial = Run(Path(found["trials"][found["best"]["number"] - 1]["run"]))
    assert run.weights_digest() == trial.weights_digest()
    told = search_text(found)
    assert "As the best of 3 on the same validation rows this is optimistic; the test rows have not been scored:" in told
    assert told.endswith(f"{found['recipe']}\ntunebench train {found['recipe']} --runs {tmp_path / 'runs'}")


@pytest.mark.parametrize("kind", ["lora", "tfidf"])
def test_the_test_rows_of_a_run_trained_without_them_are_scored_when_asked_for(
    kind: str, world: World, tiny_run: Callable[..., Run], baseline_run: Callable[[str], Run], tmp_path: Path
) -> None:
    whole = tiny_run() if kind == "lora" else baseline_run(kind)
    source, runs = str(whole.path / "recipe.yaml"), tmp_path / "runs"
    first = jobs.train(source, [], runs, lambda event: None, test=False).run
    assert (first.metrics["test"], first.status()) == (None, "finished")
    assert not (first.path / "predictions.parquet").exists()
    assert jobs.train(source, [], runs, lambda event: None, test=False).already_finished
    assert first.metrics["test"] is None
    later = jobs.train(source, [], runs, lambda event: None)
    assert not later.already_finished
    assert (later.run.path / "predictions.parquet").read_bytes() == (whole.path / "predictions.parquet").read_bytes()
    for part in ("test", "baselines", "parameters"):
        assert later.run.metrics[part] == whole.metrics[part]
    trained = [proof for proof in whole.metrics["proofs"] if proof["name"] != "merge"]  # which another test may have asked for
    assert later.run.metrics["proofs"] == trained
    assert [event.look for event in later.run.events() if isinstance(event, Scored)] == [1]
    assert jobs.train(source, [], runs, lambda event: None).already_finished


def test_a_search_and_a_trial_that_are_killed_go_on(tmp_path: Path, nursery: Nursery) -> None:
    source = recipe_file(tmp_path, search=wide(trials=1))
    command, log = ["search", source, "--runs", str(tmp_path / "runs"), "--json"], tmp_path / "log"
    trials = tmp_path / "runs" / "wide-search" / "trials"
    search = nursery.start(command, log)
    first = child_at_work(search, trials / "wide-001")
    os.kill(first, signal.SIGKILL)
    while (second := child_at_work(search, trials / "wide-001")) == first:
        pass
    os.kill(search, signal.SIGKILL)
    assert nursery.wait() == -signal.SIGKILL
    os.kill(second, 0)  # the trial is still at work, and the next search lets it end
    nursery.start(command, log)
    assert nursery.wait() == 0, log.read_text()
    assert [trial["state"] for trial in said(tmp_path / "runs")] == ["finished"]
    whole = jobs.train(str(trials / "wide-001.yaml"), [], tmp_path / "whole", lambda event: None, test=False).run
    assert Run(trials / "wide-001").weights_digest() == whole.weights_digest()


def child_at_work(search: int, run: Path) -> int:
    """The process that holds the run of a trial."""
    for _ in range(3000):
        found = Path(f"/proc/{search}/task/{search}/children").read_text().split()
        if found and Run(run).is_locked():
            return int(found[0])
        time.sleep(0.02)
    pytest.fail("no trial came to work")
