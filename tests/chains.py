"""Recipes of two stages on the tiny offline world."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tiny import BAD, FILLER, GOOD, METHODS, World, write_base, write_csv

TRAIN = {"max_steps": 6, "learning_rate": 0.02, "per_device_train_batch_size": 8, "bf16": False}
HALVES = {"validation": {"fraction": 0.2, "stratify": True}, "test": {"fraction": 0.2, "stratify": True}, "id": "id"}


def settings_of(world: World, name: str = "pair") -> dict[str, Any]:
    """Two stages on the tiny encoder: a LoRA that is merged, and one on what that gave."""
    first = {
        "name": "cpt",
        "data": {"train": str(world.data), **HALVES},
        "method": METHODS["lora"],
        "train": TRAIN,
        "merge": True,
    }
    second = {"name": "sft", "data": {"train": str(world.data), **HALVES}, "method": METHODS["lora"] | {"r": 2}, "train": TRAIN}
    base = {"model": str(world.bases["bert"]), "max_length": 32}
    return json.loads(json.dumps({"name": name, "seed": 3, "base": base, "stages": [first, second]}))  # nothing shared


def write(path: Path, settings: dict[str, Any]) -> str:
    path.write_text(json.dumps(settings), "utf-8")  # which is YAML
    return str(path)


def causal_settings(folder: Path) -> dict[str, Any]:
    """Continued pre-training, then questions with options, on a tiny Llama."""
    draw = random.Random(1)
    texts = [{"text": " ".join(draw.choices([*GOOD, *BAD, *FILLER], k=draw.randint(8, 20)))} for _ in range(30)]
    asked: list[dict[str, Any]] = []
    for i in range(30):
        options = draw.sample(BAD, 2)
        options.insert(i % 3, draw.choice(GOOD))
        asked.append({"ID": i, "passage": f"film {options[i % 3]}", "question": "film ?", "answer": i % 3 + 1})
        asked[-1] |= dict(zip("abc", options, strict=True))
    corpus, questions = write_csv(folder / "corpus.csv", texts), write_csv(folder / "asked.csv", asked)
    cut = {"validation": {"fraction": 0.2}, "test": {"fraction": 0.2}}
    prompt = {"template": "{passage} {question} {choices} :", "choice_template": "{number} {choice}"}
    columns = {"choices": ["a", "b", "c"], "id": "ID"}
    method = {"kind": "lora", "r": 4}
    first = {"name": "cpt", "task": "language-modeling", "data": {"train": str(corpus), **cut}, "method": method, "train": TRAIN}
    second = {
        "name": "sft",
        "task": "multiple-choice",
        "data": {"train": str(questions), "predict": str(questions), **columns, **cut},
    }
    stages = [first | {"merge": True}, second | {"prompt": prompt, "method": method, "train": TRAIN, "base": {"max_length": 60}}]
    base = {"model": str(write_base(folder / "llama", "llama", causal=True)), "max_length": 48}
    return {"name": "taigi", "seed": 3, "base": base, "stages": stages}
