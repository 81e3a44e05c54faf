"""Labels are names. Ids exist only below this page: nothing above it ever sees a number for a label."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunebench.errors import InputError, listing, nearest

Display = dict[str, str | dict[str, str]]
"""Display name per label, or per label and language."""

_POSITIVE_NAMES = ("positive", "pos", "1", "true", "yes")


def label_name(value: Any) -> str | None:
    """A cell as a label's name: ``1``, ``1.0`` and ``"1"`` are the same name; an empty cell is None."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None


def shown_name(display: Display, name: str, language: str | None = None) -> str:
    """What a label is called for readers of ``language``, a tag such as ``zh-TW``.

    Of several names the one for exactly this tag, else for its first part (``zh``), else the English one, else the label itself.
    """
    shown = display.get(name, name)
    if isinstance(shown, str):
        return shown
    known = {tag.replace("_", "-").lower(): word for tag, word in shown.items()}
    tag = (language or "en").replace("_", "-").lower()
    return next((known[key] for key in (tag, tag.split("-")[0], "en") if known.get(key)), name)


@dataclass(frozen=True)
class LabelMap:
    """The labels in their fixed order (which is their id), the positive one, and what to call them on screen."""

    names: tuple[str, ...]
    positive: str | None = None
    display: Display = field(default_factory=dict)

    def ids(self, names: Iterable[str]) -> list[int]:
        """Ids of known names; the caller has checked that they are known."""
        order = {name: i for i, name in enumerate(self.names)}
        return [order[name] for name in names]

    @property
    def positive_id(self) -> int | None:
        """Place of the positive label, None where there is none."""
        return None if self.positive is None else self.names.index(self.positive)

    def as_dict(self) -> dict[str, Any]:
        """The map as the manifest holds it."""
        return {"names": list(self.names), "positive_label": self.positive, "display": dict(self.display)}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> LabelMap:
        """The map out of a manifest."""
        return cls(tuple(record["names"]), record["positive_label"], dict(record["display"]))


def make_label_map(train_labels: Iterable[str], positive: str | None, display: Display, subject: str) -> LabelMap:
    """The label map of the training rows, the same whatever their order.

    Numbers are ordered as numbers, other names by code point. Of two labels the positive one is
    ``positive_label``, else the one with a customary name (``positive``, ``1``, …), else the second.
    """
    names = _ordered(set(train_labels))
    faults = []
    if len(names) < 2:
        faults.append(f"the training rows hold {len(names)} label(s) ({listing(names)}); a classifier needs at least two")
    if positive is not None and positive not in names:
        faults.append(f"data.positive_label: {positive!r} is no label{nearest(positive, names)}; labels are {listing(names)}")
    if positive is not None and len(names) > 2:
        faults.append(f"data.positive_label: has a meaning for two labels only, found {len(names)}; remove it")
    faults += [
        f"data.label_names: {name!r} is no label{nearest(name, names)}; labels are {listing(names)}"
        for name in display
        if name not in names
    ]
    if faults:
        raise InputError(subject, faults)
    if positive is None and len(names) == 2:
        customary = [name for name in names if name.lower() in _POSITIVE_NAMES]
        positive = customary[0] if len(customary) == 1 else names[1]
    return LabelMap(tuple(names), positive, dict(display))


def numbered_label_map(number: int, positive: str | None, display: Display) -> LabelMap:
    """The labels ``1``, ``2`` … of so many options; none of them is the positive one."""
    names = tuple(map(str, range(1, number + 1)))
    faults = [
        f"data.label_names: {name!r} is no option's number; these are {listing(names)}" for name in display if name not in names
    ]
    if positive is not None:
        faults.append("data.positive_label: options have none; remove it")
    if faults:
        raise InputError("multiple-choice", faults)
    return LabelMap(names, None, dict(display))


def _ordered(names: set[str]) -> list[str]:
    try:
        if not any(math.isnan(float(name)) for name in names):  # which has no place among numbers
            return sorted(names, key=lambda name: (float(name), name))
    except ValueError:
        pass
    return sorted(names)


def unknown_labels(labels: Sequence[str], known: LabelMap) -> dict[str, int]:
    """Labels that the training rows do not have, with how often they occur."""
    counts: dict[str, int] = {}
    for name in labels:
        if name not in known.names:
            counts[name] = counts.get(name, 0) + 1
    return counts
