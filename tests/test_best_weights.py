"""Whoever iterates ``fit`` decides what is kept: the best weights by validation, or the last ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import METHODS, World, make_rows, write_csv, write_recipe

from tunebench import jobs
from tunebench.errors import TunebenchError
from tunebench.events import Evaluated, Failed, Stopped
from tunebench.model import bundle
from tunebench.model.tasks import classification_loss
from tunebench.runs.run import Run


def train(world: World, folder: Path, method: str, **settings: Any) -> Run:
    """Eight steps at a rate that overshoots, scored after each; validation is a file of its own."""
    validation = write_csv(folder / "validation.csv", make_rows(24, seed=77))
    steps = {"max_steps": 8, "eval_strategy": "steps", "eval_steps": 1, "lr_scheduler_type": "constant", "warmup_ratio": 0}
    recipe = write_recipe(
        folder / "best.yaml",
        data=world.data,
        base=world.bases["bert"],
        method=METHODS[method],
        train=steps | {"metric_for_best_model": "loss", "learning_rate": 0.3 if method != "full" else 0.05} | settings,
    )
    return jobs.train(str(recipe), [f"data.validation={validation}"], folder / "runs", lambda event: None).run


def validation_loss(run: Run, folder: Path) -> float:
    """Of the saved model, opened from its files."""
    rows = make_rows(24, seed=77)
    logits = bundle.open_scorer(run).score([row["text"] for row in rows]).logits
    labels = torch.tensor([run.manifest["labels"]["names"].index(row["label"]) for row in rows])
    return float(classification_loss(torch.from_numpy(logits).double(), labels)) / len(rows)


def validation_events(run: Run) -> list[Evaluated]:
    return [event for event in run.events() if isinstance(event, Evaluated) and event.split == "validation"]


@pytest.mark.parametrize("method", METHODS)
def test_the_saved_model_is_the_best_one_and_not_the_last(world: World, warm: None, tmp_path: Path, method: str) -> None:
    run = train(world, tmp_path, method)
    events = validation_events(run)
    best = [event for event in events if event.best][-1]
    assert best.step < events[-1].step
    assert best.scores["loss"] == min(event.scores["loss"] for event in events)
    assert abs(events[-1].scores["loss"] - best.scores["loss"]) > 1e-3
    assert validation_loss(run, tmp_path) == pytest.approx(best.scores["loss"], abs=1e-6)
    assert run.metrics["best_step"] == best.step


def test_without_load_best_model_at_end_the_last_weights_are_saved(world: World, warm: None, tmp_path: Path) -> None:
    run = train(world, tmp_path, "lora", load_best_model_at_end=False)
    events = validation_events(run)
    best = min(events, key=lambda event: event.scores["loss"])
    assert best.step < events[-1].step
    assert validation_loss(run, tmp_path) == pytest.approx(events[-1].scores["loss"], abs=1e-6)


def test_early_stopping_keeps_the_best_weights_too(world: World, warm: None, tmp_path: Path) -> None:
    run = train(world, tmp_path, "lora", early_stopping_patience=1)
    (stopped,) = [event for event in run.events() if isinstance(event, Stopped)]
    assert stopped.reason == run.metrics["stopped"] == "early stopping"
    assert stopped.step == stopped.best_step + 1 < 8
    best = validation_events(run)[-2]
    assert best.best
    assert validation_loss(run, tmp_path) == pytest.approx(best.scores["loss"], abs=1e-6)


def test_a_run_that_diverges_is_failed_with_words_about_the_rate(world: World, warm: None, tmp_path: Path) -> None:
    with pytest.raises(TunebenchError, match=r"train\.learning_rate") as failure:
        train(world, tmp_path, "full", learning_rate=1e30, eval_strategy="no", eval_steps=None)
    assert failure.value.exit_code == 1
    run = Run(tmp_path / "runs" / "best")
    assert run.status() == "failed"
    assert [event.message for event in run.events() if isinstance(event, Failed)] == [str(failure.value)]
    assert not (run.path / "metrics.json").exists()
