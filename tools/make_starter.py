"""Put a finished run of the preset ``starter`` into the package as the shipped starter run.

    tunebench train starter --runs runs && python tools/make_starter.py runs/starter

Shipped are recipe, manifest, metrics with the proof, the adapter with its card and tokenizer, and the events without
the single steps. The predictions stay out: they hold the review texts, whose licence is not ours to pass on.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "src" / "tunebench" / "starter_run"
FILES = ("recipe.yaml", "manifest.json", "metrics.json")
MOST_BYTES = 1_000_000


def main(source: Path) -> None:
    """Copy what is shipped, and fail where it is not finished, not proved or too large."""
    metrics = json.loads((source / "metrics.json").read_text("utf-8"))
    if not all(proof["passed"] for proof in metrics["proofs"]):
        sys.exit("this run has a proof that did not pass")
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(source / name, TARGET / name)
    shutil.copytree(source / "adapter", TARGET / "adapter")
    lines = (source / "events.jsonl").read_text("utf-8").splitlines(keepends=True)
    (TARGET / "events.jsonl").write_text("".join(line for line in lines if json.loads(line)["kind"] != "step"), "utf-8")
    size = sum(path.stat().st_size for path in TARGET.rglob("*") if path.is_file())
    print(f"{TARGET.name}: {size:,} bytes, test accuracy {metrics['test']['accuracy']['value']:.4f}")
    if size >= MOST_BYTES:
        sys.exit(f"more than {MOST_BYTES:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
