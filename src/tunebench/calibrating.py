"""The verb ``calibrate``: what a run's validation rows say of how sure it may be, kept in the run. Test rows are not touched."""

from __future__ import annotations

import shlex
from typing import Any

import numpy as np

from tunebench.binding import labels_of, unsealed_rows
from tunebench.errors import InputError
from tunebench.predict import calibrated
from tunebench.predict.calibration import calibrate
from tunebench.recipe.spec import PROMPT_TASKS
from tunebench.runs import exports
from tunebench.runs.run import Run
from tunebench.training import open_scorer


def calibrate_run(run: Run, target_accuracy: float, backend: str | None = None) -> dict[str, Any]:
    """Fit a temperature and a threshold to abstain below for one backend of a run, and keep them in ``calibration.json``.

    InputError where the run has no labels, no probabilities, or no validation rows.
    """
    if not 0 < target_accuracy < 1:
        raise InputError("--target-accuracy", f"expected a share between 0 and 1 such as 0.95, found {target_accuracy}")
    labels, recipe = labels_of(run), run.recipe
    if recipe.base is not None and recipe.task in PROMPT_TASKS and recipe.asked.decode == "generate":
        raise InputError(
            run.name, "writes its answers, and what is written has no probability; train it with prompt.decode: score"
        )
    rows = unsealed_rows(run, "validation")
    if rows is None:
        raise InputError(
            run.name,
            "has no validation rows, which is what a calibration is fitted on; give the recipe data.validation, a file or "
            "{fraction: 0.1}, and train it under another name",
        )
    backend = backend or exports.default_backend(run)
    scores = open_scorer(run, backend).score(rows.texts)
    scored = np.isfinite(scores.logits).all(axis=1)
    if not scored.any():
        raise InputError(run.name, "none of its validation rows could be scored, so there is nothing to calibrate on")
    gold = np.array(labels.ids(rows.labels))
    found = calibrate(scores.logits[scored], gold[scored], target_accuracy)
    found |= {"unscored": int((~scored).sum()), "validation": rows.digest()}
    calibrated.store(run, backend, found)
    about = {"run": run.name, "path": str(run.path), "backend": backend, "file": str(run.path / calibrated.FILE)}
    return {**about, **found, "use": _use(run, backend), "remarks": _remarks(run, found)}


def _use(run: Run, backend: str) -> str:
    chosen = [] if backend == exports.default_backend(run) else ["--backend", backend]
    return shlex.join(["tunebench", "predict", str(run.path), "in.csv", "--output", "out.csv", "--calibrated", *chosen])


def _remarks(run: Run, found: dict[str, Any]) -> list[str]:
    """What keeps the figures from meaning more than they do."""
    settings, method = run.recipe.settings, run.recipe.method.kind
    chose = settings.eval_strategy != "no" and (settings.load_best_model_at_end or settings.early_stopping_patience is not None)
    remarks = []
    if run.recipe.train is not None and method != "zero-shot" and chose:
        remarks.append("the same validation rows chose the checkpoint, so figures on them are somewhat too good")
    if not found["determined"]:
        why = "all of them are right" if found["accuracy"] == 1 else "its probabilities are worse than none"
        remarks.append(f"the validation rows do not tell how sure it may be ({why}), so probabilities are left as they are")
    if found["unscored"]:
        remarks.append(f"{found['unscored']:,} validation rows could not be scored, and count nowhere")
    target, best = found["target_accuracy"], found["best_bound"]
    if found["threshold"] is None and found["rows"] < found["rows_needed"]:
        remarks.append(
            f"{found['rows']:,} validation rows are too few for a threshold: accuracy {target:g} takes {found['rows_needed']:,} "
            "even if all are right; give the recipe more of them, or lower --target-accuracy"
        )
    elif found["threshold"] is None:
        remarks.append(
            f"no threshold is proven to reach accuracy {target:g}: at best {best['accuracy_low']:.4f} on the surest "
            f"{100 * best['coverage']:.0f} % of {found['rows']:,} rows; give the recipe more of them, or lower --target-accuracy"
        )
    return remarks
