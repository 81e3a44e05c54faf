"""Fitting the baselines: once per data digest, kept in the cache, shown beside every run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.data.dataset import Dataset
from tunebench.errors import InputError, MissingExtra
from tunebench.metrics import classification_scores, confusion_matrix
from tunebench.predict.baselines import load_baseline
from tunebench.predict.linear import LinearScorer, features
from tunebench.recipe.resolve import digest_of
from tunebench.recipe.spec import Majority, Tfidf
from tunebench.runs.cache import cached


def baseline_folder(method: Majority | Tfidf, data: Dataset) -> Path:
    """The fitted baseline for these rows: model files and ``scores.json`` (its test scores, seconds to fit)."""
    digest = digest_of({"method": method.model_dump(mode="json"), "data": data.digest(), "positive": data.labels.positive})
    fit: Callable[[Path], None] = (
        (lambda folder: fit_tfidf(method, data, folder))
        if isinstance(method, Tfidf)
        else (lambda folder: fit_majority(data, folder))
    )

    def make(folder: Path) -> None:
        begun = time.perf_counter()
        fit(folder)
        record: dict[str, Any] = {"train_seconds": time.perf_counter() - begun, "test": None}
        if data.test is not None:
            predicted = load_baseline(method.kind, folder).score(data.test.texts).logits.argmax(axis=1)
            matrix = confusion_matrix(data.labels.ids(data.test.labels), predicted.tolist(), len(data.labels.names))
            record["test"] = classification_scores(matrix, data.labels.names, data.labels.positive)
        (folder / "scores.json").write_text(json.dumps(record), "utf-8")

    return cached("baselines", digest, make)


def baseline_scores(data: Dataset) -> dict[str, Any]:
    """Test scores of ``majority`` and ``tfidf`` at their defaults, for the metrics of any run on the same rows.

    None stands for a baseline without scores: the recipe has no test split, or the rows share no words.
    """
    scores: dict[str, Any] = {}
    for method in (Majority(), Tfidf()):
        try:
            scores[method.kind] = json.loads((baseline_folder(method, data) / "scores.json").read_text("utf-8"))["test"]
        except InputError:
            scores[method.kind] = None
    return scores


def fit_majority(data: Dataset, folder: Path) -> None:
    """Write the training shares of the labels (add-one, so that none is zero) as ``majority.json``."""
    counts = np.bincount(data.labels.ids(data.train.labels), minlength=len(data.labels.names)) + 1
    (folder / "majority.json").write_text(json.dumps({"shares": (counts / counts.sum()).tolist()}), "utf-8")


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
