"""Decoders: answering, training and memory, each beside what people would run by hand; the sides take turns.

1. Answers per second: label words scored in one pass (float32, and 8-bit integers) against batch 1, ``generate`` with four new
   tokens and a search for a label in the text; with a bare prompt, and with some 1,000 tokens of examples before it.
2. Training tokens per second on the length mix of the texts, against a Trainer that pads to 512.
3. Peak memory of LoRA training at 8 x 512 tokens, against a Trainer, in processes of their own.

SmolLM2-135M-Instruct; texts of IMDb where that file is at hand (``--data``, or ``../shared/data/imdb_train.parquet``), else the
starter reviews. Prints tables and, last, one JSON object.

    python bench/llm.py [--parts answers,training,memory] [--rows 12] [--rounds 3] [--data FILE] [--gate]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import numpy as np
import torch
from llm_training import BASE, LABELS, LENGTH, TOKENS, Reviews, ours_per_second, recipe_of, trainers_per_second
from transformers import AutoTokenizer, GenerationConfig

from tunebench.data.tables import read_rows
from tunebench.model.int8 import to_int8
from tunebench.model.pretrained import load_pretrained
from tunebench.model.scoring import make_scorer, padding_id
from tunebench.predict.prompts import open_prompts
from tunebench.recipe.prompt import TEMPLATES
from tunebench.runs.bases import base_folder, locate

IMDB = Path(__file__).resolve().parents[2] / "shared" / "data" / "imdb_train.parquet"
WANTED = {"zero_shot": 1.8, "few_shot": 3.5, "training": 1.7, "memory": 0.7}
"""Ratios that are asked for; of memory at most, of the others at least."""
EXAMPLE_TOKENS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=12, help="rows per side and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", default="answers,training,memory")
    parser.add_argument("--data")
    parser.add_argument("--gate", action="store_true", help="exit 1 where the figures that are asked for are missed")
    args = parser.parse_args()
    path = Path(args.data or (IMDB if IMDB.is_file() else locate("starter:reviews")))
    pool = read_rows(path, recipe_of().data)
    names = sorted(set(pool.labels))
    reviews = Reviews([str(text) for text in pool.texts], [names.index(label) for label in pool.labels])
    found: dict[str, Any] = {"bench": "llm", "data": path.name, "rows": args.rows, "rounds": args.rounds}
    found["threads"] = torch.get_num_threads()
    parts = {"answers": answers, "training": training, "memory": memory}
    for name in args.parts.split(","):
        found |= parts[name](reviews, args)
    print(json.dumps(found))
    missed = [key for key, ratio in WANTED.items() if key in found and not _reached(key, found[key]["ratio_median"], ratio)]
    if args.gate and missed:
        sys.exit(f"missed: {', '.join(f'{key} {WANTED[key]}' for key in missed)}")


def _reached(key: str, ratio: float, wanted: float) -> bool:
    return ratio <= wanted if key == "memory" else ratio >= wanted


def answers(reviews: Reviews, args: argparse.Namespace) -> dict[str, Any]:
    """Rows per second of three ways to answer, with and without examples in the prompt."""
    folder = base_folder(BASE)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, _ = load_pretrained(folder, LABELS, "none")
    small = to_int8(load_pretrained(folder, LABELS, "none")[0])
    lengths = [len(ids) for ids in tokenizer(reviews.texts[:4000])["input_ids"]]
    usual = [i for i, length in enumerate(lengths) if 200 <= length <= 300]
    found: dict[str, Any] = {}
    for name, examples in (("zero_shot", ""), ("few_shot", _examples(reviews, tokenizer))):
        template = examples + TEMPLATES["imdb-review"].text
        recipe = recipe_of(template, 512 if not examples else 512 + EXAMPLE_TOKENS + 100)
        sides: dict[str, Callable[[Sequence[str]], list[int | None]]] = {
            "generate": lambda texts, r=recipe: _by_hand(model, tokenizer, folder, r, texts),
            "score": lambda texts, r=recipe: _scored(make_scorer(model, r, folder, LABELS), texts),
            "score int8": lambda texts, r=recipe: _scored(make_scorer(small, r, folder, LABELS, batch_size=1), texts),
        }
        rates, given = _take_turns(sides, [[reviews.texts[i] for i in draw] for draw in _draws(usual, args)], name)
        flips = sum(one != other for one, other in zip(given["score"], given["score int8"], strict=True))
        found[name] = _summary([row["score int8"] / row["generate"] for row in rates]) | {
            "float32_ratio_median": _median(row["score"] / row["generate"] for row in rates),
            "rows_per_second": {side: _median(row[side] for row in rates) for side in sides},
            "invalid": {side: given[side].count(None) for side in sides},
            "int8_flips": flips,
            "answers": len(given["score"]),
        }
    return found


def _take_turns(
    sides: dict[str, Callable[[Sequence[str]], list[int | None]]], draws: list[list[str]], name: str
) -> tuple[list[dict[str, float]], dict[str, list[int | None]]]:
    print(f"\n{name}: rows per second\n{'round':>5}" + "".join(f"{side:>12}" for side in sides), flush=True)
    rates: list[dict[str, float]] = []
    given: dict[str, list[int | None]] = {side: [] for side in sides}
    for number, texts in enumerate(draws):
        row: dict[str, float] = {}
        for side in sorted(sides, reverse=number % 2 == 1):
            begun = time.perf_counter()
            given[side] += sides[side](texts)
            row[side] = len(texts) / (time.perf_counter() - begun)
        rates.append(row)
        print(f"{number + 1:>5}" + "".join(f"{row[side]:>12.3f}" for side in sides), flush=True)
    return rates, given


def _by_hand(model: Any, tokenizer: Any, folder: Path, recipe: Any, texts: Sequence[str]) -> list[int | None]:
    """Each prompt alone: four tokens are written, and a label looked for in them."""
    base = recipe.base
    prompts = open_prompts(folder, base.max_length, "right", recipe.asked, LABELS, recipe.task)
    config = GenerationConfig(do_sample=False, max_new_tokens=4, pad_token_id=padding_id(model), eos_token_id=prompts.end)
    found: list[int | None] = []
    for ids in prompts.encode(texts).ids:
        row = torch.tensor([ids])
        with torch.no_grad():
            output = model.generate(input_ids=row, attention_mask=torch.ones_like(row), generation_config=config)
        text = tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True).strip().lower()
        named = [i for i, word in enumerate(prompts.words) if word in text]
        found.append(named[0] if len(named) == 1 else None)
    return found


def _scored(scorer: Any, texts: Sequence[str]) -> list[int | None]:
    return [int(i) for i in scorer.score(texts).logits.argmax(1)]


def _examples(reviews: Reviews, tokenizer: Any) -> str:
    """Some reviews with their answers, of about ``EXAMPLE_TOKENS`` tokens."""
    text, number = "", 0
    while number < len(reviews.texts) and len(tokenizer(text)["input_ids"]) < EXAMPLE_TOKENS:
        shown = " ".join(reviews.texts[number].replace("{", "(").replace("}", ")").split()[:80])
        text += f"Review:\n{shown}\n\nAnswer (positive or negative): {LABELS.names[reviews.labels[number]]}\n\n"
        number += 1
    return text


def training(reviews: Reviews, args: argparse.Namespace) -> dict[str, Any]:
    """Real tokens per second of one pass over rows of the texts' own lengths."""
    rates = []
    print(
        f"\ntraining: real tokens per second, texts of up to {LENGTH} tokens\n{'round':>5}{'tunebench':>12}{'Trainer':>12}",
        flush=True,
    )
    for number, draw in enumerate(_draws(range(len(reviews.texts)), args, 2 * args.rows)):
        rows = reviews.take(draw)
        sides = {"ours": ours_per_second, "theirs": trainers_per_second}
        row = {side: sides[side](rows, number) for side in sorted(sides, reverse=number % 2 == 1)}
        rates.append(row)
        print(f"{number + 1:>5}{row['ours']:>12.1f}{row['theirs']:>12.1f}", flush=True)
    about = {"tokens_per_second": _median(row["ours"] for row in rates), "trainer": _median(row["theirs"] for row in rates)}
    return {"training": _summary([row["ours"] / row["theirs"] for row in rates]) | about}


def memory(reviews: Reviews, args: argparse.Namespace) -> dict[str, Any]:
    """Peak resident memory of two steps of 8 x 512 tokens, each side in a process of its own."""
    print(f"\nmemory: peak MiB of two steps of {TOKENS}, {args.rounds} rounds", flush=True)
    sides = ("ours", "checkpointing", "trainer")
    peaks: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(args.rounds):
        for side in sides if number % 2 == 0 else sides[::-1]:
            command = [sys.executable, str(Path(__file__).with_name("llm_training.py")), side]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            peaks[side].append(json.loads(done.stdout.splitlines()[-1])["peak_mib"])
            print(f"{number + 1:>5}  {side:<14}{peaks[side][-1]:>8.0f}", flush=True)
    ratios = [mine / theirs for mine, theirs in zip(peaks["ours"], peaks["trainer"], strict=True)]
    less = _median(mine / theirs for mine, theirs in zip(peaks["checkpointing"], peaks["trainer"], strict=True))
    return {
        "memory": _summary(ratios) | {"checkpointing_ratio": less, "peak_mib": {side: _median(peaks[side]) for side in sides}}
    }


def _draws(places: Sequence[int], args: argparse.Namespace, number: int | None = None) -> list[list[int]]:
    return [random.Random(i).sample(list(places), min(number or args.rows, len(places))) for i in range(args.rounds)]


def _summary(ratios: Sequence[float]) -> dict[str, float]:
    return {"ratio_median": _median(ratios), "ratio_min": round(min(ratios), 3), "ratio_max": round(max(ratios), 3)}


def _median(values: Any) -> float:
    return round(float(np.median(list(values))), 3)


if __name__ == "__main__":
    main()
