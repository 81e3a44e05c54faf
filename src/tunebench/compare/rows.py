"""One row of a comparison: everything that is told of a method, out of the runs that it became under its seeds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from tunebench.compare import statistics
from tunebench.compare.analysis import Answers, TestedRows, by_length, confusion, learning_curve, missed
from tunebench.compare.statements import mean_accuracy
from tunebench.compare.timings import circumstances
from tunebench.errors import InputError
from tunebench.metrics import calibration_error, reliability
from tunebench.recipe.architectures import ARCHITECTURES
from tunebench.recipe.methods import ADAPTERS, BASELINES
from tunebench.recipe.resolve import digest_of
from tunebench.recipe.spec import CAUSAL_TASKS, Recipe
from tunebench.runs.exports import BENCH, ENGINES, exported
from tunebench.runs.looks import looks_at_test
from tunebench.runs.run import Run

Row = dict[str, Any]
_FAMILIES = {"majority": "constant", "tfidf": "linear", "word-overlap": "rule"}
"""What a method without a base is, which stands for its architecture too."""

_SCORED = {"accuracy": "export", "reference_accuracy": "torch"}


def row_of(name: str, source: str, command: str | None, runs: Sequence[Run], answers: Sequence[Answers], rows: TestedRows) -> Row:
    """What is told of a method but its intervals: means over its finished runs, of memory, size and lost rows the largest.

    What is the same for all of them, such as its base or the forms that one of them was timed in, is that of the first.
    """
    run, metrics = runs[0], [one.metrics for one in runs]
    recipe, manifest = run.recipe, run.manifest
    labels, architecture = len(manifest["labels"]["names"]), (manifest["base"] or {}).get("architecture")
    total, trainable = (metrics[0]["parameters"][key] for key in ("total", "trainable"))
    confidence, hits = (np.concatenate([getattr(cell, key) for cell in answers]) for key in ("confidence", "hits"))
    errors = [calibration_error(cell.confidence, cell.hits) for cell in answers]
    seeds = [recipe.seed, *(one.recipe.seed for one in runs[1:])]
    cells = [_cell(one, seed, told, error) for one, seed, told, error in zip(runs, seeds, metrics, errors, strict=True)]
    curves = [learning_curve(one) for one in runs]
    return {
        "run": name,
        "error": None,
        "cells": cells,
        "seeds": len(runs),
        "base": recipe.base.model if recipe.base else "-",
        "family": family_of(recipe, architecture),
        "architecture": architecture or _FAMILIES[recipe.method.kind],
        "task": recipe.task,
        "method": recipe.method.kind,
        "total_parameters": total,
        "trainable_parameters": trainable,
        "trainable_percent": round(100 * trainable / max(1, total), 4),
        "head_parameters": head_parameters(run, recipe, architecture),
        "adapter_bytes": max(one["adapter_bytes"] for one in metrics),
        "accuracy": mean_accuracy(answers),
        "f1_macro": _mean([cell["f1_macro"] for cell in cells]),
        "ece": _mean(errors),
        "brier": _mean([cell.brier for cell in answers]),
        **_cost(metrics, curves, int(manifest["data"].get("train", {}).get("rows", 0)) if recipe.base is None else None),
        "needs_gpu": recipe.base is not None and recipe.base.quantization is not None,
        **{key: max(int(one["test"].get(key) or 0) for one in metrics) for key in ("invalid", "unscored", "truncated")},
        "forms": next((found for one in runs if (found := forms_of(one))), {}),
        "timed": next(filter(None, map(timed_of, runs)), None),
        "curve": curves,
        "confusion": confusion(rows.gold, answers, labels).tolist(),
        "missed": missed(rows.gold, answers, labels),
        "reliability": reliability(confidence, hits),
        "by_length": by_length(rows, answers),
        "provenance": _provenance(run, source, command),
    }


def failed_row(like: Row, name: str, source: str, command: str | None, cells: Sequence[dict[str, Any]]) -> Row:
    """The row of a method of which nothing was finished: its error, and no figures under the keys of ``like``."""
    empty: Row = {"seeds": 0, "forms": {}, "curve": [], "reliability": [], "by_length": []}
    nothing: Row = {key: {} if isinstance(value, dict) else None for key, value in like["provenance"].items()}
    error = "; ".join(dict.fromkeys(str(cell["error"]) for cell in cells)) or "nothing was trained"
    provenance = nothing | {"source": source, "command": command}
    return dict.fromkeys(like) | empty | {"run": name, "error": error, "cells": list(cells), "provenance": provenance}


def intervals(row: Row, test: dict[str, Any], answers: Sequence[Answers], rows: TestedRows, drawn: np.ndarray | None) -> Row:
    """The 95 % intervals of a row's scores, and over what they are taken.

    Of a single run those of its ``test`` scores, which take rows as independent; else the bootstrap's, over seeds and rows or
    whole groups: ``drawn`` is the method's accuracy in every resample. Where no draw differs, as where no error was seen, the
    bootstrap knows nothing, and those of a run stand.
    """
    own = {f"{key}_{end}": test[key][end] for key in ("accuracy", "f1_macro") for end in ("low", "high")}
    asked, hits, predicted = (np.column_stack([getattr(cell, key) for cell in answers]) for key in ("asked", "hits", "predicted"))
    if drawn is not None and (len(answers) > 1 or rows.groups is not None):
        f1 = statistics.f1_draws(rows.gold, predicted, asked, len(row["confusion"]), rows.groups)
        for key, draws in (("accuracy", drawn), ("f1_macro", _over_seeds(f1))):
            low, high = statistics.percentiles(draws)
            if low < high:
                own |= {f"{key}_low": min(low, row[key]), f"{key}_high": max(high, row[key])}
    own |= {"ece_low": None, "ece_high": None}
    if row["ece"] is not None:
        confidence = np.column_stack([cell.confidence for cell in answers])
        errors, moved = map(_over_seeds, statistics.calibration_draws(confidence, hits, rows.groups))
        own["ece_low"], own["ece_high"] = statistics.calibration_interval(row["ece"], errors, moved)
    units = "rows" if rows.groups is None else f"whole groups of {rows.group_by!r}"
    return own | {"intervals": f"95 %, over {'seeds and ' if len(answers) > 1 else ''}{units}"}


def family_of(recipe: Recipe, architecture: str | None) -> str:
    """What kind of model a run is: ``encoder``, ``causal LM``, ``linear``, ``constant`` or ``rule``."""
    if recipe.method.kind in BASELINES:
        return _FAMILIES[recipe.method.kind]
    known = ARCHITECTURES.get(architecture or "")
    return "causal LM" if recipe.task in CAUSAL_TASKS or (known is not None and known.decoder) else "encoder"


def head_parameters(run: Run, recipe: Recipe, architecture: str | None) -> int | None:
    """Weights of the head that was trained, of those saved; None where there is none, or nothing to count."""
    kind, known = recipe.method.kind, ARCHITECTURES.get(architecture or "")
    if recipe.task in CAUSAL_TASKS or recipe.base is None or known is None:
        return None
    if kind == "head":
        return int(run.metrics["parameters"]["trainable"])
    modules = getattr(recipe.method, "modules_to_save", None) if kind in ADAPTERS else known.head(recipe.base.pooling)
    try:
        return sum(_weights_in(path, modules or ()) for path in run.weights.glob("*.safetensors")) or None
    except (OSError, SafetensorError):
        return None


def _weights_in(path: Any, modules: Sequence[str]) -> int:
    with safe_open(path, framework="numpy") as file:
        names = [name for name in file.keys() if any(f".{module}." in f".{name}" for module in modules)]  # noqa: SIM118 - no dict
        return sum(int(np.prod(file.get_slice(name).get_shape())) for name in names)


def forms_of(run: Run) -> dict[str, dict[str, Any]]:
    """What is known of the forms of a run: figures of its ``bench.json`` where that is of its present weights, exports' own."""
    try:
        found = {str(name): dict(figures) for name, figures in _bench(run).get("forms", {}).items()}
    except (ValueError, TypeError, AttributeError):
        found = {}
    for name in ENGINES:
        try:
            own = exported(run, name)
        except InputError:
            own = None
        if own is not None and own.get("weights") == run.manifest.get("end_weights"):
            found[name] = found.get(name, {}) | _of_export(own)
    return found


def timed_of(run: Run) -> dict[str, Any] | None:
    """Under what the forms of a run were timed; None where they were not."""
    told = _bench(run)
    return circumstances(told) if told.get("forms") else None


def _bench(run: Run) -> dict[str, Any]:
    """The ``bench.json`` of a run's present weights; empty where there is none."""
    try:
        told = dict(json.loads((run.path / BENCH).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
    return told if told.get("weights") in (None, run.manifest.get("end_weights")) else {}


def _of_export(own: dict[str, Any]) -> dict[str, Any]:
    """What an export says of itself: accuracies on ``split``, its own and the saved form's, flips there, and its proof.

    ``passed`` of the proof is that of everything that was asked of it.
    """
    scores = {key: own.get("scores", {}).get(who, {}).get("accuracy", {}).get("value") for key, who in _SCORED.items()}
    proof = (own.get("proof") or {}) | {"passed": own.get("passed") is True, "why": own.get("why")}
    return scores | {
        "split": own.get("split"),
        "split_rows": own.get("rows"),
        "label_flips": own.get("label_flips"),
        "proof": proof,
    }


def _cell(run: Run, seed: int, metrics: dict[str, Any], error: float | None) -> dict[str, Any]:
    return {
        "run": run.name,
        "path": str(run.path),
        "seed": seed,
        "accuracy": metrics["test"]["accuracy"]["value"],
        "f1_macro": metrics["test"]["f1_macro"]["value"],
        "ece": error,
        "looks": looks_at_test(run),
        "error": None,
    }


def _cost(metrics: Sequence[dict[str, Any]], curves: Sequence[dict[str, Any]], fitted: int | None) -> Row:
    """Time, memory and how much was learned from; a baseline is ``fitted`` on so many rows, each once."""
    ends = [curve["end"] or [0, fitted or 0] for curve in curves]
    gpu = [found for one in metrics if (found := one.get("peak_gpu_memory_bytes"))]
    return {
        "train_seconds": _mean([one["train_seconds"] for one in metrics]),
        "train_examples": round(sum(examples for _, examples in ends) / len(ends)),
        "steps": round(sum(step for step, _ in ends) / len(ends)),
        "best_step": round(sum(one.get("best_step") or 0 for one in metrics) / len(metrics)),
        "peak_memory_bytes": max(one["peak_memory_bytes"] for one in metrics),
        "peak_gpu_memory_bytes": max(gpu, default=None),
        "rows_per_second": _mean([one["rows_per_second"] for one in metrics]),
    }


def _provenance(run: Run, source: str, command: str | None) -> dict[str, Any]:
    manifest = run.manifest
    return {
        "source": source,
        "command": command,
        "recipe": (run.path / "recipe.yaml").read_text("utf-8"),
        "identity": digest_of(manifest["identity"]),
        "digests": {
            **{name: split.get("digest") for name, split in manifest["data"].items()},
            "base": (manifest["base"] or {}).get("digest"),
            "end_weights": manifest.get("end_weights"),
        },
        "created": manifest.get("created"),
        "versions": manifest.get("versions", {}),
        "hardware": manifest.get("hardware", {}),
        "shared_texts": manifest.get("texts_shared_between_splits", {}),
    }


def _over_seeds(draws: np.ndarray) -> np.ndarray:
    return statistics.over_seeds(draws, [range(draws.shape[1])])[:, 0]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
