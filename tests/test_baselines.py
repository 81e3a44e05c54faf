"""Baselines: the stored tfidf is scikit-learn's to rounding, and each is fitted once for the same rows."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from tiny import make_rows, write_csv, write_recipe

from tunebench import binding, jobs
from tunebench.data.dataset import Dataset
from tunebench.predict.baselines import load_baseline
from tunebench.predict.linear import LinearScorer, features
from tunebench.recipe.methods import Majority, Tfidf
from tunebench.train import baselines

TEXTS = [
    "a good film",
    "Dull, flat and EMPTY; very dull",
    "words that nobody knows",
    "good",
    "film film film film dull",
    "don't",
    "naïve café",
    "?!",
]


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNEBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def dataset(folder: Path, labels: tuple[str, ...], number: int = 60, **changes: object) -> Dataset:
    data = write_csv(folder / f"{len(labels)}-{number}.csv", make_rows(number, labels))
    return binding.bind(str(write_recipe(folder / "any.yaml", data=data, **changes))).data


@pytest.mark.parametrize("labels", [("negative", "positive"), ("bad", "fair", "good"), ("a", "b", "c", "d")])
@pytest.mark.parametrize("method", [Tfidf(), Tfidf(ngram_max=1, min_df=1, sublinear_tf=False, C=1.0), Tfidf(ngram_max=3)])
def test_the_stored_tfidf_gives_the_probabilities_of_the_pipeline_that_fitted_it(
    tmp_path: Path, labels: tuple[str, ...], method: Tfidf
) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    data = dataset(tmp_path, labels)
    vectorizer = TfidfVectorizer(
        ngram_range=(1, method.ngram_max), token_pattern=r"(?u)\b\w+\b", min_df=method.min_df, sublinear_tf=method.sublinear_tf
    )
    pipeline = make_pipeline(vectorizer, LogisticRegression(C=method.C, max_iter=1000))
    pipeline.fit(data.train.texts, data.train.labels)
    baselines.fit_tfidf(method, data, tmp_path)
    scorer = load_baseline("tfidf", tmp_path)
    assert isinstance(scorer, LinearScorer)
    assert sorted(scorer.vocabulary) == sorted(vectorizer.get_feature_names_out())
    texts = [*data.train.texts, *TEXTS]
    expected = pipeline.predict_proba(texts)[:, [list(pipeline.classes_).index(name) for name in data.labels.names]]
    assert np.abs(scorer.score(texts).probabilities - expected).max() <= 1e-6


def test_features_are_words_in_lower_case_and_their_sequences() -> None:
    assert features("A good, GOOD film!", 2) == ["a", "good", "good", "film", "a good", "good good", "good film"]
    assert features("?!", 3) == []


def test_the_majority_baseline_answers_with_the_shares_of_the_training_labels(tmp_path: Path) -> None:
    data = dataset(tmp_path, ("x", "y", "y2"))
    baselines.fit_majority(data, tmp_path)
    counts = np.array([data.train.labels.count(name) + 1 for name in data.labels.names])
    found = load_baseline("majority", tmp_path).score(["any", "text"]).probabilities
    assert np.abs(found - counts / counts.sum()).max() <= 1e-6


def test_a_baseline_is_fitted_once_for_the_same_rows_and_shown_beside_every_run(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset(tmp_path, ("negative", "positive"))
    first = baselines.baseline_scores(data)
    assert set(first) == {"majority", "tfidf"}
    assert first["tfidf"]["accuracy"]["value"] > first["majority"]["accuracy"]["value"]

    def refuse(*_: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(baselines, "fit_tfidf", refuse)
    monkeypatch.setattr(baselines, "fit_majority", refuse)
    assert baselines.baseline_scores(dataset(tmp_path, ("negative", "positive"))) == first
    recipe = write_recipe(tmp_path / "again.yaml", data=tmp_path / "2-60.csv", method={"kind": "tfidf"})
    run = jobs.train(str(recipe), [], tmp_path / "runs", lambda event: None).run
    assert run.metrics["baselines"] == first
    assert run.metrics["test"]["accuracy"] == first["tfidf"]["accuracy"]
    with pytest.raises(AssertionError, match="fitted again"):
        baselines.baseline_folder(Majority(), dataset(tmp_path, ("negative", "positive"), 62))


@pytest.mark.parametrize("other", [Tfidf(C=1.0), Tfidf(ngram_max=1), Majority()])
def test_other_settings_are_another_baseline(own_cache: Path, tmp_path: Path, other: Tfidf | Majority) -> None:
    data = dataset(tmp_path, ("negative", "positive"))
    assert baselines.baseline_folder(Tfidf(), data) != baselines.baseline_folder(other, data)


def test_a_tfidf_run_holds_json_and_safetensors_only(own_cache: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "linear.yaml", data=write_csv(tmp_path / "in.csv"), method={"kind": "tfidf"})
    run = jobs.train(str(recipe), [], tmp_path / "runs", lambda event: None).run
    assert sorted(os.listdir(run.weights)) == ["tfidf.json", "tfidf.safetensors"]
    assert set(json.loads((run.weights / "tfidf.json").read_text("utf-8"))) == {"ngram_max", "sublinear_tf", "vocabulary"}
