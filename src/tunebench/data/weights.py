"""How much the rows of each label weigh in the loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tunebench.data.labels import LabelMap
from tunebench.errors import InputError, listing, nearest


def label_weights(setting: str | Mapping[str, float] | None, labels: LabelMap, train_labels: Sequence[str]) -> list[float] | None:
    """Weight per label, in the map's order; None where all rows weigh the same.

    ``balanced`` is rows / (labels * rows of the label), as in scikit-learn: the mean weight of a training row is 1.
    Raises InputError for labels that do not exist.
    """
    if setting is None:
        return None
    if isinstance(setting, str):
        counts = Counter(train_labels)
        return [len(train_labels) / (len(labels.names) * counts[name]) for name in labels.names]
    unknown = [
        f"{name!r} is no label{nearest(name, labels.names)}; labels are {listing(labels.names)}"
        for name in setting
        if name not in labels.names
    ]
    if unknown:
        raise InputError("train.class_weight", unknown)
    return [float(setting.get(name, 1.0)) for name in labels.names]
