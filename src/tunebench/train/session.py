"""From a resolved recipe and bound data to a model in training: tokenized, seeded, composed, ready to iterate."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from tunebench.data.dataset import Dataset, Rows
from tunebench.data.labels import LabelMap
from tunebench.events import Evaluated, Event, Stopped
from tunebench.model import bundle
from tunebench.predict.scorers import TokenScorer
from tunebench.predict.tokenize import TextEncoder
from tunebench.recipe.spec import Recipe
from tunebench.runs.bases import base_folder
from tunebench.train.loop import Examples, Job, fit


@dataclass(frozen=True)
class Session:
    """One model in training: the job for the loop, the scorer that shares its weights, and what to warn of."""

    job: Job
    scorer: TokenScorer
    warnings: list[str]

    @property
    def model(self) -> nn.Module:
        """The model that the job trains."""
        return self.job.model


def prepare(recipe: Recipe, data: Dataset) -> Session:
    """Tokenize the rows and compose the model; torch is seeded before anything is built."""
    assert recipe.base is not None
    encoder = TextEncoder(base_folder(recipe.base), recipe.base.max_length)
    train, cut = _examples(encoder, data.train, data.labels)
    validation = _examples(encoder, data.validation, data.labels)[0] if data.validation else None
    model, new = bundle.compose(recipe, data.labels, recipe.seed)
    warnings = [f"{cut} of {len(data.train)} training texts are cut at {recipe.base.max_length} tokens"] if cut else []
    warnings += [
        f"{layer} is new, and this method neither trains nor saves it: it would be random after a reload; "
        "add its module to method.modules_to_save"
        for layer in bundle.unsaved_layers(model, new)
    ]
    scorer = bundle.make_scorer(model, recipe, encoder, len(data.labels.names))
    job = Job(
        model=model,
        pooling=recipe.base.pooling,
        pad_id=scorer.backend.pad_id,
        train=train,
        validation=validation,
        num_labels=len(data.labels.names),
        positive_id=data.labels.positive_id,
        settings=recipe.settings,
        seed=recipe.seed,
    )
    return Session(job, scorer, warnings)


def fit_and_keep_best(session: Session, checkpoints: Path) -> Iterator[Event]:
    """The events of ``fit``; the best weights are written when they appear and are back in the model at the end."""
    kept: Path | None = None
    for event in fit(session.job):
        if isinstance(event, Evaluated) and event.best and session.job.settings.load_best_model_at_end:
            newer = checkpoints / f"checkpoint-{event.step}"
            bundle.save_checkpoint(session.model, newer)
            if kept is not None and kept != newer:
                shutil.rmtree(kept)
            kept = newer
        if isinstance(event, Stopped) and kept is not None:
            bundle.load_checkpoint(session.model, kept)
        yield event


def _examples(encoder: TextEncoder, rows: Rows, labels: LabelMap) -> tuple[Examples, int]:
    encoded = encoder.encode(rows.texts)
    return Examples(encoded.ids, labels.ids(rows.labels)), sum(encoded.truncated)
