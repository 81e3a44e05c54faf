"""A tokenizer's chat template without transformers: conversations as the one text that the model was trained on.

Templates are programs of strangers. They run in jinja's sandbox and see nothing but plain texts.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from tunebench.data.items import Conversation, Item, Turn
from tunebench.errors import InputError, MissingExtra, listing
from tunebench.predict.tokenizer_files import special_tokens

if TYPE_CHECKING:
    from jinja2 import Template

_FILES = ("chat_template.jinja", "tokenizer_config.json", "special_tokens_map.json")
_REMEDY = (
    "take a base that was tuned on conversations (its name often ends in -Instruct or -it), or do without one: a prompt without "
    "prompt.chat, of instruction the columns prompt and completion"
)


def render_chat(folder: Path, turns: Sequence[Turn], *, add_generation_prompt: bool) -> str:
    """The turns as the chat template of a model folder writes them; with the beginning of an answer where one is asked for.

    The text holds all special tokens it needs: tokenize it without adding others. Raises InputError for a folder without a
    chat template, and for one that cannot be read or does not take these turns.
    """
    sandbox = _sandbox()
    template, tokens = _opened(folder, tuple(map(_stamp, (folder / name for name in _FILES))))
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    with_tokens = tokens | {"messages": messages, "tools": None, "documents": None}
    try:
        return str(template.render(with_tokens, add_generation_prompt=add_generation_prompt))
    except sandbox.FAULTS as error:
        roles = listing(turn.role for turn in turns)
        raise InputError(_subject(folder), f"does not take these turns ({roles}): {_in_a_line(error)}") from None


def answer_spans(folder: Path, conversation: Conversation) -> tuple[str, list[tuple[int, int]]]:
    """A conversation as one text, and where the assistant's answers stand in it, each with what ends its turn.

    The answer begins where the model would be asked for it. Raises InputError where what the template writes for the first
    turns is not how it begins the text of all of them, so that no answer has a place.
    """
    turns = conversation.turns
    text = render_chat(folder, turns, add_generation_prompt=False)
    spans = []
    for number, turn in enumerate(turns):
        if turn.role != "assistant":
            continue
        asked = render_chat(folder, turns[:number], add_generation_prompt=True)
        answered = text if number + 1 == len(turns) else render_chat(folder, turns[: number + 1], add_generation_prompt=False)
        if not (answered.startswith(asked) and text.startswith(answered)):
            fault = (
                f"writes the turns up to message {number + 1} differently when others follow, so its answer has no fixed place"
            )
            raise InputError(_subject(folder), f"{fault}; give conversations of one answer, or columns prompt and completion")
        spans.append((len(asked), len(asked) + len(_with_its_end(answered[len(asked) :], turn.content))))
    return text, spans


def check_turns(folder: Path, items: Iterable[Item]) -> None:
    """InputError where the template does not take some conversations; one of every order of roles is looked at."""
    kinds = {tuple(turn.role for turn in item.turns): item for item in items if isinstance(item, Conversation)}
    for item in kinds.values():
        answer_spans(folder, item)


def _with_its_end(written: str, content: str) -> str:
    """What was written for an answer, without the space behind the mark that ends the turn."""
    bare = written.rstrip()
    return written if bare.endswith(content.rstrip()) else bare


def _subject(folder: Path) -> str:
    return f"the chat template of {folder}"


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=8)
def _opened(folder: Path, stamps: tuple[tuple[int, int] | None, ...]) -> tuple[Template, dict[str, str]]:
    """The compiled template of a folder and its special tokens by their names; read again when its files change."""
    source, sandbox = _source(folder), _sandbox()
    if source is None:
        raise InputError(str(folder), f"its tokenizer has no chat template; {_REMEDY}")
    try:
        return sandbox.compiled(source), special_tokens(folder)
    except sandbox.FAULTS as error:
        raise InputError(_subject(folder), f"cannot be read: {_in_a_line(error)}; {_REMEDY}") from None


def _source(folder: Path) -> str | None:
    """The template's text: in a file of its own, else in the tokenizer's settings, of several there the one named default."""
    file, settings = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    try:
        if file.is_file():
            return file.read_text("utf-8")
        found = json.loads(settings.read_text("utf-8")).get("chat_template") if settings.is_file() else None
        if isinstance(found, list):
            named = {one["name"]: one["template"] for one in found}
            if "default" not in named:
                raise InputError(
                    str(settings), f"has chat templates called {listing(named)}, and none called default; name one so"
                )
            found = named["default"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(_subject(folder), f"cannot be read: {type(error).__name__}: {_in_a_line(error)}") from None
    return found if isinstance(found, str) else None


def _sandbox() -> ModuleType:
    try:
        from tunebench.predict import chat_sandbox  # noqa: PLC0415 - jinja comes with the extra `train`
    except ImportError:
        raise MissingExtra("jinja2", "train", "a chat template") from None
    return chat_sandbox
