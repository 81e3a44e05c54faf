"""How long the items of a recipe are for its base, as its task puts them before the model. No torch."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tunebench.data.audit import Ruler
from tunebench.data.items import Item, flat
from tunebench.data.labels import LabelMap, make_label_map, numbered_label_map
from tunebench.data.shingles import count_words
from tunebench.predict.documents import WritingEncoder
from tunebench.predict.prompts import open_prompts
from tunebench.predict.spelling import Speller
from tunebench.predict.tokenize import TextEncoder
from tunebench.recipe.spec import PROMPT_TASKS, TEXT_TASKS, Recipe

Lengths = Callable[[Sequence[Any]], list[int]]


def open_lengths(recipe: Recipe, folder: Path, labels: Sequence[str]) -> Lengths:
    """What counts the tokens of items before anything is cut: texts, prompts with their longest answer, documents.

    ``labels`` are those of the training rows. Raises InputError where the tokenizer does not fit, or label words do not.
    """
    if recipe.task in PROMPT_TASKS:
        return _prompt_lengths(recipe, folder, labels)
    if recipe.task in TEXT_TASKS:
        return _written_lengths(WritingEncoder(folder, sys.maxsize))
    whole = TextEncoder(folder, sys.maxsize)
    return lambda texts: whole.encode(texts).lengths


def open_ruler(recipe: Recipe, folder: Path | None, labels: Sequence[str]) -> Ruler:
    """How `check` measures: in tokens of the base in ``folder``, in words without one. Documents are not cut, they go on."""
    if folder is None or recipe.base is None:
        return Ruler("words", None, lambda items: count_words([flat(item) for item in items]))
    most = None if recipe.task == "language-modeling" else recipe.base.max_length
    return Ruler("tokens", most, open_lengths(recipe, folder, labels), Speller(folder).count)


def _prompt_lengths(recipe: Recipe, folder: Path, labels: Sequence[str]) -> Lengths:
    assert recipe.base is not None
    encoder = open_prompts(folder, sys.maxsize, "right", recipe.asked, _label_map(recipe, labels), recipe.task)
    beside = sys.maxsize - encoder.room
    return lambda items: [length + beside for length in encoder.encode(items).lengths]


def _written_lengths(encoder: WritingEncoder) -> Lengths:
    def lengths(items: Sequence[Item]) -> list[int]:
        found = encoder.encode(items)
        by_item = Counter[int]()
        for owner, ids in zip(found.owners, found.rows.ids, strict=True):
            by_item[owner] += len(ids)
        return [by_item[number] for number in range(len(items))]

    return lengths


def _label_map(recipe: Recipe, labels: Sequence[str]) -> LabelMap:
    if recipe.task == "multiple-choice":
        source = recipe.data.source("train")
        assert source is not None
        return numbered_label_map(len(source.choices or ()), None, {})
    return make_label_map(labels, recipe.data.positive_label, {}, "data")
