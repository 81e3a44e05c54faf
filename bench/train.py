"""Training examples per second: tunebench's loop against a plain Hugging Face Trainer that pads to max_length.

Same base (MiniLM), same LoRA, same rows, same batch size, float32; the two sides take turns within one process, so
that a machine whose speed drifts drifts for both. The rows have the length mix of IMDb where that file is at hand
(``--data``, or ``../shared/data/imdb_train.parquet``), else that of the starter reviews. Prints a table and, last,
one JSON object.

    python bench/train.py [--rows 96] [--rounds 3] [--batch-size 16] [--max-length 512] [--data FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from tunebench.data.labels import make_label_map
from tunebench.data.rows import Rows
from tunebench.data.tables import read_rows
from tunebench.events import Step
from tunebench.model.bundle import compose
from tunebench.model.objectives import Classifying, Examples
from tunebench.predict.plan import padding_factor, training_plan
from tunebench.predict.tokenize import TextEncoder
from tunebench.recipe.load import validate
from tunebench.recipe.resolve import resolve
from tunebench.recipe.spec import Recipe
from tunebench.runs.bases import base_folder, locate
from tunebench.train.loop import Job, fit

IMDB = Path(__file__).resolve().parents[2] / "shared" / "data" / "imdb_train.parquet"
PLAN_ROWS = 4000
LEAST_RATIO = 1.7
MOST_PADDING = 1.05


class Clock(TrainerCallback):
    """Seconds from the first to the last step of a Trainer, its own set-up left out."""

    seconds = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.seconds = -time.perf_counter()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.seconds += time.perf_counter()


def bench_recipe(args: argparse.Namespace) -> Recipe:
    """LoRA on MiniLM's query and value, as both sides train it."""
    settings = {
        "name": "bench",
        "base": {"model": "starter:minilm", "max_length": args.max_length},
        "data": {"train": "-"},
        "method": {"kind": "lora", "lora_dropout": 0.1},
        "train": {"eval_strategy": "no", "num_train_epochs": 1, "per_device_train_batch_size": args.batch_size},
    }
    return resolve(validate(settings, "bench"), "bert")


def ours(recipe: Recipe, examples: Examples, seed: int) -> float:
    """Examples per second of ``fit`` over one epoch."""
    model, _ = compose(recipe, LABELS, seed)
    job = Job(
        model=model,
        objective=Classifying("cls", 0, examples, None, num_labels=2, positive_id=1),
        settings=recipe.settings,
        seed=seed,
    )
    last = [event for event in fit(job) if isinstance(event, Step)][-1]
    return len(examples.ids) / last.seconds


def trainers(recipe: Recipe, examples: Examples, seed: int, max_length: int) -> float:
    """Examples per second of the Trainer over one epoch, every text padded to ``max_length``."""
    model, _ = compose(recipe, LABELS, seed)
    padded = [
        {
            "input_ids": ids + [0] * (max_length - len(ids)),
            "attention_mask": [1] * len(ids) + [0] * (max_length - len(ids)),
            "labels": label,
        }
        for ids, label in zip(examples.ids, examples.labels, strict=True)
    ]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=recipe.settings.per_device_train_batch_size,
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
    return len(examples.ids) / clock.seconds


def read_examples(args: argparse.Namespace, recipe: Recipe) -> tuple[str, Examples]:
    """Tokenized rows, at most ``PLAN_ROWS``, and where they came from."""
    path = args.data or (IMDB if IMDB.is_file() else locate("starter:reviews"))
    rows: Rows = read_rows(Path(path), recipe.data)
    drawn = rows.take(random.Random(0).sample(range(len(rows)), min(PLAN_ROWS, len(rows))))
    assert recipe.base is not None
    encoded = TextEncoder(base_folder(recipe.base), args.max_length).encode(drawn.texts)
    names = sorted(set(drawn.labels))
    return Path(path).name, Examples(encoded.ids, [names.index(label) for label in drawn.labels])


LABELS = make_label_map(["negative", "positive"], None, {}, "bench")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, value in (("--rows", 96), ("--rounds", 3), ("--batch-size", 16), ("--max-length", 512)):
        parser.add_argument(name, type=int, default=value)
    parser.add_argument("--data")
    parser.add_argument("--gate", action="store_true", help="exit 1 where the figures that are asked for are missed")
    args = parser.parse_args()
    recipe = bench_recipe(args)
    source, pool = read_examples(args, recipe)
    plan = training_plan(pool.lengths, seed=0, epoch=0, batch_size=args.batch_size)
    factor = padding_factor(pool.lengths, [micro.rows for step in plan for micro in step.micros])
    print(
        f"{source}: {len(pool.ids)} texts, mean {statistics.mean(pool.lengths):.0f} tokens at max_length {args.max_length}; "
        f"padding factor {factor:.3f} (padded to max_length: {args.max_length * len(pool.ids) / sum(pool.lengths):.2f}); "
        f"{torch.get_num_threads()} threads"
    )
    print(f"{'round':>5}  {'tunebench ex/s':>14}  {'Trainer ex/s':>12}  {'ratio':>6}")
    results: list[tuple[float, float]] = []
    for number in range(args.rounds):
        places = random.Random(number).sample(range(len(pool.ids)), min(args.rows, len(pool.ids)))
        drawn = Examples([pool.ids[i] for i in places], [pool.labels[i] for i in places])
        sides = [lambda d=drawn, n=number: ours(recipe, d, n), lambda d=drawn, n=number: trainers(recipe, d, n, args.max_length)]
        order = (0, 1) if number % 2 == 0 else (1, 0)
        found = {side: sides[side]() for side in order}
        results.append((found[0], found[1]))
        print(f"{number + 1:>5}  {found[0]:>14.2f}  {found[1]:>12.2f}  {found[0] / found[1]:>6.2f}", flush=True)
    ratios = [mine / theirs for mine, theirs in results]
    summary = {
        "bench": "train",
        "data": source,
        "rows": args.rows,
        "rounds": args.rounds,
        "batch_size": args.batch_size,
        "max_length": args.max_length,
        "padding_factor": round(factor, 4),
        "examples_per_second": round(statistics.median(mine for mine, _ in results), 3),
        "trainer_examples_per_second": round(statistics.median(theirs for _, theirs in results), 3),
        "ratio_median": round(statistics.median(ratios), 3),
        "ratio_min": round(min(ratios), 3),
        "ratio_max": round(max(ratios), 3),
    }
    print(f"median ratio {summary['ratio_median']} (lowest {summary['ratio_min']}, highest {summary['ratio_max']})")
    print(json.dumps(summary))
    if args.gate and (summary["ratio_median"] < LEAST_RATIO or factor > MOST_PADDING):
        sys.exit(f"missed: at least {LEAST_RATIO} times the Trainer and a padding factor of at most {MOST_PADDING} are asked for")


if __name__ == "__main__":
    main()
