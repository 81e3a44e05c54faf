"""How a row becomes an item: which columns it is read from, what may be wrong with them, and what its label is called.

One object for every place where rows are read: training data, files to predict, files to score, and what a run kept of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from tunebench.data.cleaning import Cleaner, cleaner, text_fault
from tunebench.data.items import Item
from tunebench.data.labels import label_name
from tunebench.data.questions import Asked, answer_fault, option_faults, question_of
from tunebench.data.readers import Chunk, cell_fault
from tunebench.recipe.sources import Data, SplitFile
from tunebench.recipe.spec import Task

Cells = Mapping[str, Any]
"""Cells of one row by their column."""


class Fault(NamedTuple):
    """What is wrong with a cell: what it should hold (``text``, ``option 2``), its column, and the words."""

    role: str
    column: str
    words: str


class Reading(Protocol):
    """How the rows of a file are read."""

    @property
    def columns(self) -> dict[str, str]:
        """The columns that an item is made of, by the setting that names them."""

    @property
    def label(self) -> tuple[str, str]:
        """The setting and the column of the label."""

    def faults(self, cells: Cells) -> list[Fault]:
        """What is wrong with a row's cells; the label's is not looked at."""

    def label_fault(self, value: Any) -> str | None:
        """What is wrong with the cell of a label."""

    def item(self, cells: Cells) -> Item:
        """The item of a sound row, cleaned."""


@dataclass(frozen=True)
class TextReading:
    """A text in one column, a label of any name in another."""

    columns: dict[str, str]
    label: tuple[str, str]
    clean: Cleaner

    def faults(self, cells: Cells) -> list[Fault]:
        """A text that is empty, no text, or too long."""
        return [
            Fault("text", column, words) for column in self.columns.values() if (words := text_fault(cells[column], self.clean))
        ]

    def label_fault(self, value: Any) -> str | None:
        """A label that is empty or no name."""
        return cell_fault(value)

    def item(self, cells: Cells) -> Item:
        """The text."""
        (column,) = self.columns.values()
        return self.clean(str(cells[column]))


@dataclass(frozen=True)
class QuestionReading:
    """A passage, a question and the options in columns of their own; the label is the number of the right option."""

    columns: dict[str, str]
    label: tuple[str, str]
    clean: Cleaner

    @property
    def asked(self) -> Asked:
        """The columns by what they hold."""
        passage, question, *choices = self.columns.values()
        return Asked(passage, question, tuple(choices))

    def faults(self, cells: Cells) -> list[Fault]:
        """What is empty or no text, and options that are the same."""
        found = [
            Fault(role, column, words) for role, column in self.asked.roles() if (words := text_fault(cells[column], self.clean))
        ]
        return found + [Fault(*fault) for fault in option_faults(self.asked, cells, self.clean)]

    def label_fault(self, value: Any) -> str | None:
        """An answer that is no number of an option."""
        return cell_fault(value) or answer_fault(value, self.asked.choices)

    def item(self, cells: Cells) -> Item:
        """The question with its passage and options."""
        return question_of(self.asked, cells, self.clean)


def reading_of(data: Data, source: SplitFile, task: Task) -> Reading:
    """How the rows of a split are read; ``source`` names its columns where ``data`` does not.

    >>> reading_of(Data(train="t.csv"), SplitFile(file="t.csv", text="review"), "text-classification").columns
    {'text of this split': 'review'}
    """
    clean = cleaner(data.clean)
    if task != "multiple-choice":
        text, label = source.text or data.text, source.label or data.label
        return TextReading({_setting("text", text, data.text): text}, (_setting("label", label, data.label), label), clean)
    passage, question, answer = source.passage or data.passage, source.question or data.question, source.answer or data.answer
    choices, shared = source.choices or data.choices or [], data.choices or []
    columns = {_setting("passage", passage, data.passage): passage, _setting("question", question, data.question): question}
    columns |= {f"{_setting('choices', choices, shared)}, option {i}": name for i, name in enumerate(choices, 1)}
    return QuestionReading(columns, (_setting("answer", answer, data.answer), answer), clean)


def cells_at(chunk: Chunk, reading: Reading, place: int) -> dict[str, Any]:
    """The cells that an item is made of."""
    return {column: chunk.columns[column][place] for column in reading.columns.values()}


def items_in(chunk: Chunk, reading: Reading) -> tuple[list[Item | None], list[str | None]]:
    """The items of a chunk's rows, and for those that have none, what is wrong with them."""
    items: list[Item | None] = []
    errors: list[str | None] = []
    for i, error in enumerate(chunk.errors):
        cells = cells_at(chunk, reading, i)
        problem = error or "; ".join(told(fault) for fault in reading.faults(cells)) or None
        items.append(None if problem else reading.item(cells))
        errors.append(problem)
    return items, errors


def ids_in(chunk: Chunk, key: str | None) -> list[str]:
    """The ids of a chunk's rows: the cells of the column ``key`` as they stand, or the rows' numbers."""
    cells = chunk.columns[key] if key else range(chunk.first_row, chunk.first_row + len(chunk))
    return [label_name(cell) or "" for cell in cells]


def told(fault: Fault) -> str:
    """A fault in words for who sees one row: a row has one text, of options the column is named."""
    return f"the text {fault.words}" if fault.role == "text" else f"{fault.column!r} {fault.words}"


def _setting(key: str, column: Any, shared: Any) -> str:
    return f"data.{key}" if column == shared else f"{key} of this split"
