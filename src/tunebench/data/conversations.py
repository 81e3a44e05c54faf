"""Conversations for ``task: instruction``, in the shapes that are usual; which one a file has is seen by its columns.

messages         a list of {role, content}
conversations    a list of {from, value}, as ShareGPT has it
instruction      with ``output`` and, where it is there, ``input``, as Alpaca has it
prompt           with ``completion``: text that goes on, without turns
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tunebench.data.cleaning import Cleaner, cleaner, text_fault
from tunebench.data.items import Completion, Conversation, Item, Turn
from tunebench.data.labels import label_name
from tunebench.data.readers import cell_fault, open_table, require_columns
from tunebench.data.rows import Rows
from tunebench.errors import InputError, listing
from tunebench.recipe.sources import Data, SplitFile

ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}
"""Who says a message, by the names that files have for them."""
Cells = dict[str, Any]


class _Shape(NamedTuple):
    """One of the shapes: its columns, how it is called, how a row is read, and what is wrong with one."""

    columns: tuple[str, ...]
    name: str
    item: Callable[[Cells, Cleaner], Item]
    faults: Callable[[Cells, Cleaner], Iterator[str]]


def read_conversations(path: Path, data: Data, source: SplitFile) -> Rows:
    """The conversations and completions of a file, cleaned; ``remark`` says which shape it has.

    Raises InputError where no shape fits, and for every row without an answer, with an empty one, with turns in an order
    that is none, or said by somebody unknown.
    """
    reader = open_table(path, source.encoding or data.encoding, source.delimiter or data.delimiter)
    shape, key, clean = _shape(path, list(reader.types)), source.id or data.id, cleaner(data.clean)
    require_columns(reader, {"data.id": key} if key else {})
    columns: dict[str, list[Any]] = {name: [] for name in reader.types}
    items: list[Item] = []
    faults: list[str] = []
    for chunk in reader.chunks():
        for name, values in chunk.columns.items():
            columns[name].extend(values)
        for i, error in enumerate(chunk.errors):
            cells = {name: values[i] for name, values in chunk.columns.items()}
            found = [error] if error else [*shape.faults(cells, clean), *_id_faults(cells, key)]
            faults += [f"row {chunk.first_row + i}: {fault}; correct or remove the row" for fault in found]
            items += [] if faults else [shape.item(cells, clean)]
    number = len(columns[shape.columns[0]])
    ids = [label_name(value) or "" for value in columns[key]] if key else [str(i) for i in range(1, number + 1)]
    doubled = [name for name, count in Counter(ids).items() if count > 1 and name]
    faults += [f"the id {name!r} stands more than once; an id belongs to one row" for name in doubled]
    if faults or not number:
        raise InputError(str(path), faults or "has a header but no rows")
    remark = f"{path.name} is read as {shape.name}"
    return Rows(ids, items, [""] * number, columns, reader.types, f"{reader.remark}; {remark}" if reader.remark else remark)


def _shape(path: Path, names: list[str]) -> _Shape:
    found = next((shape for shape in _SHAPES if set(shape.columns) <= set(names)), None)
    if found is None:
        shapes = listing(" + ".join(shape.columns) for shape in _SHAPES)
        raise InputError(str(path), f"expected the columns of a conversation ({shapes}), found {listing(names)}; rename them")
    return found


def _id_faults(cells: Cells, key: str | None) -> list[str]:
    fault = cell_fault(cells[key]) if key else None
    return [f"{key!r} {fault}"] if fault else []


def _turns(messages: list[dict[str, Any]], clean: Cleaner) -> tuple[Turn, ...]:
    return tuple(Turn(ROLES[_said_by(message)], clean(str(_content(message)))) for message in messages)


def _said_by(message: dict[str, Any]) -> Any:
    return message.get("role", message.get("from"))


def _content(message: dict[str, Any]) -> Any:
    return message.get("content", message.get("value"))


def _chat(column: str) -> _Shape:
    """A list of messages in a column."""
    keys = "[{role, content}, …]" if column == "messages" else "[{from, value}, …]"
    return _Shape(
        (column,),
        f"conversations ({column}: {keys})",
        lambda cells, clean: Conversation(_turns(cells[column], clean)),
        lambda cells, clean: (f"{column!r} {fault}" for fault in _chat_faults(cells[column], keys, clean)),
    )


def _chat_faults(messages: Any, keys: str, clean: Cleaner) -> Iterator[str]:
    """What is wrong with a list of messages."""
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        yield f"holds no list of messages; expected {keys}"
        return
    roles = [ROLES.get(said) if isinstance(said := _said_by(message), str) else None for message in messages]
    for number, (role, message) in enumerate(zip(roles, messages, strict=True), 1):
        if role is None:
            yield f"message {number}: said by {_said_by(message)!r}; expected one of {listing(ROLES)}"
        elif not isinstance(_content(message), str):
            yield f"message {number}: holds no text; expected {keys}"
        elif fault := text_fault(_content(message), clean):
            yield f"message {number} ({role}): {fault}"
    if None in roles:
        return
    if "assistant" not in roles:
        yield "has no answer: no message of the assistant; there is nothing to learn"
    elif next(role for role in roles if role != "system") != "user":
        yield "begins with an answer; expected a message of the user before it"


def _alpaca(cells: Cells, clean: Cleaner) -> Item:
    asked = [clean(str(cells[name])) for name in ("instruction", "input") if cell_fault(cells.get(name)) is None]
    return Conversation(
        (Turn("user", "\n\n".join(text for text in asked if text.strip())), Turn("assistant", clean(str(cells["output"]))))
    )


def _alpaca_faults(cells: Cells, clean: Cleaner) -> Iterator[str]:
    yield from _text_faults(cells, ("instruction", "output"), clean)
    if (fault := cell_fault(cells.get("input"))) not in (None, "is empty"):
        yield f"'input' {fault}"


def _completion(cells: Cells, clean: Cleaner) -> Item:
    return Completion(clean(str(cells["prompt"])), clean(str(cells["completion"])))


def _text_faults(cells: Cells, names: tuple[str, ...], clean: Cleaner) -> Iterator[str]:
    yield from (f"{name!r} {fault}" for name in names if (fault := text_fault(cells[name], clean)))


_SHAPES = (
    _chat("messages"),
    _chat("conversations"),
    _Shape(("instruction", "output"), "instructions (instruction, input, output)", _alpaca, _alpaca_faults),
    _Shape(
        ("prompt", "completion"),
        "completions (prompt, completion)",
        _completion,
        lambda cells, clean: _text_faults(cells, ("prompt", "completion"), clean),
    ),
)
