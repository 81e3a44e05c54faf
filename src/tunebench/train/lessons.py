"""From a recipe's rows to what the loop learns from: tokenized before any weights are read, so that bad input fails first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebench.data.dataset import Dataset
from tunebench.data.rows import Rows
from tunebench.data.weights import label_weights
from tunebench.errors import InputError
from tunebench.model.causal import AnswerBackend
from tunebench.model.objectives import Answering, Classifying, Examples, Objective, Writing
from tunebench.model.scoring import padding_id
from tunebench.predict.documents import Sequences, WritingEncoder, Written, packed
from tunebench.predict.prompts import PromptEncoder, open_prompts, refuse_unfit
from tunebench.predict.tokenize import Encoded, TextEncoder
from tunebench.recipe.spec import PROMPT_TASKS, TEXT_TASKS, Recipe


@dataclass(frozen=True)
class Lesson:
    """Tokenized rows, waiting for their model; and what to warn of."""

    objective: Callable[[Any], Objective]
    warnings: list[str]


def make_lesson(recipe: Recipe, data: Dataset, folder: Path) -> Lesson:
    """The lesson of a recipe's task; ``folder`` holds the base's tokenizer. InputError where nothing is left to learn."""
    if recipe.task in TEXT_TASKS:
        return _writing(recipe, data, folder)
    return _answering(recipe, data, folder) if recipe.task in PROMPT_TASKS else _classifying(recipe, data, folder)


def _classifying(recipe: Recipe, data: Dataset, folder: Path) -> Lesson:
    assert recipe.base is not None
    base, labels = recipe.base, data.labels
    encoder = TextEncoder(folder, base.max_length, base.truncation_side)
    train = encoder.encode([str(text) for text in data.train.texts])
    validation = None
    if data.validation:
        validation = _examples(encoder.encode([str(text) for text in data.validation.texts]), data.validation, data)

    def objective(model: Any) -> Objective:
        return Classifying(
            pooling=base.pooling,
            pad_id=padding_id(model),
            train=_examples(train, data.train, data),
            validation=validation,
            num_labels=len(labels.names),
            positive_id=labels.positive_id,
            label_weights=label_weights(recipe.settings.class_weight, labels, data.train.labels),
        )

    return Lesson(objective, _truncation(data.train, train.truncated, base.max_length))


def _answering(recipe: Recipe, data: Dataset, folder: Path) -> Lesson:
    assert recipe.base is not None
    base, labels = recipe.base, data.labels
    prompts = open_prompts(folder, base.max_length, base.truncation_side, recipe.asked, labels, recipe.task)
    train = prompts.encode(data.train.texts)
    refuse_unfit("train", data.train.ids, train)
    validation = None
    if data.validation:
        encoded = prompts.encode(data.validation.texts)
        refuse_unfit("validation", data.validation.ids, encoded)
        validation = _examples(encoded, data.validation, data)

    def objective(model: Any) -> Objective:
        asked = _examples(train, data.train, data)
        backend = AnswerBackend(model, padding_id(model), prompts.answers, prompts.prefix)
        answered = with_answers(prompts, asked)
        return Answering(answered, asked, validation, backend, labels.positive_id, model.config.vocab_size)

    return Lesson(objective, _truncation(data.train, train.truncated, base.max_length))


def _writing(recipe: Recipe, data: Dataset, folder: Path) -> Lesson:
    assert recipe.base is not None
    encoder = WritingEncoder(folder, recipe.base.max_length)
    written = {name: encoder.encode(rows.texts) for name, rows in data.splits().items()}
    for name, found in written.items():
        if not found.rows.ids:  # of the test rows too: nothing could be scored at the end
            raise InputError(f"data.{name}", f"no row is left: {found.errors[0]}; give others, or raise base.max_length")
    train, validation = written["train"], written.get("validation")
    rows = packed(train.rows, recipe.base.max_length) if recipe.settings.packing else train.rows

    def objective(model: Any) -> Objective:
        return Writing(rows, validation.rows if validation else None, padding_id(model), model.config.vocab_size)

    return Lesson(objective, _lost(train, recipe.base.max_length))


def with_answers(prompts: PromptEncoder, asked: Examples) -> Sequences:
    """Prompts with their answers and the end of text; the answers are to be predicted."""
    ids = [[*row, *prompts.answers[label], *prompts.end] for row, label in zip(asked.ids, asked.labels, strict=True)]
    return Sequences(ids, [[(len(row), len(whole))] for row, whole in zip(asked.ids, ids, strict=True)])


def _examples(encoded: Encoded, rows: Rows, data: Dataset) -> Examples:
    return Examples(encoded.ids, data.labels.ids(rows.labels))


def _lost(written: Written, max_length: int) -> list[str]:
    """Words about rows that lost an answer, or a part of one."""
    refused, cut, number = sum(map(bool, written.errors)), sum(written.truncated), len(written.errors)
    found = (
        [f"{refused:,} of {number:,} training rows are left out: no answer is left within {max_length} tokens"] if refused else []
    )
    if cut > refused:
        found.append(f"{cut - refused:,} of {number:,} training rows are cut at {max_length} tokens, within or behind an answer")
    return [f"{line}; raise base.max_length" for line in found]


def _truncation(rows: Rows, cut: Sequence[bool], max_length: int) -> list[str]:
    """Words about the training texts that lose tokens, and the label that loses most."""
    if not any(cut):
        return []
    total, by_label = Counter(rows.labels), Counter(label for label, lost in zip(rows.labels, cut, strict=True) if lost)
    worst = max(by_label, key=lambda label: (by_label[label] / total[label], label))
    share = sum(cut) / len(cut)
    found = f"{sum(cut):,} of {len(cut):,} training texts ({share:.0%}) are cut at {max_length} tokens"
    found += f", most often those of {worst!r} ({by_label[worst] / total[worst]:.0%})"
    return [f"{found}; raise base.max_length, or set base.truncation_side to what may go" if share > 0.5 else found]
