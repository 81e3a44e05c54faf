"""A comparison as ``assemble`` gives it, made up: for tests of what is rendered from one."""

from __future__ import annotations

import random
from typing import Any

METHODS = ("lora", "ia3", "full", "head", "tfidf", "majority")


def a_comparison(
    names: list[str],
    labels: list[str] | None = None,
    *,
    seeds: int = 1,
    text: str = "a fine film",
    listed: int = 3,
    rows: int = 1288,
) -> dict[str, Any]:
    """Rows of these names, statements between neighbours, and a browser with so many items in each list."""
    labels, chance = labels or ["negative", "positive"], random.Random(7)
    made = [_row(name, i, labels, seeds, rows, chance) for i, name in enumerate(names)]
    return {
        "format": 1,
        "tunebench": "0.1.0",
        "created": "2026-11-22T13:34:39Z",
        "hardware": {"platform": "Linux x86_64", "processor": "AMD EPYC", "cores": 2, "memory_bytes": 25276514304},
        "test": {"rows": rows, "digest": "cd69" * 16, "labels": labels, "positive": None, "display": {}, "groups": None},
        "rows": made,
        "statements": [_statement(names[0], name, rows) for name in names[1:]],
        "choice": {
            "limits": {"latency_ms": 50.0, "gpu": False},
            "rules": ["rows outside the limits are left out", "of rows that are not distinguishable the smaller one is taken"],
            "take": names[0],
            "backend": "torch-merged",
            "why": f"{names[0]} is the most accurate within the limits",
            "refused": [{"run": names[-1], "backend": "torch", "reason": "p50 of 80 ms is over the limit of 50 ms"}],
        },
        "timing_notes": [f"{text}: another machine"],
        "browser": _browser(names, labels, text, listed),
    }


def failed_row(name: str, error: str) -> dict[str, Any]:
    """A row whose every cell failed."""
    kept = dict.fromkeys(_row(name, 0, ["a", "b"], 1, 10, random.Random(1)))
    cells = [{"run": name, "seed": 42, **dict.fromkeys(("path", "accuracy", "f1_macro", "ece", "looks")), "error": error}]
    return kept | {"run": name, "error": error, "cells": cells, "seeds": 0, "forms": {}, "curve": [], "provenance": {}}


def _row(name: str, i: int, labels: list[str], seeds: int, n: int, chance: random.Random) -> dict[str, Any]:
    method, accuracy = METHODS[i % len(METHODS)], round(0.9 - 0.012 * (i % 7) - 0.0007 * i, 4)
    light = method in ("tfidf", "majority")
    total = {"tfidf": 80_000, "majority": 0}.get(method, 22_713_216 + 400 * i)
    trained = {"lora": 148_226, "ia3": 20_000 + 9_000 * i, "full": total, "head": 770, "tfidf": total, "majority": 0}[method]
    figures = {"accuracy": accuracy, "f1_macro": accuracy - 0.004, "ece": 0.031 + 0.002 * i}
    ends = {f"{key}_{end}": value + way * 0.015 for key, value in figures.items() for end, way in (("low", -1), ("high", 1))}
    form = {"rows_per_second": 900 / (i + 1), "p50_ms": 3.1 * (1 + i), "p99_ms": 9.9 * (1 + i), "peak_memory_bytes": 5e8}
    export = {**form, "p50_ms": form["p50_ms"] / 2, "accuracy": accuracy - 0.002, "reference_accuracy": accuracy}
    return {
        "run": name,
        "error": None,
        "cells": [
            {"run": f"{name}-s{k}", "path": f"runs/{name}-s{k}", "seed": 42 + k, **figures, "looks": 1, "error": None}
            for k in range(seeds)
        ],
        "seeds": seeds,
        "base": "-" if light else "starter:minilm",
        "family": {"tfidf": "linear", "majority": "constant"}.get(method, "encoder"),
        "architecture": {"tfidf": "linear", "majority": "constant"}.get(method, "bert"),
        "task": "text-classification",
        "method": method,
        "total_parameters": total,
        "trainable_parameters": trained,
        "trainable_percent": 100 * trained / max(1, total),
        "head_parameters": None if light else 770,
        "adapter_bytes": 4 * trained,
        **figures,
        **ends,
        "brier": 0.1,
        "train_seconds": 312.5 + 60 * i,
        "train_examples": 21_836,
        "steps": 1365,
        "best_step": 1200,
        "peak_memory_bytes": 1.1e9 + 5e7 * i,
        "peak_gpu_memory_bytes": None,
        "rows_per_second": 310.0 / (1 + i),
        "invalid": 0,
        "unscored": 0,
        "truncated": 12,
        "forms": {} if light else {"torch": form, "onnx-int8": {**export, "proof": {"passed": True}}},
        "curve": [] if light else [_curve(f"{name}-s{k}", accuracy, chance) for k in range(seeds)],
        "confusion": [[n // len(labels) if a == b else a + b for b in range(len(labels))] for a in range(len(labels))],
        "missed": None,
        "reliability": [_bin(k, 0.1, 10 * k, k / 10 + 0.02 * (i % 3)) | {"confidence": k / 10 + 0.05} for k in range(5, 10)],
        "by_length": [_bin(k, 50, n // 5, accuracy - 0.01 * k) for k in range(5)],
        "provenance": {
            "command": f"tunebench train recipes/{name}.yaml --runs=runs",
            "recipe": f"name: {name}\nseed: 42\nmethod: {{kind: {method}}}\n",
            "digests": {"data": "f3e1" * 16, "base": "ba25" * 16},
            "created": "2026-11-22T13:34:39Z",
            "versions": {"python": "3.11.7", "torch": "2.13.0+cpu"},
            "hardware": {"platform": "Linux x86_64", "cores": 2},
            "shared_texts": {"test in train": 35},
        },
    }


def _bin(place: int, width: float, n: int, accuracy: float) -> dict[str, float]:
    ends = {"accuracy_low": accuracy - 0.03, "accuracy_high": min(1.0, accuracy + 0.03)}
    return {"low": place * width, "high": (place + 1) * width, "n": n, "accuracy": accuracy, **ends}


def _curve(run: str, accuracy: float, chance: random.Random) -> dict[str, Any]:
    train = [[s, 16 * s, 0.2 * s, 0.25 + 0.45 / (1 + s / 40) + chance.uniform(-0.08, 0.08)] for s in range(3, 1200, 3)]
    steps = range(100, 1300, 200)
    validation = [[s, 16 * s, 0.2 * s, {"accuracy": accuracy - 0.25 / (1 + s / 100), "loss": 0.3}] for s in steps]
    return {"run": run, "train": train, "validation": validation}


def _statement(better: str, worse: str, n: int) -> dict[str, Any]:
    return {
        "better": better,
        "worse": worse,
        "difference": 0.019,
        "low": 0.011,
        "high": 0.027,
        "p": 0.0004,
        "p_holm": 0.0008,
        "test": "McNemar exact",
        "n": n,
        "distinguishable": True,
        "text": f"{better} beats {worse} by 1.9 points [1.1, 2.7], p < 0.001",
    }


def _browser(names: list[str], labels: list[str], text: str, listed: int) -> dict[str, Any]:
    def item(i: int) -> dict[str, Any]:
        answers = {name: [labels[(i + k) % len(labels)], 0.5 + 0.4 * ((i + k) % 2)] for k, name in enumerate(names)}
        return {"row": f"r{i}", "text": f"{text} {i}", "cut": i % 3 == 0, "gold": labels[i % len(labels)], "answers": answers}

    lists = ("all_wrong", "disagree", "confident")
    return {name: [item(i) for i in range(listed)] for name in lists} | {f"{name}_total": 7 * listed for name in lists}
