"""Conversations in the usual shapes, found by their columns; a row that teaches no answer is refused with its number."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunebench.data.conversations import read_conversations
from tunebench.data.items import Completion, Conversation, Turn
from tunebench.data.rows import Rows
from tunebench.errors import InputError
from tunebench.recipe.sources import Clean, Data

MESSAGES = [
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
    {"messages": [{"role": role, "content": role} for role in ("system", "user", "assistant", "user", "assistant")]},
]
SHAREGPT = [{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}]
ALPACA = [
    {"instruction": "Translate", "input": "甲", "output": "A"},
    {"instruction": "Sing", "input": "", "output": "la"},
    {"instruction": "Say", "input": None, "output": "so"},
]
COMPLETIONS = [{"prompt": "1 + 1 =", "completion": " 2"}]


def chat(*turns: str) -> Conversation:
    return Conversation(tuple(Turn(*turn.split(":", 1)) for turn in turns))


READ: dict[str, tuple[list[dict[str, Any]], list[Any], str]] = {
    "messages": (
        MESSAGES,
        [chat("user:Hi", "assistant:Hello"), chat("system:system", *["user:user", "assistant:assistant"] * 2)],
        "conversations (messages: [{role, content}, …])",
    ),
    "sharegpt": (SHAREGPT, [chat("user:Hi", "assistant:Hello")], "conversations (conversations: [{from, value}, …])"),
    "alpaca": (
        ALPACA,
        [chat("user:Translate\n\n甲", "assistant:A"), chat("user:Sing", "assistant:la"), chat("user:Say", "assistant:so")],
        "instructions (instruction, input, output)",
    ),
    "completions": (COMPLETIONS, [Completion("1 + 1 =", " 2")], "completions (prompt, completion)"),
}


def read(path: Path, **settings: Any) -> Rows:
    data = Data(train=str(path), **settings)
    source = data.source("train")
    assert source is not None
    return read_conversations(path, data, source)


def write(path: Path, rows: list[Any]) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(rows), "utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            out = csv.DictWriter(file, list(rows[0]))
            out.writeheader()
            out.writerows(rows)
    return path


@pytest.mark.parametrize("ending", [".json", ".jsonl", ".parquet", ".csv"])
@pytest.mark.parametrize("shape", READ)
def test_every_shape_is_read_out_of_every_format(shape: str, ending: str, tmp_path: Path) -> None:
    rows, items, remark = READ[shape]
    if ending == ".csv" and shape in ("messages", "sharegpt"):
        with pytest.raises(InputError, match=r"holds no list of messages; expected \[{"):
            read(write(tmp_path / "t.csv", rows))
        return
    found = read(write(tmp_path / f"t{ending}", rows))
    assert found.texts == items
    assert found.ids == [str(number) for number in range(1, len(rows) + 1)]
    assert set(found.labels) == {""}
    assert list(found.columns) == list(rows[0])
    assert found.remark is not None
    assert remark in found.remark


def message(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"messages": []}, "'messages' has no answer"),
        ({"messages": None}, "'messages' holds no list of messages; expected [{role, content}, …]"),
        ({"messages": "hi"}, "'messages' holds no list of messages"),
        ({"messages": ["hi"]}, "'messages' holds no list of messages"),
        ({"messages": [message("user", "a")]}, "no message of the assistant; there is nothing to learn"),
        ({"messages": [message("user", "a"), message("assistant", " ")]}, "message 2 (assistant): is empty"),
        ({"messages": [message("user", "a"), message("tool", "b")]}, "message 2: said by 'tool'; expected one of system, user"),
        ({"messages": [message("user", "a"), {"content": "b"}]}, "message 2: said by None"),
        ({"messages": [message("user", "a"), message("assistant", ["b"])]}, "message 2: holds no text"),
        ({"messages": [message("system", "s"), message("assistant", "b")]}, "begins with an answer"),
        ({"conversations": [{"from": "gpt", "value": "b"}]}, "'conversations' begins with an answer"),
        ({"instruction": "a", "output": ""}, "'output' is empty"),
        ({"instruction": " ", "output": "a"}, "'instruction' is empty"),
        ({"instruction": "a", "input": ["x"], "output": "a"}, "'input' holds a list"),
        ({"prompt": "a", "completion": None}, "'completion' is empty"),
        ({"prompt": [message("user", "a")], "completion": "b"}, "'prompt' holds a list"),
    ],
)
def test_a_row_that_teaches_no_answer_is_refused(row: dict[str, Any], words: str, tmp_path: Path) -> None:
    sound = {"messages": MESSAGES, "conversations": SHAREGPT, "instruction": ALPACA, "prompt": COMPLETIONS}[next(iter(row))]
    with pytest.raises(InputError) as caught:
        read(write(tmp_path / "t.json", [sound[0], row, sound[0], row]))
    assert len(caught.value.faults) == 2
    for fault, number in zip(caught.value.faults, (2, 4), strict=True):
        assert fault.startswith(f"row {number}: ")
        assert words in fault
        assert fault.endswith("; correct or remove the row")


def test_columns_of_no_shape_are_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"messages, conversations, instruction \+ output, prompt \+ completion\), found text, label"
    ):
        read(write(tmp_path / "t.json", [{"text": "a", "label": "b"}]))
    (tmp_path / "t.csv").write_text("instruction,output\n")
    with pytest.raises(InputError, match="has a header but no rows"):
        read(tmp_path / "t.csv")


def test_ids_and_cleaning_are_as_the_recipe_says(tmp_path: Path) -> None:
    rows = [{"key": "b", "instruction": "看 http://a.tw", "output": "Ａ,好"}, {"key": 7.0, "instruction": "x", "output": "y"}]
    found = read(write(tmp_path / "t.json", rows), id="key", clean=Clean(urls="drop", punctuation="normalize"))
    assert found.ids == ["b", "7"]
    assert found.texts[0] == chat("user:看", "assistant:A，好")
    with pytest.raises(InputError, match="message 2 \\(assistant\\): is empty once it is cleaned"):
        read(
            write(tmp_path / "u.json", [{"messages": [message("user", "a"), message("assistant", "http://a.b")]}]),
            clean=Clean(urls="drop"),
        )
    with pytest.raises(InputError, match="the id 'b' stands more than once"):
        read(write(tmp_path / "v.json", [rows[0], rows[0]]), id="key")
