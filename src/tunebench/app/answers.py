"""What is shown of an answer: the label's name for the reader, the largest probabilities, the rest put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunebench.data.labels import shown_name
from tunebench.errors import TunebenchError
from tunebench.predict.calibrated import stored
from tunebench.runs.exports import default_backend
from tunebench.runs.run import Run

MOST_BARS = 6
_TAGS = {"en": ("en",), "zh-Hant": ("zh-Hant", "zh-TW", "zh-HK"), "zh-Hans": ("zh-Hans", "zh-CN")}
"""Tags under which recipes name labels for readers of a language of the studio."""


def label_shown(display: Mapping[str, Any], name: str, language: str) -> str:
    """What a label is called for readers of a language of the studio."""
    shown = display.get(name, name)
    tags = _TAGS.get(language, (language,))
    known = {tag.replace("_", "-").lower() for tag in shown} if isinstance(shown, dict) else set()
    return shown_name(dict(display), name, next((tag for tag in tags if tag.lower() in known), tags[0]))


def bars(probabilities: Mapping[str, float]) -> tuple[list[tuple[str, float]], tuple[int, float] | None]:
    """The most probable labels, best first, and of those left out how many they are and what they share."""
    found = sorted(probabilities.items(), key=lambda item: -item[1])
    if len(found) <= MOST_BARS:
        return found, None
    rest = found[MOST_BARS - 1 :]
    return found[: MOST_BARS - 1], (len(rest), sum(probability for _, probability in rest))


def is_calibrated(run: Run) -> bool:
    """Say whether a run has a calibration of what it predicts with."""
    try:
        stored(run, default_backend(run))
    except (TunebenchError, OSError):
        return False
    return True
