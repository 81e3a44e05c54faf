"""What a model answers with, task by task: a scorer over a model in memory or over a run's files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from tunebench.data.items import Item, Question
from tunebench.data.labels import LabelMap
from tunebench.errors import InputError
from tunebench.model.causal import AnswerBackend
from tunebench.model.generation import generate
from tunebench.model.objectives import row_losses
from tunebench.model.torch_backend import TorchBackend
from tunebench.predict.documents import WritingEncoder
from tunebench.predict.perplexity import Losses
from tunebench.predict.prompts import PromptEncoder, content_free, invalid_answer, open_prompts, parse_answer
from tunebench.predict.scorers import Scorer, Scores, TokenScorer
from tunebench.predict.tokenize import TextEncoder
from tunebench.recipe.prompt import Prompt
from tunebench.recipe.spec import PROMPT_TASKS, TEXT_TASKS, Recipe


def make_scorer(model: nn.Module, recipe: Recipe, tokenizer: Path, labels: LabelMap, batch_size: int | None = None) -> Scorer:
    """What answers for a recipe, over a model in memory and the tokenizer of a folder."""
    assert recipe.base is not None
    base, size = recipe.base, batch_size or recipe.settings.per_device_eval_batch_size
    if base.quantization == "int8":
        size = 1  # bitsandbytes rounds by the columns of a whole batch: rows would change each other
    pad_id = padding_id(model)
    if recipe.task in TEXT_TASKS:
        return WritingScorer(model, WritingEncoder(tokenizer, base.max_length), pad_id, size)
    if recipe.task not in PROMPT_TASKS:
        encoder = TextEncoder(tokenizer, base.max_length, base.truncation_side)
        return TokenScorer(encoder, TorchBackend(model, base.pooling, pad_id), len(labels.names), size)
    prompts = open_prompts(tokenizer, base.max_length, base.truncation_side, recipe.asked, labels, recipe.task)
    if recipe.asked.decode == "generate":
        return GeneratingScorer(model, prompts, pad_id, size, recipe.asked, labels, recipe.task)
    return answer_scorer(model, prompts, pad_id, size, recipe)


def answer_scorer(model: nn.Module, prompts: PromptEncoder, pad_id: int, batch_size: int, recipe: Recipe) -> Scorer:
    """Scores every answer, calibrated and over all orders of the options where the recipe asks for it."""
    backend, number = AnswerBackend(model, pad_id, prompts.answers, prompts.prefix), len(prompts.words)
    scorer: Scorer = TokenScorer(prompts, backend, number, batch_size)
    if recipe.asked.contextual_calibration:
        scorer = CalibratedScorer(scorer, content_free(recipe.task, number))
    return RotatingScorer(scorer, number) if recipe.asked.average_orders else scorer


def scoring(recipe: Recipe) -> Recipe:
    """The recipe with answers scored instead of written: what a proof compares."""
    if recipe.task not in PROMPT_TASKS:
        return recipe
    return recipe.model_copy(update={"prompt": recipe.asked.model_copy(update={"decode": "score", "on_invalid": "error"})})


def padding_id(model: nn.Module) -> int:
    """The id that fills up a batch; InputError where the model's config names none."""
    config: Any = model.config
    if getattr(config, "pad_token_id", None) is None:
        raise InputError("base.model", "its config names no pad_token_id, so texts of unequal length cannot share a batch")
    return int(config.pad_token_id)


class CalibratedScorer:
    """Contextual calibration (Zhao et al. 2021): less what an answer gets after prompts without content."""

    def __init__(self, scorer: Scorer, without_content: Sequence[str | Question]) -> None:
        self._scorer, self._items = scorer, list(without_content)
        self._preference: np.ndarray | None = None

    def score(self, items: Sequence[Any], /) -> Scores:
        """Logits whose probabilities are divided by those of items that say nothing."""
        if self._preference is None:
            self._preference = np.log(self._scorer.score(self._items).probabilities.mean(axis=0))
        found = self._scorer.score(items)
        return Scores((found.logits - self._preference).astype(np.float32), found.truncated, found.errors)


class RotatingScorer:
    """Every rotation of a question's options is scored, and an option's log-probabilities averaged: no place is preferred."""

    def __init__(self, scorer: Scorer, number: int) -> None:
        self._scorer, self._number = scorer, number

    def score(self, items: Sequence[Question], /) -> Scores:
        """Logits of all questions, in the order their options have."""
        turns, number = range(self._number), len(items)
        turned = [item._replace(choices=item.choices[turn:] + item.choices[:turn]) for turn in turns for item in items]
        found = self._scorer.score(turned)
        logs = np.log(found.probabilities).reshape(self._number, number, self._number)
        back = np.stack([np.roll(logs[turn], turn, axis=1) for turn in turns])
        truncated = [any(found.truncated[place::number]) for place in range(number)]
        errors = None
        if found.errors is not None:
            by_turn = [found.errors[turn * number : (turn + 1) * number] for turn in turns]
            errors = [next(filter(None, column), None) for column in zip(*by_turn, strict=True)]
        return Scores(back.mean(axis=0).astype(np.float32), truncated, errors)


class GeneratingScorer:
    """The answer is written, greedily, and looked for in what was written; what cannot be read is invalid, and counted."""

    def __init__(
        self, model: nn.Module, prompts: PromptEncoder, pad_id: int, batch_size: int, prompt: Prompt, labels: LabelMap, task: str
    ) -> None:
        self._model, self._prompts, self._pad_id, self._batch_size = model, prompts, pad_id, batch_size
        self._prompt, self._task = prompt, task
        self._fallback = invalid_answer(prompt, labels)

    def score(self, items: Sequence[Any], /) -> Scores:
        """Answers of all items, in order."""
        encoded, most = self._prompts.encode(items), self._prompt.max_new_tokens
        written = generate(self._model, encoded.ids, self._pad_id, self._prompts.end, most, self._batch_size)
        texts = [self._prompts.decode(ids) for ids in written]
        read = [parse_answer(text, self._prompts.words, self._task) for text in texts]
        sound = [bool(ids) for ids in encoded.ids]
        invalid = [ok and answer is None for ok, answer in zip(sound, read, strict=True)]
        answers = [self._fallback if bad else answer for answer, bad in zip(read, invalid, strict=True)]
        logits = np.full((len(texts), len(self._prompts.words)), np.nan, dtype=np.float32)
        return Scores(logits, encoded.truncated, encoded.errors, answers, texts, invalid)


class WritingScorer:
    """How well texts are predicted, for tasks without labels."""

    def __init__(self, model: nn.Module, encoder: WritingEncoder, pad_id: int, batch_size: int) -> None:
        self.model, self._encoder, self._pad_id, self._batch_size = model, encoder, pad_id, batch_size

    def measure(self, items: Sequence[Item]) -> Losses:
        """Losses, tokens and characters of all items, in order."""
        found, number = self._encoder.encode(items), len(items)
        sums = np.bincount(found.owners, row_losses(self.model, found.rows, self._pad_id, self._batch_size), number)
        tokens = np.bincount(found.owners, found.rows.counts, number)
        return Losses(sums, tokens.astype(np.int64), np.array(found.characters), found.truncated, found.errors)

    def score(self, items: Sequence[Item], /) -> Scores:
        """Mean log-probability per token ``(N, 1)``: what a proof compares."""
        losses = self.measure(items)
        means = -losses.sums / np.maximum(1, losses.tokens)
        return Scores(means[:, None].astype(np.float32), losses.truncated, losses.errors)
