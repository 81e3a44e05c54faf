"""A text whose words are marked by what they do for an answer, as HTML.

Blue with a solid line and ``+``: without the word the answer is less probable. Orange with a dashed line and a minus: more
probable. So the mark can be read without its colour. Tints are see-through, so that the text keeps its contrast on light and on
dark.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

FOR, AGAINST = (31, 119, 208), (217, 119, 6)
MOST_TINT = 0.38
FAINT = 0.12
"""Words below this share of the strongest one stay unmarked."""
_TEXT = "line-height:2.1;white-space:pre-wrap;overflow-wrap:anywhere;font-size:1.05rem"
_MARK = "border-radius:3px;padding:1px 2px;color:inherit"


def marked_text(text: str, words: Sequence[dict[str, Any]]) -> str:
    """``text`` with its ``words`` (``start``, ``end``, ``weight``: how much the probability falls without it) marked."""
    most = max((abs(word["weight"]) for word in words), default=0.0)
    parts, at = [], 0
    for word in sorted(words, key=lambda word: int(word["start"])):
        parts += [html.escape(text[at : word["start"]]), _word(text[word["start"] : word["end"]], word["weight"], most)]
        at = max(at, word["end"])
    return f'<div style="{_TEXT}">{"".join(parts)}{html.escape(text[at:])}</div>'


def _word(text: str, weight: float, most: float) -> str:
    share = abs(weight) / most if most else 0.0
    if share < FAINT:
        return html.escape(text)
    (red, green, blue), line, sign = (FOR, "solid", "+") if weight > 0 else (AGAINST, "dashed", "−")
    tint = f"background:rgba({red},{green},{blue},{MOST_TINT * share:.2f})"
    style = f"{_MARK};{tint};border-bottom:{1 + round(2 * share)}px {line} rgb({red},{green},{blue})"
    shown = f'<sup style="font-size:.7em">{sign}</sup>' if share >= 0.5 else ""
    return f'<mark style="{style}" title="{100 * weight:+.1f} %">{html.escape(text)}{shown}</mark>'


def strongest(words: Sequence[dict[str, Any]], number: int = 5) -> list[dict[str, Any]]:
    """The words that do most, either way, strongest first."""
    return sorted((word for word in words if word["weight"]), key=lambda word: -abs(word["weight"]))[:number]
