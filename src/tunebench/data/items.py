"""What one row puts before a model: a text, a question with options, a conversation. Plain values that travel as JSON."""

from __future__ import annotations

from typing import Any, NamedTuple


class Question(NamedTuple):
    """A passage, a question about it, and the options in order."""

    passage: str
    question: str
    choices: tuple[str, ...]


class Turn(NamedTuple):
    """One message: who says it (``system``, ``user``, ``assistant``) and what."""

    role: str
    content: str


class Conversation(NamedTuple):
    """Messages in order; the assistant's are what is learned."""

    turns: tuple[Turn, ...]


class Completion(NamedTuple):
    """A prompt as it is, and what is to follow it."""

    prompt: str
    completion: str


Item = str | Question | Conversation | Completion


def flat(item: Item) -> str:
    """An item as one text, the same for the same content only: for digests, sizes and comparing rows."""
    if isinstance(item, str):
        return item
    if isinstance(item, Conversation):
        return "\n".join(f"{turn.role}\x1f{turn.content}" for turn in item.turns)
    parts = (item.passage, item.question, *item.choices) if isinstance(item, Question) else tuple(item)
    return "\x1f".join(parts)


def to_json(item: Item) -> Any:
    """An item as a value that JSON can hold."""
    return item if isinstance(item, str) else {type(item).__name__.lower(): item}


def from_json(value: Any) -> Item:
    """The item that ``to_json`` turned into ``value``."""
    if isinstance(value, str):
        return value
    (kind, parts), *_ = value.items()
    if kind == "conversation":
        return Conversation(tuple(Turn(*turn) for turn in parts[0]))
    if kind == "question":
        return Question(parts[0], parts[1], tuple(parts[2]))
    return Completion(*parts)
