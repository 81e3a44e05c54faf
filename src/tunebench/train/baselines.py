"""Fitting the baselines: once per data digest, kept in the cache, shown beside every run."""

from __future__ import annotations

import json
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.data.dataset import Dataset
from tunebench.errors import InputError, MissingExtra
from tunebench.predict.baselines import load_baseline
from tunebench.predict.linear import LinearScorer, features
from tunebench.predict.predictions import answer, score_answers
from tunebench.recipe.methods import Baseline, Majority, Tfidf, WordOverlap
from tunebench.recipe.resolve import digest_of
from tunebench.recipe.spec import Task
from tunebench.runs.cache import cached
from tunebench.runs.environment import peak_memory_bytes

FORMAT = 1
"""Of what is cached; raised when features or files change, so that older ones are not taken for newer."""
SHOWN: dict[Task, tuple[Baseline, ...]] = {
    "text-classification": (Majority(), Tfidf()),
    "prompt-classification": (Majority(), Tfidf()),
    "multiple-choice": (Majority(), WordOverlap()),
}
"""The baselines that every run of a task is shown beside; tasks without labels have none."""


def baseline_folder(method: Baseline, data: Dataset) -> Path:
    """The baseline fitted on these training rows: its model files, and what the fit cost in ``cost.json``."""
    digest = digest_of(
        {
            "format": FORMAT,
            "scikit-learn": metadata.version("scikit-learn"),
            "method": method.model_dump(mode="json"),
            "rows": data.train.digest(),
            "labels": data.labels.names,
        }
    )

    def make(folder: Path) -> None:
        begun = time.perf_counter()
        if isinstance(method, Tfidf):
            fit_tfidf(method, data, folder)
        elif isinstance(method, WordOverlap):
            fit_overlap(data, folder)
        else:
            fit_majority(data, folder)
        cost = {"train_seconds": time.perf_counter() - begun, "peak_memory_bytes": peak_memory_bytes()}
        (folder / "cost.json").write_text(json.dumps(cost), "utf-8")

    return cached("baselines", digest, make)


def fit_baselines(data: Dataset) -> dict[str, Path | None]:
    """The baselines of the task at their defaults, fitted where the cache lacks them; None where the rows share no words.

    To be called before torch is imported, so that what the fit costs is recorded as its own.
    """
    fitted: dict[str, Path | None] = {}
    for method in SHOWN.get(data.task, ()):
        try:
            fitted[method.kind] = baseline_folder(method, data)
        except InputError:
            fitted[method.kind] = None
    return fitted


def baseline_scores(data: Dataset) -> dict[str, Any]:
    """Test scores of the baselines on the rows of a run; None for one that could not be fitted, or without a test split."""
    scores: dict[str, Any] = {}
    for kind, folder in fit_baselines(data).items():
        if data.test is None or folder is None:
            scores[kind] = None
            continue
        found = answer(data.labels, load_baseline(kind, folder).score(data.test.texts))
        scores[kind] = score_answers(found, data.test.labels)
    return scores


def fit_majority(data: Dataset, folder: Path) -> None:
    """Write the training shares of the labels (add-one, so that none is zero) as ``majority.json``."""
    counts = np.bincount(data.labels.ids(data.train.labels), minlength=len(data.labels.names)) + 1
    (folder / "majority.json").write_text(json.dumps({"shares": (counts / counts.sum()).tolist()}), "utf-8")


def fit_overlap(data: Dataset, folder: Path) -> None:
    """Write ``overlap.json``: the rule has nothing to fit, and needs to know how many options there are."""
    (folder / "overlap.json").write_text(json.dumps({"choices": len(data.labels.names)}), "utf-8")


def fit_tfidf(method: Tfidf, data: Dataset, folder: Path) -> None:
    """Fit TF-IDF and logistic regression with scikit-learn and write ``tfidf.json`` and ``tfidf.safetensors``."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 - costs seconds, needed here only
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    except ImportError:
        raise MissingExtra("scikit-learn", "train", "fitting the baseline 'tfidf'") from None
    min_df = min(method.min_df, len(data.train))
    vectorizer = TfidfVectorizer(
        analyzer=lambda text: features(text, method.ngram_max), min_df=min_df, sublinear_tf=method.sublinear_tf
    )
    try:
        matrix = vectorizer.fit_transform(data.train.texts)
    except ValueError as error:  # its words are about a vocabulary without terms
        raise InputError("baseline 'tfidf'", f"no word occurs in {min_df} training rows (method.min_df); lower it") from error
    model = LogisticRegression(C=method.C, max_iter=1000).fit(matrix, data.labels.ids(data.train.labels))
    weights, bias = model.coef_.T, model.intercept_
    if weights.shape[1] == 1:  # two labels: scikit-learn keeps the second one's weights only
        weights, bias = np.hstack([np.zeros_like(weights), weights]), np.concatenate([np.zeros(1), bias])
    words = list(vectorizer.get_feature_names_out())
    LinearScorer(
        words, vectorizer.idf_, np.ascontiguousarray(weights), bias, ngram_max=method.ngram_max, sublinear_tf=method.sublinear_tf
    ).save(folder)
