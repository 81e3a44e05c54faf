"""Predictions per second of a tuned MiniLM on IMDb's real texts: what people run by hand, ours, and every export; all take turns.

1. Rows per second: torch in float32 on batches of 32 padded to 512 (the seed's loop), the Hugging Face pipeline at its defaults,
   the run as it was scored, and its exports; with the accuracy of each on the same rows and the labels that flip.
2. One review at a time: p50 and p99 beside the same model in torch.
3. `tunebench predict --text` in a new process: seconds and peak memory.

The run is ``--run``, or one that is trained shortly into ``TUNEBENCH_HOME/bench``. Exports that it lacks are made. Texts of
IMDb where those files are at hand (``--data FOLDER``, or ``../shared/data``), else the starter reviews. Prints tables and, last,
one JSON object.

    python bench/infer.py [--run PATH] [--rows 64] [--rounds 5] [--singles 60] [--data FOLDER] [--gate]
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
from transformers import AutoTokenizer, logging, pipeline
from transformers.modeling_outputs import SequenceClassifierOutput

from tunebench import exporting, jobs
from tunebench.data.cleaning import cleaner
from tunebench.data.tables import read_rows
from tunebench.errors import TunebenchError
from tunebench.model.export import merged_model
from tunebench.recipe.sources import Data
from tunebench.runs import exports
from tunebench.runs.bases import locate
from tunebench.runs.cache import cache_root, write_atomic
from tunebench.runs.index import find_run
from tunebench.runs.run import Run
from tunebench.training import open_scorer

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
BEST = "onnx-int8"
LENGTH, BATCH = 512, 32
WANTED = {"seed": 4.5, "pipeline": 2.3, "lost": 0.004, "p50": 0.5, "seconds": 1.5, "bytes": 450e6}
"""Ratios of rows per second, at least; lost accuracy, latency of single reviews, seconds and memory of a new process, at most."""
RECIPE = """name: infer
seed: 42
base: {{model: "starter:minilm", max_length: 512, pooling: mean}}
data: {{train: "{train}", test: "{test}", validation: {{fraction: 0.1}}, max_train_samples: 2000, clean: {{html: strip}}}}
method: {{kind: lora, r: 16, lora_alpha: 32, lora_dropout: 0.0, target_modules: all-linear, use_rslora: true}}
train: {{num_train_epochs: 1, learning_rate: 1e-3, per_device_train_batch_size: 16, save_strategy: time}}
"""
STARTER = """
import json, resource, subprocess, sys, time
begun = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(json.dumps([time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""
"""A process counts the peak of the one that it was forked from as its own, so a small one starts what is measured."""
Side = Callable[[Sequence[str]], list[int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", help="a tuned run; one is trained shortly without it")
    parser.add_argument("--rows", type=int, default=64, help="rows per side and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--singles", type=int, default=60, help="reviews that are answered one at a time")
    parser.add_argument("--data", type=Path, default=SHARED, help="folder with imdb_train.parquet and imdb_test.parquet")
    parser.add_argument("--gate", action="store_true", help="exit 1 where the figures that are asked for are missed")
    args = parser.parse_args()
    run = find_run(args.run, Path("runs")) if args.run else trained(args.data)
    forms = with_exports(run)
    texts, labels = reviews(run, args.data)
    torchs = Torch(run)
    found: dict[str, Any] = {"bench": "infer", "run": run.name, "threads": torch.get_num_threads(), "rounds": args.rounds}
    sides: dict[str, Side] = {"seed": torchs.padded, "pipeline": torchs.piped}
    sides |= {name: scored(run, name) for name in forms}
    found["rows_per_second"] = rates(sides, texts, labels, args)
    found["single"] = singles({"eager": torchs.alone} | {name: sides[name] for name in forms}, texts[: args.singles])
    found["cold"] = cold(run, texts[0], args.rounds)
    missed = shortfalls(found)
    print(json.dumps(found | {"missed": missed}))
    if args.gate and missed:
        sys.exit(f"missed: {', '.join(missed)}")


def trained(folder: Path) -> Run:
    """A run that is trained once and kept."""
    imdb = folder / "imdb_train.parquet"
    files = (imdb, folder / "imdb_test.parquet") if imdb.is_file() else (locate("starter:reviews"),) * 2
    home = cache_root() / "bench"
    write_atomic(home / "infer.yaml", RECIPE.format(train=files[0], test=files[1]))
    changes = [] if imdb.is_file() else ["data.test={fraction: 0.1}"]
    return jobs.train(str(home / "infer.yaml"), changes, home / "runs", lambda event: None, test=False).run


def with_exports(run: Run) -> list[str]:
    """The forms that are measured, after the exports that are lacking were made; one that cannot be is said and left out."""
    for name in exports.ENGINES:
        try:
            begun = time.perf_counter()
            told = exporting.export_run(run, name, lambda event: None)
            accuracy = {side: round(scores["accuracy"]["value"], 4) for side, scores in told["scores"].items()}
            seconds = time.perf_counter() - begun
            print(f"{name}: {told['label_flips']} of {told['rows']} labels flip, accuracy {accuracy}, {seconds:.0f} s")
        except TunebenchError as error:
            print(f"{name} is left out: {error}")
    known = exports.forms(run)
    return ["torch", *(name for name in exports.ENGINES if name in known)]


def reviews(run: Run, folder: Path) -> tuple[list[str], list[int]]:
    """Test reviews in a fixed random order, cleaned as the run wants them, with the ids of their labels."""
    path = folder / "imdb_test.parquet"
    rows = read_rows(path if path.is_file() else locate("starter:reviews"), Data(train="-"))
    names, clean = run.manifest["labels"]["names"], cleaner(run.recipe.data.clean)
    order = random.Random(1).sample(range(len(rows)), min(4000, len(rows)))
    return [clean(str(rows.texts[i])) for i in order], [names.index(rows.labels[i]) for i in order]


class Torch:
    """The merged model in float32 as people run it by hand."""

    def __init__(self, run: Run) -> None:
        assert run.recipe.base is not None
        self.model, self.tokenizer = merged_model(run), AutoTokenizer.from_pretrained(str(run.weights))
        if run.recipe.base.pooling == "mean":
            self.model.forward = self._pooled(self.model.forward)
        logging.set_verbosity(logging.CRITICAL)  # the pipeline lists all classes that it knows as an error
        self._pipeline = pipeline("text-classification", model=self.model, tokenizer=self.tokenizer, device="cpu")
        self._names = list(self.model.config.id2label.values())

    @staticmethod
    def _pooled(forward: Callable[..., Any]) -> Callable[..., Any]:
        """A token's logits, averaged: what the pipeline takes for a classifier of texts."""

        def pooled(input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None) -> Any:
            logits = forward(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).logits
            mask = attention_mask.unsqueeze(-1)
            return SequenceClassifierOutput(logits=(logits * mask).sum(1) / mask.sum(1))

        return pooled

    def padded(self, texts: Sequence[str]) -> list[int]:
        """The seed's loop."""
        return [i for at in range(0, len(texts), BATCH) for i in self._answer(texts[at : at + BATCH], "max_length")]

    def alone(self, texts: Sequence[str]) -> list[int]:
        """One by one, without padding."""
        return [i for text in texts for i in self._answer([text], "longest")]

    def piped(self, texts: Sequence[str]) -> list[int]:
        """The pipeline, which takes texts one by one unless it is told otherwise."""
        return [self._names.index(item["label"]) for item in self._pipeline(list(texts), truncation=True, max_length=LENGTH)]

    @torch.inference_mode()
    def _answer(self, texts: Sequence[str], padding: str) -> list[int]:
        batch = self.tokenizer(list(texts), padding=padding, truncation=True, max_length=LENGTH, return_tensors="pt")
        return [int(i) for i in self.model(**batch).logits.argmax(1)]


def scored(run: Run, name: str) -> Side:
    """One of the run's own forms."""
    scorer = open_scorer(run, name)
    return lambda texts: [int(i) for i in scorer.score(list(texts)).logits.argmax(1)]


def rates(sides: dict[str, Side], texts: Sequence[str], labels: Sequence[int], args: argparse.Namespace) -> dict[str, Any]:
    """Rows per second of every side, and how right each was on the same rows."""
    print(
        f"\nrows per second, {args.rows} reviews a side and round\n{'round':>5}" + "".join(f"{side:>15}" for side in sides),
        flush=True,
    )
    seen: list[dict[str, float]] = []
    given: dict[str, list[int]] = {side: [] for side in sides}
    for answer in sides.values():
        answer(texts[-2:])  # engines prepare at their first rows
    for number in range(args.rounds):
        part, row = texts[number * args.rows : (number + 1) * args.rows], {}
        for side in list(sides)[:: 1 if number % 2 == 0 else -1]:
            begun = time.perf_counter()
            given[side] += sides[side](part)
            row[side] = len(part) / (time.perf_counter() - begun)
        seen.append(row)
        print(f"{number + 1:>5}" + "".join(f"{row[side]:>15.2f}" for side in sides), flush=True)
    right = {
        side: float(np.mean([one == gold for one, gold in zip(answers, labels, strict=False)])) for side, answers in given.items()
    }
    found = {}
    for side in sides:
        found[side] = {
            "median": median(row[side] for row in seen),
            "over_seed": spread([row[side] / row["seed"] for row in seen]),
            "over_pipeline": spread([row[side] / row["pipeline"] for row in seen]),
            "accuracy": round(right[side], 4),
            "flips": sum(one != other for one, other in zip(given[side], given["torch"], strict=True)),
            "n": len(given[side]),
        }
        over = "  ".join(f"{found[side][f'over_{other}']['median']:>6.2f} x {other}" for other in ("seed", "pipeline"))
        print(f"{side:<15}{over}  accuracy {right[side]:.4f}  {found[side]['flips']} flips of {len(given[side])}")
    return found


def singles(sides: dict[str, Side], texts: Sequence[str]) -> dict[str, Any]:
    """Milliseconds for one review after another, the sides in turn."""
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for number, text in enumerate(texts):
        for side in list(sides)[:: 1 if number % 2 == 0 else -1]:
            begun = time.perf_counter()
            sides[side]([text])
            taken[side].append(1000 * (time.perf_counter() - begun))
    print(f"\none review at a time, {len(texts)} reviews\n{'':<15}{'p50 ms':>9}{'p99 ms':>9}{'p50 ratio':>11}")
    found = {}
    for side, values in taken.items():
        p50, p99 = (round(float(np.percentile(values, share)), 2) for share in (50, 99))
        found[side] = {"p50_ms": p50, "p99_ms": p99, "p50_over_eager": round(p50 / float(np.median(taken["eager"])), 3)}
        print(f"{side:<15}{p50:>9.1f}{p99:>9.1f}{found[side]['p50_over_eager']:>11.2f}")
    return found


def cold(run: Run, text: str, rounds: int) -> dict[str, float]:
    """Seconds and peak bytes of a new process that answers one review."""
    command = [sys.executable, "-m", "tunebench.cli", "predict", str(run.path), "--text", text, "--backend", BEST]
    seconds, peaks = [], []
    for _ in range(rounds + 1):  # the first one warms the disk
        done = subprocess.run([sys.executable, "-c", STARTER, *command], stdout=subprocess.PIPE, text=True, check=True)
        taken = json.loads(done.stdout)
        seconds.append(taken[0])
        peaks.append(taken[1] * 1024)
    found = {"seconds": median(seconds[1:]), "fastest": round(min(seconds), 3), "peak_bytes": max(peaks)}
    print(f"\na new process: {found['seconds']:.2f} s (fastest {found['fastest']:.2f}), peak {found['peak_bytes'] / 1e6:.0f} MB")
    return found


def shortfalls(found: dict[str, Any]) -> list[str]:
    """What is asked for and was missed."""
    best, single = found["rows_per_second"].get(BEST), found["single"].get(BEST)
    if best is None or single is None:
        return [f"{BEST} is not there"]
    lost = found["rows_per_second"]["torch"]["accuracy"] - best["accuracy"]
    over, cold_start = {side: best[f"over_{side}"]["median"] for side in ("seed", "pipeline")}, found["cold"]
    return [
        *(f"{over[side]:.2f} x {side}, {WANTED[side]} wanted" for side in over if over[side] < WANTED[side]),
        *([f"{100 * lost:.1f} points of accuracy lost"] if lost > WANTED["lost"] else []),
        *([f"p50 {single['p50_over_eager']:.2f} x eager"] if single["p50_over_eager"] > WANTED["p50"] else []),
        *([f"{cold_start['seconds']:.2f} s cold"] if cold_start["seconds"] > WANTED["seconds"] else []),
        *([f"{cold_start['peak_bytes'] / 1e6:.0f} MB cold"] if cold_start["peak_bytes"] > WANTED["bytes"] else []),
    ]


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": median(values), "min": round(min(values), 3), "max": round(max(values), 3)}


def median(values: Any) -> float:
    return round(float(np.median(list(values))), 3)


if __name__ == "__main__":
    main()
