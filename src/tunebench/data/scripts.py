"""Which script a character belongs to, by ranges of code points: enough to tell what a tokenizer was not made for."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

_RANGES: dict[str, tuple[tuple[int, int], ...]] = {
    "Han": (
        *((0x2E80, 0x2FDF), (0x3005, 0x3005), (0x3007, 0x3007), (0x3021, 0x3029), (0x3400, 0x4DBF), (0x4E00, 0x9FFF)),
        *((0xF900, 0xFAFF), (0x20000, 0x323AF)),
    ),
    # Marks that combine are counted with the letters they nearly always stand on, as in Tâi-lô and Pe̍h-ōe-jī.
    "Latin": (
        *((0x41, 0x5A), (0x61, 0x7A), (0xAA, 0xAA), (0xBA, 0xBA), (0xC0, 0xD6), (0xD8, 0xF6), (0xF8, 0x2AF), (0x300, 0x36F)),
        *((0x1AB0, 0x1AFF), (0x1D00, 0x1EFF), (0x2C60, 0x2C7F), (0xA720, 0xA7FF), (0xAB30, 0xAB6F)),
        *((0xFF21, 0xFF3A), (0xFF41, 0xFF5A)),
    ),
    "kana": ((0x3041, 0x30FA), (0x30FC, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F), (0x1AFF0, 0x1B16F)),
    "Bopomofo": ((0x2EA, 0x2EB), (0x3105, 0x312F), (0x31A0, 0x31BF)),
    "Hangul": ((0x1100, 0x11FF), (0x3131, 0x318E), (0xA960, 0xA97C), (0xAC00, 0xD7FB), (0xFFA0, 0xFFDC)),
    "Cyrillic": ((0x400, 0x52F), (0x1C80, 0x1C8F), (0x2DE0, 0x2DFF), (0xA640, 0xA69F)),
    "Greek": ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    "Arabic": ((0x600, 0x6FF), (0x750, 0x77F), (0x870, 0x8FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC)),
    "Hebrew": ((0x591, 0x5F4), (0xFB1D, 0xFB4F)),
    "Devanagari": ((0x900, 0x97F), (0xA8E0, 0xA8FF)),
    "Thai": ((0xE01, 0xE5B),),
    "emoji": ((0x200D, 0x200D), (0x20E3, 0x20E3), (0x2600, 0x27BF), (0x2B05, 0x2B55), (0xFE00, 0xFE0F), (0x1F000, 0x1FAFF)),
    # Digits, punctuation, signs and all that goes with any script.
    "common": (
        *((0x0, 0x40), (0x5B, 0x60), (0x7B, 0xA9), (0xAB, 0xB9), (0xBB, 0xBF), (0xD7, 0xD7), (0xF7, 0xF7), (0x2B0, 0x2E9)),
        *((0x2EC, 0x2FF), (0x2000, 0x200C), (0x200E, 0x20E2), (0x20E4, 0x25FF), (0x2900, 0x2B04), (0x2E00, 0x2E7F)),
        *((0x2FF0, 0x3004), (0x3006, 0x3006), (0x3008, 0x3020), (0x302A, 0x303F), (0x30FB, 0x30FB), (0x31C0, 0x31EF)),
        *((0x3200, 0x33FF), (0xFE10, 0xFE6F), (0xFF00, 0xFF20), (0xFF3B, 0xFF40), (0xFF5B, 0xFF65), (0xFFE0, 0xFFFD)),
    ),
}
SCRIPTS = (*_RANGES, "other")
"""Names by code."""


@dataclass(frozen=True)
class ScriptFindings:
    """The characters of one script in training texts, and what a tokenizer makes of them. White space is not counted.

    ``tokens`` is the mean number per character. ``in_bytes`` is the share that is spelled in pieces smaller than a character,
    ``unknown`` the share that becomes the unknown token or nothing: no model can tell these from one another.
    """

    script: str
    characters: int
    share: float
    tokens: float
    in_bytes: float
    unknown: float


def script_codes(points: np.ndarray) -> np.ndarray:
    """Places in ``SCRIPTS`` of code points ``(N,)``."""
    first, last, codes = _table()
    found = np.searchsorted(first, points, side="right") - 1
    return np.where(points <= last[found], codes[found], len(SCRIPTS) - 1)


def script_findings(counts: np.ndarray) -> list[ScriptFindings]:
    """What was found per script, the most frequent first, out of ``(S, 4)``: characters, tokens, those in bytes, unknown ones."""
    total = counts[:, 0].sum()
    return [
        ScriptFindings(
            SCRIPTS[code], int(number), *(round(float(value), 6) for value in (number / total, *(counts[code, 1:] / number)))
        )
        for code in np.argsort(-counts[:, 0], kind="stable").tolist()
        if (number := counts[code, 0])
    ]


@functools.cache
def _table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = sorted((first, last, code) for code, ranges in enumerate(_RANGES.values()) for first, last in ranges)
    first, last, codes = (np.array(column) for column in zip(*rows, strict=True))
    return first, last, codes
