"""The baseline ``tfidf`` when it predicts: stored as JSON and safetensors, computed with numpy alone.

Gives the probabilities of the scikit-learn pipeline that fitted it (train/baselines.py) to rounding.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from tunebench.predict.scorers import Scores

TOKEN_PATTERN = r"(?u)\b\w+\b"


def features(text: str, ngram_max: int) -> list[str]:
    """Words in lower case and their sequences up to ``ngram_max``, joined by a space."""
    words = re.findall(TOKEN_PATTERN, text.lower())
    return [" ".join(words[i : i + n]) for n in range(1, ngram_max + 1) for i in range(len(words) - n + 1)]


class LinearScorer:
    """TF-IDF features times one weight per label."""

    def __init__(
        self, vocabulary: list[str], idf: np.ndarray, weights: np.ndarray, bias: np.ndarray, *, ngram_max: int, sublinear_tf: bool
    ) -> None:
        self.vocabulary = vocabulary
        self.idf, self.weights, self.bias = idf, weights, bias  # (V,), (V, K), (K,)
        self.ngram_max, self.sublinear_tf = ngram_max, sublinear_tf
        self._place = {word: i for i, word in enumerate(vocabulary)}

    def score(self, texts: Sequence[str]) -> Scores:
        """Logits of all texts, in order."""
        logits = np.stack([self._logits(text) for text in texts]) if texts else np.zeros((0, len(self.bias)))
        return Scores(logits.astype(np.float32), [False] * len(texts))

    @property
    def num_parameters(self) -> int:
        """Fitted weights and biases; of two labels only one has any."""
        return int((self.weights != 0).any(axis=0).sum()) * (len(self.weights) + 1)

    def _logits(self, text: str) -> np.ndarray:
        counts = Counter(place for word in features(text, self.ngram_max) if (place := self._place.get(word)) is not None)
        if not counts:
            return self.bias
        places = np.fromiter(counts.keys(), dtype=np.int64)
        tf = np.fromiter(counts.values(), dtype=np.float64)
        values = (1 + np.log(tf) if self.sublinear_tf else tf) * self.idf[places]
        return np.asarray(values / np.linalg.norm(values) @ self.weights[places] + self.bias)

    def save(self, folder: Path) -> None:
        """Write ``tfidf.json`` and ``tfidf.safetensors``."""
        settings = {"ngram_max": self.ngram_max, "sublinear_tf": self.sublinear_tf, "vocabulary": self.vocabulary}
        (folder / "tfidf.json").write_text(json.dumps(settings, ensure_ascii=False), "utf-8")
        save_file({"idf": self.idf, "weights": self.weights, "bias": self.bias}, folder / "tfidf.safetensors")

    @classmethod
    def load(cls, folder: Path) -> LinearScorer:
        """Read what ``save`` wrote."""
        settings = json.loads((folder / "tfidf.json").read_text("utf-8"))
        tensors = load_file(folder / "tfidf.safetensors")
        return cls(
            settings["vocabulary"],
            tensors["idf"],
            tensors["weights"],
            tensors["bias"],
            ngram_max=settings["ngram_max"],
            sublinear_tf=settings["sublinear_tf"],
        )
