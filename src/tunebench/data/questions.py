"""Multiple choice: a passage, a question and its options out of named columns; the answer is an option's number, from 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tunebench.data.items import Question
from tunebench.data.labels import label_name
from tunebench.data.readers import cell_fault


class Asked(NamedTuple):
    """The columns of a question."""

    passage: str
    question: str
    choices: tuple[str, ...]

    def roles(self) -> list[tuple[str, str]]:
        """What every column holds: ``("option 1", "A")``."""
        options = [(f"option {i}", name) for i, name in enumerate(self.choices, 1)]
        return [("passage", self.passage), ("question", self.question), *options]


def question_of(asked: Asked, cells: Mapping[str, Any], clean: Callable[[str], str]) -> Question:
    """The question in a sound row's cells; spaces around options are not part of them."""
    return Question(
        clean(str(cells[asked.passage])),
        clean(str(cells[asked.question])),
        tuple(_option(cells[name], clean) for name in asked.choices),
    )


def option_faults(asked: Asked, cells: Mapping[str, Any], clean: Callable[[str], str]) -> list[tuple[str, str, str]]:
    """Role, column and words for every option that says the same as one before it."""
    first: dict[str, str] = {}
    faults = []
    for i, name in enumerate(asked.choices, 1):
        option = "" if cell_fault(cells[name]) else _option(cells[name], clean)
        if option and option in first:
            faults.append((f"option {i}", name, f"is the same option as {first[option]!r} ({option!r}); options must differ"))
        first.setdefault(option, name)
    return faults


def answer_fault(value: Any, choices: Sequence[str]) -> str | None:
    """What is wrong with an answer that is not the number of an option: ``1`` for the first."""
    name = label_name(value) or ""
    if name in map(str, range(1, len(choices) + 1)):
        return None
    hint = f" (for this one {choices.index(name) + 1})" if name in choices else " (counted from 1)" if name == "0" else ""
    return f"holds {name!r}; expected the number of the right option, 1 to {len(choices)}{hint}"


def _option(value: Any, clean: Callable[[str], str]) -> str:
    return clean(str(value)).strip()
