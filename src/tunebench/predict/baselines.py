"""Opening a stored baseline: files in, scorer out, with numpy alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError

from tunebench.errors import InputError
from tunebench.predict.linear import LinearScorer
from tunebench.predict.overlap import OverlapScorer
from tunebench.predict.scorers import ConstantScorer, Scorer

BASELINE_FILES = {
    "majority": ("majority.json",),
    "tfidf": ("tfidf.json", "tfidf.safetensors"),
    "word-overlap": ("overlap.json",),
}


class BaselineScorer(Scorer, Protocol):
    """A scorer that says how much was fitted for it."""

    @property
    def num_parameters(self) -> int:
        """How many numbers were fitted."""
        ...


def load_baseline(kind: str, folder: Path) -> BaselineScorer:
    """The scorer behind ``model/`` of a run of a baseline."""
    missing = [name for name in BASELINE_FILES[kind] if not (folder / name).is_file()]
    if missing:
        raise InputError(str(folder), f"lacks {', '.join(missing)}; train the run again")
    try:
        if kind == "tfidf":
            return LinearScorer.load(folder)
        if kind == "word-overlap":
            return OverlapScorer(int(json.loads((folder / "overlap.json").read_text("utf-8"))["choices"]))
        return ConstantScorer(json.loads((folder / "majority.json").read_text("utf-8"))["shares"])
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(str(folder), f"is damaged ({error}); train the run again") from None
