"""Time to accuracy: the preset ``imdb-minilm-lora`` against the usual notebook, both on MiniLM and the reviews of IMDb.

The clock begins when a side's process is started and stops at its first evaluation of at least ``--target`` on validation
reviews; imports, tokenizing and evaluations count. Validation is a tenth of the training reviews, by film; both sides score all
of it after each epoch. The notebook (``bench/tta_trainer.py``) is stopped at ``--patience`` times our time: its ratio is then a
lower bound.

Every finished side is kept in ``--state`` and not measured again while preset, target and data are the same: the bench can go on
in another sitting. Needs reviews with their films: ``../shared/data/imdb_train.parquet``, or ``--data``. Prints a table, then
one JSON object.

    python bench/tta.py [--seeds 1,2,3] [--sides ours,notebook] [--state DIR] [--gate]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tunebench.recipe.load import load_recipe
from tunebench.recipe.resolve import digest_of
from tunebench.runs.cache import cache_root, write_atomic

IMDB = Path(__file__).resolve().parents[2] / "shared" / "data" / "imdb_train.parquet"
PRESET = "imdb-minilm-lora"
LEAST_RATIO = 4.0
Record = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--sides", default="ours,notebook")
    parser.add_argument("--target", type=float, default=0.89)
    parser.add_argument("--patience", type=float, default=4.0, help="how many times our time the notebook is given")
    parser.add_argument("--data", type=Path, default=IMDB)
    parser.add_argument("--state", type=Path, default=cache_root() / "bench-tta")
    parser.add_argument("--gate", action="store_true", help=f"exit 1 where the lowest ratio is below {LEAST_RATIO}")
    args = parser.parse_args()
    if not args.data.is_file():
        sys.exit(f"{args.data}: not there; give a Parquet file of reviews with text, label and movie as --data")
    settings = load_recipe(PRESET).model_dump(mode="json")
    args.state /= digest_of([settings, args.target, str(args.data.resolve())])[:12]
    files = prepare(args.data, args.state)
    seeds, sides = [int(seed) for seed in args.seeds.split(",")], args.sides.split(",")
    print(f"{'seed':>4}  {'side':<9}{'seconds':>9}  what happened", flush=True)
    for seed in seeds:
        mine = measured(args.state, seed, "ours", lambda s=seed: ours(args, files, s)) if "ours" in sides else None
        if mine and mine["reached"] and "notebook" in sides:
            limit = args.patience * mine["reached"]
            measured(args.state, seed, "notebook", lambda s=seed, most=limit: notebook(args, files, s, most))
    summary = summed(args, [kept(args.state, seed) for seed in seeds])
    print(json.dumps(summary))
    if args.gate and (summary["seeds_measured"] < len(seeds) or summary["ratio_min"] < LEAST_RATIO):
        sys.exit(f"missed: every seed at {args.target}, at least {LEAST_RATIO} times as fast")


def prepare(data: Path, state: Path) -> dict[str, str]:
    """Training rows and validation rows by film, once; both sides read the same files."""
    files = {name: state / f"{name}.parquet" for name in ("train", "validation")}
    if not all(path.is_file() for path in files.values()):
        table, draw = pq.read_table(data, columns=["text", "label", "movie"]), random.Random(0)
        films = sorted(set(table["movie"].to_pylist()))
        draw.shuffle(films)
        held, wanted = set(films[: len(films) // 10]), table["movie"].to_pylist()
        inside = [i for i, film in enumerate(wanted) if film in held]
        for name, places in {"train": sorted(set(range(len(wanted))) - set(inside)), "validation": inside}.items():
            sink = pa.BufferOutputStream()
            pq.write_table(table.take(places), sink)
            write_atomic(files[name], sink.getvalue().to_pybytes())
    return {name: str(path) for name, path in files.items()}


def measured(state: Path, seed: int, side: str, measure: Any) -> Record:
    """What is known of a side, measured now where it is not; kept at once."""
    path = state / f"{side}-{seed}.json"
    fresh = not path.is_file()
    if fresh:
        load = os.getloadavg()[0]
        write_atomic(path, json.dumps(measure() | {"load_before": round(load, 2)}) + "\n")
    found: Record = json.loads(path.read_text("utf-8"))
    words = f"{found['words']}{'' if fresh else '  (kept)'}"
    print(f"{seed:>4}  {side:<9}{found['reached'] or found['seconds']:>9.0f}  {words}", flush=True)
    return found


def kept(state: Path, seed: int) -> dict[str, Record]:
    """Both sides of a seed, where they have been measured."""
    paths = {side: state / f"{side}-{seed}.json" for side in ("ours", "notebook")}
    return {side: json.loads(path.read_text("utf-8")) for side, path in paths.items() if path.is_file()}


def ours(args: argparse.Namespace, files: dict[str, str], seed: int) -> Record:
    """Seconds from the start of ``tunebench train`` to its first evaluation that reaches the target."""
    given, name = load_recipe(PRESET).data, f"tta-{seed}"
    data = {"train": files["train"], "validation": files["validation"], "text": "text", "label": "label"}
    data |= {"max_train_samples": given.max_train_samples, "clean": given.clean.model_dump()}
    told = [f"--set=name={name}", f"--set=seed={seed}", f"--set=data={json.dumps(data)}", f"--runs={args.state}", "--force"]
    begun = time.time()
    subprocess.run([*tunebench("train", PRESET), *told], check=True, stdout=subprocess.DEVNULL)
    records = [json.loads(line) for line in (args.state / name / "events.jsonl").read_text("utf-8").splitlines()]
    scored = [item for item in records if item["kind"] == "evaluated" and item["split"] == "validation"]
    marks = [(item["time"] - begun, item["step"], item["scores"]["accuracy"]) for item in scored]
    reached = next((mark for mark in marks if mark[2] >= args.target), None)
    accuracy = reached[2] if reached else max(mark[2] for mark in marks)
    return {
        "reached": reached[0] if reached else None,
        "seconds": marks[-1][0],
        "evaluations": marks,
        "accuracy": accuracy,
        "words": f"{accuracy:.4f} at step {reached[1]}" if reached else f"at most {accuracy:.4f}",
    }


def notebook(args: argparse.Namespace, files: dict[str, str], seed: int, limit: float) -> Record:
    """The other side, in a process of its own, for at most ``limit`` seconds."""
    script = str(Path(__file__).with_name("tta_trainer.py"))
    told = ["--seed", str(seed), "--target", str(args.target), "--seconds", str(limit), "--begun", str(time.time())]
    command = [sys.executable, script, files["train"], files["validation"], *told]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: Record = json.loads(done.stdout.splitlines()[-1])
    ended = "reached" if found["reached"] else f"stopped after {found['rows']:,} reviews, {found['accuracy']:.4f} by then"
    return found | {"words": ended}


def tunebench(*arguments: str) -> list[str]:
    """A command of this installation."""
    return [sys.executable, "-P", "-m", "tunebench.cli", *arguments]


def summed(args: argparse.Namespace, found: list[dict[str, Record]]) -> Record:
    """Ratios over the seeds of which both sides are known; our times over all that are."""
    mine = [one["ours"] for one in found if "ours" in one]
    both = [one for one in found if len(one) == 2 and one["ours"]["reached"]]
    ratios = [(one["notebook"]["reached"] or one["notebook"]["seconds"]) / one["ours"]["reached"] for one in both]
    times = [one["reached"] for one in mine if one["reached"]]
    return {
        "bench": "tta",
        "target": args.target,
        "seeds_measured": len(both),
        "seconds": [round(one["reached"], 1) if one["reached"] else None for one in mine],
        "seconds_median": round(statistics.median(times), 1) if times else None,
        "accuracy": [round(one["accuracy"], 4) for one in mine],
        "ratio_median": round(statistics.median(ratios), 2) if ratios else 0.0,
        "ratio_min": round(min(ratios), 2) if ratios else 0.0,
        "lower_bounds": sum(one["notebook"]["reached"] is None for one in both),
    }


if __name__ == "__main__":
    main()
