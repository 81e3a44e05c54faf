"""Questions of the tiny offline world: short passages, three options, and recipes that need no model."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tiny import BAD, FILLER, GOOD

OPTIONS = ["a", "b", "c"]
COLUMNS = {"passage": "story", "question": "asked", "choices": OPTIONS, "answer": "right"}


def make_questions(number: int = 30, *, seed: int = 5) -> list[dict[str, str]]:
    """``id``, ``story``, ``asked``, ``a``, ``b``, ``c``, ``right``: the story says which option is right."""
    draw, things = random.Random(seed), ("plot", "actor", "story", "film")
    rows = []
    for i in range(number):
        options = draw.sample(GOOD + BAD, 3)
        right = draw.randrange(3)
        (thing, other), (filler, more) = draw.sample(things, 2), draw.choices(FILLER, k=2)
        wrong = f"a {other} with {options[right - 1]} and {options[right - 2]}"
        story = f"the {thing} is very {options[right]} . {filler} {more} . {wrong}"
        rows.append(
            {"id": f"q{i}", "story": story, "asked": f"is the {thing} very"}
            | dict(zip(OPTIONS, options, strict=True))
            | {"right": str(right + 1)}
        )
    return rows


def write_quiz(folder: Path, name: str = "quiz", *, data: dict[str, Any] | None = None, **settings: Any) -> Path:
    """A recipe of multiple-choice over ``train.csv`` beside it; without other settings, its baseline."""
    data = {"train": "train.csv", "id": "id"} | COLUMNS | (data or {})
    recipe = {"name": name, "task": "multiple-choice", "data": data, "method": {"kind": "word-overlap"}} | settings
    (folder / f"{name}.yaml").write_text(json.dumps(recipe, ensure_ascii=False), "utf-8")
    return folder / f"{name}.yaml"
