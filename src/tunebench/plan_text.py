"""How a plan looks on a terminal, and at the end of a training how far it was off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunebench.terminal import clock, columns, printable, trained_text

_NAMES = {"gpu": "GPU memory", "ram": "RAM", "disk": "disk"}


def plan_text(found: Mapping[str, Any]) -> str:
    """What ``plan`` prints: stages, what each needs term by term, time, and whether there is enough."""
    told = [_stages_table(found), *(_needs_table(stage) for stage in found["stages"])]
    times = [text for stage in found["stages"] if (text := _time_text(stage))]
    notes = [f"  - {printable(note)}" for stage in found["stages"] for note in _notes(stage)]
    told += ["\n".join(times)] if times else []
    told += ["\n".join(["notes", *dict.fromkeys(notes)])] if notes else []
    return "\n\n".join([*told, _verdicts_text(found)])


def outcome_text(compared: Mapping[str, Any] | None) -> str | None:
    """Of a finished run, ``planned 12:00, took 14:00 (1.17 x)``; None where no plan was made."""
    parts = []
    if time := (compared or {}).get("train_seconds"):
        parts.append(f"planned {clock(time['planned'])}, took {clock(time['measured'])} ({time['ratio']:.2f} x)")
    for name, word in (("peak_gpu_memory_bytes", "GPU memory"), ("peak_memory_bytes", "memory")):
        if size := (compared or {}).get(name):
            parts.append(f"{word} {_size(size['planned'])}, used {_size(size['measured'])} ({size['ratio']:.2f} x)")
    return "; ".join(parts) or None


def trained_and_planned(found: dict[str, Any]) -> str:
    """What ``train`` prints at its end, with how far off the plan was, where one was made."""
    runs = found.get("stages") or [found]
    outcomes = [(run["run"], outcome_text(run["metrics"].get("plan"))) for run in runs if not run["already_finished"]]
    told = [f"{name}: {text}" if len(runs) > 1 else text for name, text in outcomes if text]
    return "\n".join([trained_text(found), *told])


def _size(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _label(stage: Mapping[str, Any]) -> str:
    return stage["name"] or "training"


def _stages_table(found: Mapping[str, Any]) -> str:
    head = ("stage", "method", "weights", "trained", "rows", "steps", "rows/step", "tokens/step", "precision")
    rows = [
        (
            _label(stage),
            stage["method"],
            f"{stage['parameters']['total']:,}",
            f"{stage['parameters']['trainable']:,}",
            "-" if stage["rows"] is None else f"{stage['rows']:,}",
            f"{stage['steps']:,}",
            f"{stage['rows_per_step']:,}",
            f"{stage['tokens_per_step']:,}",
            stage["precision"],
        )
        for stage in found["stages"]
    ]
    return f"{printable(found['recipe'])} on {found['stages'][0]['base']}\n\n{columns([head, *rows])}"


def _needs_table(stage: Mapping[str, Any]) -> str:
    """The largest need of every resource, term by term, and the sums of the others."""
    lines = []
    for resource in ("gpu", "ram", "disk"):
        needs = sorted((need for need in stage["needs"] if need["resource"] == resource), key=lambda need: -need["bytes"])
        for need in needs[:1]:
            rows = [(f"  {term['name']}", _size(term["bytes"]), term["why"]) for term in need["terms"]]
            width = max(len(row[0]) for row in rows)
            lines.append(f"{_label(stage)}: {_NAMES[resource]} while {need['during']}: {_size(need['bytes'])}")
            lines += [f"{name:<{width}}  {size:>9}  {why}" for name, size, why in rows]
        lines += [f"  (while {need['during']}: {_size(need['bytes'])})" for need in needs[1:]]
    return "\n".join(lines)


def _time_text(stage: Mapping[str, Any]) -> str | None:
    if stage["seconds"] is None:
        return None
    seconds, probe = stage["seconds"], stage["probe"]
    return (
        f"{_label(stage)}: about {clock(seconds['total'])} on this machine ({probe['device']}): start {clock(seconds['start'])}, "
        f"training {clock(seconds['train'])} of it {stage['evaluations']} x evaluated, scoring {clock(seconds['score'])}; "
        f"{probe['steps']['number']} steps were timed, the process had {_size(probe['peak_memory_bytes'])}"
    )


def _notes(stage: Mapping[str, Any]) -> list[str]:
    kept = list(stage["notes"])
    if stage["seconds"] is None and not any(note.startswith("not timed") for note in kept):
        kept.append("no step was timed, so nothing is said about time")
    return [f"{stage['name']}: {note}" if stage["name"] else note for note in kept]


def _verdicts_text(found: Mapping[str, Any]) -> str:
    lines = []
    for item in found["verdicts"]:
        limit = item["limit"]
        there = "" if limit is None else f"; there is {_size(limit['bytes'])} ({limit['said_by']})"
        word = {True: "suffices", False: "DOES NOT SUFFICE", None: "how much there is nobody says"}[item["suffices"]]
        lines.append(f"{_NAMES[item['resource']]}: {word}; at most {_size(item['needed'])} at once{there}")
        for short in item["shortages"]:
            lines.append(f"  {short['stage'] or found['recipe']}, while {short['during']}: {_size(short['bytes'])}")
            lines += [f"    {printable(remedy)}" for remedy in short["remedies"]]
    return "\n".join(lines)
