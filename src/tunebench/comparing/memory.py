"""What every cell will need at once, and how much there is: the bound within which several are trained side by side."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tunebench.comparing.cells import Row
from tunebench.comparing.soundness import Sound
from tunebench.comparing.telling import Needs
from tunebench.recipe.methods import BASELINES
from tunebench.recipe.spec import Recipe
from tunebench.runs import environment

FITTING = 300 * 10**6
"""A process that has imported scikit-learn; measured: 230 MB."""
PER_CHARACTER = 60
"""Bytes that fitting a baseline takes per character of the texts; measured on short reviews: 31, of words and word pairs."""


def planned(rows: Sequence[Row], sound: Sequence[Sound], runs: Path) -> dict[str, Needs | None]:
    """What the cells of every row that has any to train need at once, by the row's name; None where nothing can be said."""
    found: dict[str, Needs | None] = {}
    asked: dict[str, str] = {}
    for row, known in zip(rows, sound, strict=True):
        todo = [cell for cell in row.cells if cell.name not in known.finished]
        if not todo:
            continue
        if isinstance(row.recipe, Recipe) and row.recipe.method.kind in BASELINES:
            found[row.name] = {"ram": FITTING + PER_CHARACTER * known.characters}
        else:
            asked[row.name] = todo[0].source
    return found | _announced(asked, runs)


def _announced(asked: Mapping[str, str], runs: Path) -> dict[str, Needs | None]:
    """By the arithmetic of ``plan``, in one process that imports torch so that this one need not."""
    if not asked:
        return {}
    command = [sys.executable, "-P", "-m", "tunebench.planning.announced", str(runs)]
    sources = json.dumps(list(asked.values()))
    done = subprocess.run(command, input=sources, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    answers += [{"fault": "no answer"}] * (len(asked) - len(answers))
    return {name: None if "fault" in answer else answer for name, answer in zip(asked, answers, strict=True)}


def room() -> dict[str, int]:
    """How much of every resource there is at this moment."""
    gpus = [gpu["memory_bytes"] for gpu in environment.gpus() if gpu["memory_bytes"]]
    return {"ram": environment.available_memory_bytes(), **({"gpu": gpus[0]} if gpus else {})}
