"""A shelf of finished runs written by hand: what a job would have left, without any job. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunebench.cli import main
from tunebench.data.labels import LabelMap
from tunebench.events import Evaluated, Finished, Proved, Scored, Started, Step, Stopped
from tunebench.metrics import classification_scores, confusion_matrix
from tunebench.recipe.load import validate
from tunebench.recipe.resolve import identity, resolve
from tunebench.recipe.spec import Recipe
from tunebench.runs.run import Run, open_run

GOLD = [0, 1] * 50


def recipe(name: str = "a", **changes: Any) -> Recipe:
    """A resolved LoRA recipe on BERT; ``changes`` replace whole sections, None removes one."""
    settings: dict[str, Any] = {
        "name": name,
        "base": {"model": "bert-base-uncased"},
        "data": {"train": "/data/train.csv", "validation": {"fraction": 0.1}, "test": "/data/test.csv"},
        "method": {"kind": "lora"},
    } | changes
    return resolve(validate({key: value for key, value in settings.items() if value is not None}, name), "bert")


def manifest(made: Recipe, *, labels: tuple[str, ...] = ("negative", "positive"), test: str = "0" * 64) -> dict[str, Any]:
    """What is decided before the job begins; ``test`` is the digest of the test rows."""
    return {
        "format": 1,
        "identity": identity(made, "data", "base"),
        "labels": LabelMap(labels, labels[1]).as_dict(),
        "base": {"model": "bert-base-uncased", "architecture": "bert", "digest": "f" * 64} if made.base else None,
        "data": {"test": {"rows": len(GOLD), "digest": test}},
    }


def metrics(labels: tuple[str, ...] = ("negative", "positive"), *, wrong: int = 10) -> dict[str, Any]:
    """What is measured at the end, with the first ``wrong`` of a hundred test rows answered wrongly."""
    predicted = [1 - gold if i < wrong else gold for i, gold in enumerate(GOLD)]
    test = classification_scores(confusion_matrix(GOLD, predicted, len(labels)), labels, labels[1])
    proof = {"name": "reload", "rows": 64, "largest_difference": 0.0, "label_flips": 0}
    return {
        "test": test | {"truncated": 0, "unscored": 0},
        "parameters": {"total": 109_779_458, "trainable": 296_450},
        "train_seconds": 61.5,
        "peak_memory_bytes": 2_100_000_000,
        "adapter_bytes": 1_190_000,
        "rows_per_second": 123.456789,
        "proofs": [proof],
        "baselines": {"majority": {"accuracy": test["accuracy"]}, "tfidf": None},
    }


def create_run(runs: Path, made: Recipe, decided: dict[str, Any]) -> Run:
    """A run directory as ``open_run`` leaves it when its job stops at once."""
    with open_run(runs / made.name, made, decided) as run:
        return run


def finished_run(runs: Path, name: str = "a", *, wrong: int = 10, test: str = "0" * 64, **changes: Any) -> Run:
    """A finished run under ``runs`` that answered ``wrong`` of its hundred test rows wrongly."""
    made = recipe(name, **changes)
    run = create_run(runs, made, manifest(made, test=test))
    for event in (
        Started(40, 100, 296_450, 109_779_458),
        *(Step(i, i / 40, 0.7 / i, 1e-4, 1.0, 8, 800, 820, 1.5 * i) for i in range(1, 41)),
        *(Evaluated(i, "train sample", {"accuracy": 0.6 + i / 200, "loss": 0.5}, best=False, seconds=1.0) for i in (20, 40)),
        Evaluated(20, "validation", {"accuracy": 0.75, "loss": 0.6}, best=True, seconds=30.0),
        Evaluated(40, "validation", {"accuracy": 0.70, "loss": 0.65}, best=False, seconds=60.0),
        Stopped(40, 20, "finished", 61.5),
        Scored("test", 100, 0.9, 1),
        Proved("reload", 64, 0.0, 0, 1e-6, passed=True),
        Finished(["metrics.json"]),
    ):
        run.record(event)
    run.write_json("metrics.json", metrics(wrong=wrong))
    return run


def tunebench(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """The command line in this process: exit code, standard output, standard error. A traceback fails the test."""
    capsys.readouterr()
    code: object = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["tunebench", *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            code = end.code
    shown = capsys.readouterr()
    assert isinstance(code, int)
    assert "Traceback" not in shown.out + shown.err
    return code, shown.out, shown.err
