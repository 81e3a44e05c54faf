"""How long `tunebench check` takes for a file of a million rows, and how much memory; gates at a minute and a gibibyte.

The file is written into a temporary folder with a fixed seed: texts of about 120 characters out of words as frequent as
in English, a few of them planted a second time in the test split, word for word or with a word changed.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = 30_000
LEAKED = 0.002
MOST_SECONDS, MOST_BYTES = 60, 2**30
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def make_words(draw: random.Random) -> list[str]:
    """Pronounceable words, the frequent ones short."""
    parts = [left + right for left in "bcdfghjklmnprstvwz" for right in "aeiou"]
    found = dict.fromkeys("".join(draw.choices(parts, k=1 + (i > 40) + (i > 1500) + (i > 12_000))) for i in range(3 * WORDS))
    return list(found)[:WORDS]


def write_rows(path: Path, rows: int, words: list[str], draw: random.Random) -> None:
    """``id``, ``text``, ``label``; every five-hundredth text stands a second time, half of them with a word changed."""
    weights = list(itertools.accumulate(1 / (10 + i) for i in range(len(words))))
    kept: list[str] = []
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["id", "text", "label"])
        for i in range(rows):
            again = kept and draw.random() < LEAKED
            text = draw.choice(kept) if again else " ".join(draw.choices(words, cum_weights=weights, k=draw.randint(14, 28)))
            if again and i % 2:
                text = " ".join(["changed", *text.split(" ")[1:]])
            if len(kept) < 10_000:
                kept.append(text)
            out.writerow([f"r{i}", text, draw.choice(("negative", "neutral", "positive"))])


def write_base(folder: Path, words: list[str]) -> None:
    """What `check` needs of a base: a tokenizer like BERT's, a config, and a file of weights that holds none."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *words[:20_000]]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"model_type": "bert", "vocab_size": len(vocabulary), "max_position_embeddings": 512}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    header = b'{"__metadata__":{"format":"pt"}}'
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)


def measure(folder: Path, recipe: Path) -> tuple[dict[str, Any], dict[str, float]]:
    """The report of a process of its own; its seconds, those of them that it computed, and its largest memory in bytes."""
    shown = folder / "report.json"
    command = [sys.executable, "-m", "tunebench.cli", "check", str(recipe), "--json"]
    begun = time.perf_counter()
    with shown.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL) as child:
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 3):
        sys.exit(f"{' '.join(command)} ended with exit code {child.returncode}")
    spent = {"seconds": round(seconds, 2), "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2)}
    return json.loads(shown.read_text("utf-8")), spent | {"peak_memory_bytes": usage.ru_maxrss * 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--gate", action="store_true", help="exit 1 where the figures that are asked for are missed")
    args = parser.parse_args()
    draw = random.Random(9527)
    with tempfile.TemporaryDirectory(prefix="tunebench-bench-") as name:
        folder = Path(name)
        words = make_words(draw)
        write_rows(folder / "rows.csv", args.rows, words, draw)
        write_base(folder / "base", words)
        cut = {"fraction": 0.1, "stratify": True}
        settings = {
            "name": "bench-check",
            "base": {"model": "base", "max_length": 32},
            "data": {"train": "rows.csv", "validation": cut, "test": cut, "id": "id"},
            "method": {"kind": "lora"},
        }
        (folder / "recipe.yaml").write_text(json.dumps(settings), encoding="utf-8")
        size = (folder / "rows.csv").stat().st_size
        report, spent = measure(folder, folder / "recipe.yaml")
    leaks = {f"{item['later']} in {item['earlier']}": item for item in report["shared"]}
    measured = sum(sum(part["lengths"]["measured"].values()) for part in report["splits"].values())
    rows = [
        ("rows", f"{args.rows:,}"),
        ("file", f"{size / 1e6:,.0f} MB, {size / args.rows:.0f} bytes a row"),
        ("texts measured with the tokenizer", f"{measured:,}"),
        *((f"{pair}: exactly", f"{item['exact']:,} of {item['rows']:,}") for pair, item in leaks.items()),
        *((f"{pair}: nearly", f"{item['near']:,} of {item['looked_up']:,} looked up") for pair, item in leaks.items()),
        ("seconds", f"{spent['seconds']:.1f} ({spent['cpu_seconds']:.1f} of computing)"),
        ("peak memory", f"{spent['peak_memory_bytes'] / 2**20:,.0f} MiB"),
    ]
    width = max(len(title) for title, _ in rows)
    print("\n".join(f"{title:<{width}}  {value}" for title, value in rows))
    summary = {
        "bench": "check",
        "rows": args.rows,
        "bytes": size,
        "measured": measured,
        "looked_up": {pair: item["looked_up"] for pair, item in leaks.items()},
        "exact": {pair: item["exact"] for pair, item in leaks.items()},
        "near": {pair: item["near"] for pair, item in leaks.items()},
        **spent,
        "cores": os.cpu_count(),
    }
    print(json.dumps(summary))
    if args.gate and (spent["seconds"] > MOST_SECONDS or spent["peak_memory_bytes"] > MOST_BYTES):
        sys.exit(f"missed: at most {MOST_SECONDS} seconds and {MOST_BYTES / 2**30:.0f} GiB are asked for")


if __name__ == "__main__":
    main()
