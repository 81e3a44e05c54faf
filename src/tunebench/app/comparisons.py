"""Comparisons that the studio keeps, by what was compared: shown again they are no new look at the test rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunebench.compare.choice import Limits, candidates, choose
from tunebench.compare.pareto import SAME
from tunebench.compare.shown import count, duration, interval, milliseconds, short, size
from tunebench.compare.statements import told_p
from tunebench.comparing.telling import PAGES
from tunebench.errors import InputError
from tunebench.recipe.methods import BASELINES
from tunebench.runs.index import find_run

Row = dict[str, Any]
REPORT, PAPER, TABLE, COMPARISON = PAGES
_DIGITS = 20
_NEEDED = ("rows", "statements", "choice", "browser", "test")


def folder_of(names: Sequence[str], runs: Path, comparisons: Path, limits: Limits) -> Path:
    """Where the comparison of these runs lies, or would lie; a run that was trained anew gives another one."""
    found = sorted((str(run.path.resolve()), run.manifest.get("end_weights")) for run in (find_run(name, runs) for name in names))
    whole = json.dumps([found, asdict(limits)])
    return comparisons / hashlib.sha256(whole.encode()).hexdigest()[:_DIGITS]


def arguments(names: Sequence[str], runs: Path, folder: Path, limits: Limits) -> list[str]:
    """The command that compares finished runs into a folder; whole paths, as a preset may bear the name of a run."""
    paths = sorted(str(find_run(name, runs).path.resolve()) for name in names)
    told = {
        "--min-accuracy": limits.min_accuracy,
        "--max-latency": limits.max_latency_ms,
        "--max-memory": None if limits.max_memory_bytes is None else f"{limits.max_memory_bytes / 1e6:.0f}MB",
    }
    given = [f"{name}={value}" for name, value in told.items() if value is not None] + ["--no-gpu"] * limits.no_gpu
    return ["compare", *paths, *given, "--runs", str(runs), "--output", str(folder.resolve()), "--no-bench", "--json"]


def read(folder: Path) -> dict[str, Any] | None:
    """The comparison in a folder, None where there is none; InputError where it is damaged."""
    try:
        found = json.loads((folder / COMPARISON).read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(str(folder / COMPARISON), f"cannot be read ({error})") from None
    if not isinstance(found, dict) or any(key not in found for key in _NEEDED):
        raise InputError(str(folder / COMPARISON), "is no comparison, or one of another version; compare the runs again")
    return found


def verdict(comparison: Mapping[str, Any], limits: Limits) -> dict[str, Any] | None:
    """Which one to take under these limits, with the ``leader`` in accuracy, the statement ``against`` it and ``is_baseline``.

    None where the comparison lacks a test that this would need.
    """
    able, refused = candidates(comparison["rows"], limits)
    made = {frozenset((one["better"], one["worse"])): one for one in comparison["statements"]}
    if any(one.name != able[0].name and frozenset((able[0].name, one.name)) not in made for one in able):
        return None
    found = choose(able, refused, comparison["statements"], limits)
    leader = able[0].name if able else None
    taken = next((row for row in comparison["rows"] if row["run"] == found["take"]), None)
    return found | {
        "leader": leader,
        "against": made.get(frozenset((leader, found["take"]))),
        "accuracy": taken and taken["accuracy"],
        "is_baseline": taken is not None and taken["method"] in BASELINES,
    }


def table(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows as they are shown: figures to sort by, with their intervals and what they cost in words."""
    return [
        {
            "run": short(row["run"], 60),
            "method": row["method"],
            "base": short(row["base"], 40),
            "accuracy": row["accuracy"],
            "accuracy_interval": interval(row, "accuracy"),
            "f1_macro": row["f1_macro"],
            "f1_interval": interval(row, "f1_macro"),
            "ece": row["ece"],
            "trainable": row["trainable_parameters"],
            "percent": row["trainable_percent"],
            "saved": size(row["adapter_bytes"]),
            "time": duration(row["train_seconds"]),
            "memory": size(row["peak_memory_bytes"]),
            "latency": milliseconds(latency(row)),
            "seeds": row["seeds"],
        }
        for row in comparison["rows"]
        if row["error"] is None
    ]


def latency(row: Row) -> float | None:
    """Median milliseconds for one text, of the fastest form that answers as the scored one; None where none was timed."""
    timed = [row["forms"][name].get("p50_ms") for name in SAME if name in (row["forms"] or {})]
    return min((found for found in timed if found is not None), default=None)


def figures_of(statement: Mapping[str, Any]) -> dict[str, str]:
    """The figures of a statement for a sentence: ``points``, ``low``, ``high`` in points of accuracy, ``p``, ``n``."""
    digits = 1 if statement["difference"] >= 0.001 or not statement["distinguishable"] else 3
    names = {"points": "difference", "low": "low", "high": "high"}
    points = {key: f"{round(100 * statement[name], digits) + 0.0:.{digits}f}" for key, name in names.items()}
    return points | {"p": told_p(statement["p_holm"]), "n": count(statement["n"])}


def mistakes(comparison: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """Test rows of a kind (``all_wrong``, ``disagree``, ``confident``): text, gold label, what each method answers."""
    browser, no_answer = comparison["browser"], "–"
    found = []
    for item in browser[kind]:
        answers = {
            f"→ {short(name, 40)}": f"{label or no_answer}{'' if sure is None else f' {100 * sure:.0f} %'}"
            for name, (label, sure) in item["answers"].items()
        }
        text = item["text"] + ("…" if item["cut"] else "")
        found.append({"row": str(item["row"]), "text": text, "gold": item["gold"], **answers})
    return found


def looks(comparison: Mapping[str, Any]) -> int:
    """How often the test rows of these runs have been looked at, of the one that was looked at most."""
    return max((cell["looks"] or 0 for row in comparison["rows"] for cell in row["cells"]), default=0)
