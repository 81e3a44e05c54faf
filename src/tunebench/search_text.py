"""How a search looks on a terminal: a line per trial while it goes on, then the table of all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunebench.recipe.faults import shown
from tunebench.searching.ledger import Trial
from tunebench.searching.search import Told
from tunebench.terminal import clock, columns, printable


def told_text(told: Told) -> str:
    """One line about a trial that has ended."""
    trial, best = told.trial, told.best
    if trial.state == "failed":
        came = f"failed: {trial.error}"
    else:
        came = f"{told.metric} {trial.value:.4f}"
        if trial.state == "pruned":
            came = f"stopped early at evaluation {len(trial.scores)}, {came}"
    record = "" if best is None else ", best so far" if best is trial else f" (best {best.value:.4f} in trial {best.number})"
    left = f"; about {clock(told.left)} left" if told.trials > trial.number else ""
    return printable(f"trial {trial.number} of {told.trials}: {came}{record}; {_settings_text(trial)}{left}")


def search_text(found: Mapping[str, Any]) -> str:
    """What ``search`` prints: a line per trial, the best, what that score is worth, and the command that comes next."""
    names = list(found["best"]["settings"])
    head = ("trial", *names, found["metric"], "state", "step", "seconds")
    body = [
        (
            trial["number"],
            *(shown(trial["settings"][name]) for name in names),
            "-" if trial["value"] is None else f"{trial['value']:.4f}",
            trial["state"],
            "-" if trial["step"] is None else trial["step"],
            "-" if trial["seconds"] is None else f"{trial['seconds']:.1f}",
        )
        for trial in found["trials"]
    ]
    faults = [f"trial {trial['number']} failed: {trial['error']}" for trial in found["trials"] if trial["error"]]
    best, number = found["best"], len(found["trials"])
    test = "the test rows have not been scored:" if found["has_test"] else "there are no test rows to tell by how much:"
    worth = (
        f"best: trial {best['number']}, validation {found['metric']} {best['value']:.4f}. As the best of {number} on the same "
        f"validation rows this is optimistic; {test}"
    )
    parts = [columns([head, *body]), *map(printable, faults), worth, f"{found['recipe']}\n{found['next']}"]
    return "\n\n".join(parts)


def _settings_text(trial: Trial) -> str:
    return ", ".join(f"{name} {shown(value)}" for name, value in trial.settings.items())
