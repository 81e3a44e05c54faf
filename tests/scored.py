"""What a run says of its test rows: texts and probabilities out of ``predictions.parquet``."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq

from tunebench.runs.run import Run


def scored_texts(run: Run) -> list[str]:
    """The texts of the test rows, in order."""
    texts: list[str] = pq.read_table(run.path / "predictions.parquet")["text"].to_pylist()
    return texts


def scored_probabilities(run: Run) -> np.ndarray:
    """Their probabilities ``(N, K)``, in the order of the labels."""
    table = pq.read_table(run.path / "predictions.parquet")
    return np.array([table[f"probability_{name}"].to_pylist() for name in run.manifest["labels"]["names"]]).T
