"""The page Training lab: its form is the recipe, what is out of range is refused in words, and a job is nobody's child."""

from __future__ import annotations

import fcntl
import json
import time
from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml
from streamlit.testing.v1 import AppTest
from studio import mute, page_of

from tunebench.app import forms
from tunebench.app.words import FOLDER, LANGUAGES, plain, words
from tunebench.detached.queue import jobs
from tunebench.errors import InputError
from tunebench.recipe.load import load_recipe, parse_yaml, presets, validate
from tunebench.recipe.methods import METHODS_OF, method_kinds
from tunebench.runs.run import Run

STAGES_FREE = {name: parse_yaml(text, name) for name, text in presets().items() if "\nstages:" not in text}


@pytest.fixture
def runs(studio_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runs folder with one saved recipe, of the baseline `majority`."""
    mute(monkeypatch)
    tiny.write_recipe(studio_runs / ".studio" / "recipes" / "guess.yaml", data=tiny.write_csv(tmp_path / "texts.csv"))
    return studio_runs


def page(language: str = "en") -> AppTest:
    """The page, drawn."""
    return page_of("training", language)


def filled(settings: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Settings through their form, with some values changed (``train__learning_rate=…``)."""
    kind, task = settings["method"]["kind"], settings.get("task", "text-classification")
    fields = forms.form(kind, task)
    values = {field.key: forms.value_of(settings, field) for field in fields}
    return forms.filled_in(settings, fields, values | {key.replace("__", "."): value for key, value in changes.items()})


@pytest.mark.parametrize("name", STAGES_FREE)
def test_a_form_that_nobody_touched_means_its_recipe(name: str) -> None:
    assert filled(STAGES_FREE[name]) == STAGES_FREE[name]


@pytest.mark.parametrize(
    ("task", "kind"), [(task, kind) for task in ("text-classification", "multiple-choice") for kind in METHODS_OF[task]]
)
def test_every_method_has_a_form_with_help_and_limits_of_the_recipe(task: str, kind: str) -> None:
    fields = {field.key: field for field in forms.form(kind, task)}
    own = {f"method.{name}" for name in method_kinds()[kind].model_fields}
    assert own <= set(fields)
    assert all(field.help for field in fields.values())
    shown = [key for key in fields if key in forms.FIRST]
    assert list(fields)[: len(shown)] == shown == [key for key in forms.FIRST if key in fields]
    for field in fields.values():
        if field.kind in ("integer", "number") and field.default is not None:
            assert field.is_within(field.default)


def test_another_method_leaves_nothing_of_the_first_and_takes_its_own_rate() -> None:
    made = forms.filled_in(STAGES_FREE["starter-lora"], [], {"method.kind": "ia3"})
    assert made["method"] == {"kind": "ia3"}
    assert "learning_rate" not in made["train"]
    assert STAGES_FREE["starter-lora"]["train"]["learning_rate"] == 2e-3
    validate(made, "made")
    baseline = forms.filled_in(STAGES_FREE["starter-lora"], [], {"method.kind": "tfidf"})
    assert not {"base", "train"} & set(baseline)
    validate(baseline, "baseline")


def test_changes_are_written_as_recipes_say_them() -> None:
    made = filled(
        STAGES_FREE["starter-lora"],
        method__r=4,
        method__target_modules="[query, value]",
        train__learning_rate=None,
        base__revision="  ",
        data__max_train_samples=100,
    )
    assert made["method"] == {"kind": "lora", "r": 4, "target_modules": ["query", "value"]}
    assert "learning_rate" not in made["train"]
    assert "revision" not in made["base"]
    assert validate(made, "made").data.max_train_samples == 100
    with pytest.raises(InputError, match="target_modules"):
        filled(STAGES_FREE["starter-lora"], method__target_modules="[query")


@pytest.mark.parametrize(
    ("key", "bad", "good"),
    [("method.r", 0, 1), ("method.lora_dropout", 1.0, 0.0), ("train.learning_rate", 0.0, 1e-9), ("base.max_length", 3, 4)],
)
def test_limits_are_those_that_the_recipe_keeps(key: str, bad: float, good: float) -> None:
    field = next(field for field in forms.form("lora", "text-classification") if field.key == key)
    assert (field.is_within(bad), field.is_within(good)) == (False, True)
    changed = key.replace(".", "__")
    validate(filled(STAGES_FREE["starter-lora"], **{changed: good}), "good")
    with pytest.raises(InputError, match=key):
        validate(filled(STAGES_FREE["starter-lora"], **{changed: bad}), "bad")


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_out_of_range_is_refused_in_words(runs: Path, language: str) -> None:
    studio = page(language)
    assert [title.value for title in studio.title] == [words(language, "main.training")]
    studio.selectbox(key="training.chosen").set_value(("preset", "starter-lora")).run()
    rank = "training.form.preset.starter-lora.lora.method.r"
    assert not studio.button(key="training.start").disabled
    studio.number_input(key=rank).set_value(0).run()
    assert not studio.exception
    assert words(language, "training.invalid") in [error.value for error in studio.error]
    said = words(language, "training.out_of_range", field=words(language, "training.field_r"), value="0", limits="≥ 1")
    assert said in [code.value for code in studio.code]
    assert "training.start" not in [button.key for button in studio.button]
    studio.number_input(key=rank).set_value(4).run()
    bf16 = "training.form.preset.starter-lora.lora.train.bf16"
    assert bf16 not in [box.key for box in studio.selectbox]  # drawn once somebody opens "more settings"
    studio.session_state["training.more"] = True
    studio.run()
    studio.selectbox(key=bf16).set_value(False).run()
    studio.session_state["training.more"] = False
    studio.run()
    assert bf16 not in [box.key for box in studio.selectbox]
    assert any("bf16: false" in code.value for code in studio.code)
    studio.selectbox(key="training.form.preset.starter-lora.method.kind").set_value("ia3").run()
    assert not studio.exception
    assert not list(studio.error)
    assert any("kind: ia3" in code.value for code in studio.code)
    assert not jobs(runs)


@pytest.mark.parametrize("language", ["zh-Hant", "zh-Hans"])
def test_help_is_in_the_chosen_language_and_of_the_chosen_method(runs: Path, language: str) -> None:
    told = yaml.safe_load((FOLDER / language / "settings.yaml").read_text("utf-8"))
    studio, form = page(language), "training.form.preset.starter-lora"
    studio.session_state["training.more"] = True
    studio.selectbox(key="training.chosen").set_value(("preset", "starter-lora")).run()
    for kind, of_rank in (("lora", "method.r"), ("loha", "method.loha.r")):
        studio.selectbox(key=f"{form}.method.kind").set_value(kind).run()
        assert not studio.exception
        assert plain(told[f"method.kind={kind}"]) in [caption.value for caption in studio.caption]
        assert studio.number_input(key=f"{form}.{kind}.method.r").help == f"`method.r` (≥ 1)：{told[of_rank]}"
        assert studio.number_input(key=f"{form}.{kind}.train.attention_dropout").help.endswith(told["train.attention_dropout"])


def test_a_run_is_never_named_so(runs: Path) -> None:
    studio = page()
    for name in ("../../x", "", "x" * 300, "🎬", "a b", ".studio"):
        studio.text_input(key="training.name.saved.guess").set_value(name).run()
        assert not studio.exception
        assert [error.value for error in studio.error]
        assert "training.start" not in [button.key for button in studio.button]


def test_a_saved_recipe_that_cannot_be_read_is_told(runs: Path) -> None:
    damaged = ("just text", "<script>: 1", "name: a\nstages: []\n", "", "\0")
    for number, text in enumerate(damaged):
        (runs / ".studio" / "recipes" / f"odd{number}.yaml").write_text(text)
    studio = page()
    for number in range(len(damaged)):
        studio.selectbox(key="training.chosen").set_value(("saved", f"odd{number}")).run()
        assert not studio.exception
        assert words("en", "training.unreadable") in [error.value for error in studio.error]


def until(state: str, runs: Path) -> None:
    """Wait for the newest job to get there."""
    patience = time.monotonic() + 60
    while jobs(runs)[0].state() != state:
        assert time.monotonic() < patience, jobs(runs)[0].log_tail(20)
        time.sleep(0.1)


def test_a_job_waits_is_taken_back_goes_on_and_is_tried(runs: Path) -> None:
    before = runs / ".studio" / "jobs" / "1"
    before.mkdir(parents=True)
    studio, other_tab = page(), page()
    with (before / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as an older job that is at work
        studio.button(key="training.start").click().run()
        assert [job.state() for job in jobs(runs)] == ["waiting"]
        assert words("en", "training.place", place=1, name="guess") in [text.value for text in studio.markdown]
        assert studio.button(key="training.start").disabled
        assert words("en", "training.at_work", name="guess") in [text.value for text in studio.info]
        assert other_tab.button(key="training.start").click().run().button(key="training.start").disabled
        assert len(jobs(runs)) == 1
        studio.button(key="training.back.2").click().run()
        until("stopped", runs)
        studio.run()
        studio.button(key="training.continue.2").click().run()
        assert [job.state() for job in jobs(runs)] == ["waiting", "stopped"]
    until("finished", runs)
    studio.run()
    assert not studio.exception
    assert Run(runs / "guess").status() == "finished"
    assert words("en", "training.done") in [text.value for text in studio.success]
    accuracy = Run(runs / "guess").metrics["test"]["accuracy"]["value"]
    assert f"{accuracy:.4f}" in list(studio.dataframe[0].value[words("en", "training.value")])
    studio.button(key="training.try.guess").click().run()
    assert studio.session_state["try_it.runs"] == ["guess"]


def test_a_killed_job_reads_interrupted_and_its_curves_stay(runs: Path, tmp_path: Path) -> None:
    place, events = runs / ".studio" / "jobs" / "7", runs / "gone" / "events.jsonl"
    place.mkdir(parents=True)
    asked = {"format": 1, "number": 7, "commands": [["train", "x"]], "run": "gone", "kind": "train", "created": "", "folder": "/"}
    (place / "job.json").write_text(json.dumps(asked))
    (place / "state.json").write_text(json.dumps({"begun": 1.0, "codes": [], "stopped": False, "ended": None}))
    (place / "log.txt").write_text("<b>hello</b> [link](x)\n")
    events.parent.mkdir()
    events.write_text(
        '{"kind": "started", "total_steps": 9, "train_rows": 9, "trainable_parameters": 1, "total_parameters": 2}\n'
    )
    with events.open("a") as file:
        step = {"epoch": 0.1, "loss": 0.5, "learning_rate": 1e-3, "grad_norm": 1.0, "rows": 1, "tokens": 1, "padded_tokens": 1}
        file.writelines(json.dumps({"kind": "step", "step": i, "seconds": float(i), **step}) + "\n" for i in (1, 2))
    for language in LANGUAGES:
        studio = page(language)
        assert not studio.exception
        assert words(language, "training.is_interrupted") in [text.value for text in studio.info]
        assert "training.continue.7" in [button.key for button in studio.button]
        assert "0.5000" in [metric.value for metric in studio.metric]
    events.unlink()
    events.parent.rmdir()
    assert not studio.run().exception


def test_the_recipe_that_is_started_means_the_same_wherever_it_lies(runs: Path) -> None:
    path = runs / ".studio" / "recipes" / "near.yaml"
    settings = yaml.safe_load((path.with_name("guess.yaml")).read_text())
    settings["data"]["train"] = "../../../texts.csv"
    path.write_text(yaml.safe_dump(settings | {"name": "near"}))
    studio = page()
    studio.selectbox(key="training.chosen").set_value(("saved", "near")).run()
    shown = next(code.value for code in studio.code if code.language == "yaml")
    assert validate(parse_yaml(shown, "shown"), "shown") == load_recipe(str(path))
