"""Recipes of causal language models over small files, sound until a test changes them; and the bases they name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny import FILLER, METHODS, write_base, write_csv

CHAT = "{% for m in messages %}{{ m.role }} {{ m.content }} . {% endfor %}{% if add_generation_prompt %}assistant {% endif %}"
STEPS = {"max_steps": 2, "per_device_train_batch_size": 8, "learning_rate": 5e-3, "bf16": False}
HALVES = {"validation": {"fraction": 0.2}, "test": {"fraction": 0.2}}
WORDS = {"negative": "bad", "positive": "good"}
FILES = {"classify": "t.csv", "choose": "q.csv", "write": "d.jsonl", "chat": "c.jsonl"}
SOUND: dict[str, dict[str, Any]] = {
    "classify": {
        "task": "prompt-classification",
        "prompt": {"template": "the story is: {text} a film is very", "label_words": WORDS},
    },
    "choose": {
        "task": "multiple-choice",
        "data": {"choices": ["a", "b", "c"]},
        "prompt": {"template": "{passage} {question} {choices} is"},
    },
    "write": {"task": "language-modeling"},
    "chat": {"task": "instruction", "base": {"model": "chatty"}},
}
"""What is changed into something hostile; with ``ZERO_SHOT`` nothing is trained."""
ZERO_SHOT = {"method": {"kind": "zero-shot"}, "train": None}
Rows = list[dict[str, Any]]
LONG = "the film " * 500


def asked(number: int = 20) -> Rows:
    words = ("good", "bad", "warm")
    return [
        {"id": f"q{i}", "passage": f"the film {i} is good", "question": "the film is"}
        | {name: words[(i + k) % 3] for k, name in enumerate("abc")}
        | {"answer": i % 3 + 1}
        for i in range(number)
    ]


def written(number: int = 20) -> Rows:
    return [{"id": i, "text": " ".join(FILLER[(i + k * k) % 12] for k in range(10 + i))} for i in range(number)]


def said(*turns: tuple[Any, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def talks(number: int = 20) -> Rows:
    return [said(("user", f"is film {i} good"), ("assistant", "the film is good")) for i in range(number)]


ROWS: dict[str, Callable[[], Rows]] = {"choose": asked, "write": written, "chat": talks}


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The settings with others laid over them, group by group; None takes one away."""
    found = dict(one)
    for key, value in other.items():
        inner = merged(found.get(key) or {}, value) if isinstance(value, dict) and key != "method" else value
        found[key] = inner
    return {key: value for key, value in found.items() if value is not None}


def write_bases(folder: Path) -> Path:
    """``llama`` can write, ``chatty`` has a chat template, ``headless`` has no output layer, ``bert`` is an encoder."""
    write_base(folder / "llama", "llama", causal=True, positions=128)
    write_base(folder / "headless", "llama", positions=128)
    write_base(folder / "bert")
    with_template(folder / "llama", folder / "chatty", CHAT)
    return folder


def with_template(base: Path, copy: Path, template: str) -> Path:
    shutil.copytree(base, copy)
    settings = json.loads((copy / "tokenizer_config.json").read_text("utf-8"))
    (copy / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": template}), "utf-8")
    return copy


def write_files() -> None:
    """The sound file of every kind, in the present folder."""
    write_csv(Path("t.csv"))
    for kind, make in ROWS.items():
        write_rows(FILES[kind], make())


def write_rows(name: str, rows: Rows) -> None:
    if name.endswith(".csv"):
        write_csv(Path(name), rows)
    else:
        Path(name).write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")


def settings_of(bases: Path, kind: str, **changes: Any) -> dict[str, Any]:
    """A recipe of a kind; its data stand in the present folder, its base in ``bases``."""
    common = {"name": "x", "seed": 3, "base": {"model": "llama", "max_length": 60}, "data": HALVES | {"train": FILES[kind]}}
    trained = {"method": METHODS["lora"], "train": STEPS}
    found = merged(merged(common | trained, SOUND[kind]), changes)
    if "base" in found and (bases / found["base"]["model"]).is_dir():
        found["base"]["model"] = str(bases / found["base"]["model"])
    return found


def write(settings: dict[str, Any]) -> str:
    Path("x.yaml").write_text(json.dumps(settings), "utf-8")  # with every emoji as two halves, as JSON has them
    return "x.yaml"


def prompted(template: str | None = None, **more: Any) -> dict[str, Any]:
    return {"prompt": more | ({} if template is None else {"template": template})}


def words(negative: Any, positive: Any = "good") -> dict[str, Any]:
    return prompted(label_words={"negative": negative, "positive": positive})


def changed(place: int, **cells: Any) -> Callable[[Rows], Rows]:
    return lambda rows: [row | (cells if i == place else {}) for i, row in enumerate(rows)]


def every(**cells: Any) -> Callable[[Rows], Rows]:
    return lambda rows: [row | cells for row in rows]


def only(*texts: Any) -> Callable[[Rows], Rows]:
    return lambda _: [{"id": i, "text": text} for i, text in enumerate(texts)]


def and_one(row: dict[str, Any]) -> Callable[[Rows], Rows]:
    return lambda rows: [*rows, row]
