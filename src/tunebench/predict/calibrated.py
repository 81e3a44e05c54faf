"""Calibrations that runs keep, one per backend in ``calibration.json``, and predictions that make use of them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tunebench.errors import InputError, listing
from tunebench.predict.predictions import Predictions
from tunebench.predict.scorers import Scorer, Scores
from tunebench.runs import exports
from tunebench.runs.run import FORMAT_VERSION, Run

FILE = "calibration.json"


@dataclass(frozen=True)
class Calibration:
    """What predictions need: the temperature, and the probability below which a row is better not answered (None: unknown)."""

    temperature: float
    threshold: float | None

    def scorer(self, scorer: Scorer) -> Scorer:
        """The scorer with its logits divided by the temperature; no label changes."""
        return scorer if self.temperature == 1 else TemperedScorer(scorer, self.temperature)

    def abstaining(self, found: Predictions) -> Predictions:
        """The predictions with a mark on those that are too unsure; without a threshold as they are."""
        if self.threshold is None:
            return found
        surest = found.probabilities.max(axis=1, initial=-np.inf)
        unsure = [
            None if label is None else bool(top < self.threshold) for label, top in zip(found.predicted, surest, strict=True)
        ]
        return replace(found, abstain=unsure)


NO_CALIBRATION = Calibration(1.0, None)
"""Changes nothing."""


class TemperedScorer:
    """Divides what another scorer finds by a temperature. In float64, where unequal logits stay unequal."""

    def __init__(self, scorer: Scorer, temperature: float) -> None:
        self._scorer, self._temperature = scorer, temperature

    def score(self, items: Sequence[Any], /) -> Scores:
        """Logits of all items, in order."""
        found = self._scorer.score(items)
        return replace(found, logits=found.logits.astype(np.float64) / self._temperature)


def store(run: Run, backend: str, found: dict[str, Any]) -> None:
    """Keep a calibration in its run, beside those of other backends that are still true."""
    kept = {name: known for name, known in _all(run).items() if known.get("weights") == _made_of(run, name)}
    entry = {"weights": _made_of(run, backend), **found}
    run.write_json(FILE, {"format": FORMAT_VERSION, "backends": {**kept, backend: entry}})


def stored(run: Run, backend: str) -> Calibration:
    """The calibration of a run for a backend; InputError, with the command to run, where there is none or it is out of date."""
    known = _all(run)
    command = ["tunebench", "calibrate", str(run.path)] + (
        ["--backend", backend] if backend != exports.default_backend(run) else []
    )
    make = f"make it with: {shlex.join(command)}"
    if backend not in known:
        others = f" (there is one of {listing(known)}, which is another model by its last digits)" if known else ""
        raise InputError(run.name, f"has no calibration of {backend}{others}; {make}")
    found = known[backend]
    if found.get("weights") != _made_of(run, backend):
        raise InputError(run.name, f"its calibration of {backend} belongs to other weights than it has now; {make}")
    try:
        threshold = found["threshold"]
        return Calibration(float(found["temperature"]), None if threshold is None else float(threshold["value"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(str(run.path / FILE), f"is damaged ({error!r}); {make}") from None


def _all(run: Run) -> dict[str, dict[str, Any]]:
    """What a run keeps, by backend; nothing where the file is not there or is not readable."""
    try:
        found = json.loads((run.path / FILE).read_text("utf-8"))["backends"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {name: dict(entry) for name, entry in found.items() if isinstance(entry, dict)} if isinstance(found, dict) else {}


def _made_of(run: Run, backend: str) -> str | None:
    """The digest of what a backend computes with."""
    manifest = run.manifest
    if backend == exports.TORCH_MERGED:
        return manifest.get("merged_weights")
    return manifest.get("exports", {}).get(backend) if backend in exports.ENGINES else manifest.get("end_weights")
