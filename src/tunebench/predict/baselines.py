"""Opening a stored baseline: files in, scorer out, with numpy alone."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError

from tunebench.errors import InputError
from tunebench.predict.linear import LinearScorer
from tunebench.predict.scorers import ConstantScorer

BASELINE_FILES = {"majority": ("majority.json",), "tfidf": ("tfidf.json", "tfidf.safetensors")}


def load_baseline(kind: str, folder: Path) -> LinearScorer | ConstantScorer:
    """The scorer behind ``model/`` of a ``majority`` or ``tfidf`` run."""
    missing = [name for name in BASELINE_FILES[kind] if not (folder / name).is_file()]
    if missing:
        raise InputError(str(folder), f"lacks {', '.join(missing)}; train the run again")
    try:
        if kind == "tfidf":
            return LinearScorer.load(folder)
        return ConstantScorer(json.loads((folder / "majority.json").read_text("utf-8"))["shares"])
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(str(folder), f"is damaged ({error}); train the run again") from None
