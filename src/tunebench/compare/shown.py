"""How names and figures are written in a report: for readers, with a dash where there is no figure."""

from __future__ import annotations

import unicodedata
from typing import Any

from tunebench.recipe.methods import BASELINES

NONE = "–"
LINES = "\n\t"
_STEERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\ufffe\uffff")
"""Characters that turn the direction of what follows, and two that no XML may hold."""


def written(text: str, keep: str = "") -> str:
    """The text with everything written out that would steer what shows it: control characters, halves of surrogate pairs."""
    return "".join(
        char
        if char in keep or (char not in _STEERING and unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp"))
        else ascii(char)[1:-1]
        for char in text
    )


def short(text: str, most: int = 28) -> str:
    """A name on one line, of at most so many characters: its beginning and its end, which often tells names apart."""
    line = written(text)
    return line if len(line) <= most else f"{line[: most - most // 3 - 1]}…{line[-(most // 3) :]}"


def form_name(row: dict[str, Any], form: str) -> str:
    """What a table calls a form; a baseline has one, which no engine computes."""
    return NONE if row["method"] in BASELINES else form


def count(number: float | None) -> str:
    """A whole number with its thousands apart: ``109,483,778``."""
    return NONE if number is None else f"{number:,.0f}"


def brief(number: float) -> str:
    """A number for an axis: ``0``, ``300``, ``1.5 k``, ``110 M``."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:.3g}"


def size(number: float | None) -> str:
    """Bytes: ``17 B``, ``590 kB``, ``1.21 GB``."""
    if number is None:
        return NONE
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= unit:
            return f"{number / unit:,.3g} {name}" if number < 999.5 * unit else f"{number / unit:,.0f} {name}"
    return f"{number:.0f} B"


def figure(value: float | None, digits: int = 4) -> str:
    """A score: ``0.8912``."""
    return NONE if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """A share in percent that is given as such: ``0.27 %``."""
    if value is None:
        return NONE
    return f"{value:.2f} %" if value >= 0.01 or value == 0 else f"{value:.1g} %"


def interval(row: dict[str, Any], name: str) -> str:
    """The 95 % interval beside a figure: ``[0.873, 0.908]``; nothing where there is none."""
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return "" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


def duration(seconds: float | None) -> str:
    """A time: ``0.4 s``, ``42 s``, ``3 min 20 s``, ``1 h 05 min``."""
    if seconds is None:
        return NONE
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{min(seconds, 59):.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60:02d} min"


def milliseconds(value: float | None) -> str:
    """A latency: ``4.31 ms``, ``212 ms``."""
    return NONE if value is None else f"{_three(value)} ms"


def rate(value: float | None) -> str:
    """Rows per second: ``8.4``, ``312``, ``1.2 M``."""
    if value is None:
        return NONE
    if value >= 1e5:
        return f"{value / 1e6:,.3g} M"
    return _three(value)


def _three(value: float) -> str:
    """About three digits: ``0.0033``, ``0.31``, ``4.00``, ``92.1``, ``1,204``."""
    if 0 < value < 0.095:
        return f"{value:.2g}"
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def probability(value: float | None) -> str:
    """A p-value as it is reported: ``0.031``, ``< 0.001``."""
    return NONE if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def times(ratio: float | None) -> str:
    """How many times: ``371 ×``, ``1.8 ×``."""
    return NONE if ratio is None else f"{ratio:,.0f} ×" if ratio >= 99.5 else f"{ratio:.3g} ×"


def proof(found: dict[str, Any] | None) -> str:
    """What a proof found: ``passed on 64 rows: largest difference 3e-06, 0 label flips``."""
    if not found:
        return NONE
    verdict = "passed" if found.get("passed") else "FAILED"
    if "rows" not in found:
        return verdict
    return (
        f"{verdict} on {count(found['rows'])} rows: largest difference {found['largest_difference']:.1e}, "
        f"{count(found['label_flips'])} label flips"
    )


def told(value: Any, name: str = "") -> str:
    """A fact of the provenance as text; sizes in bytes by their name."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {told(item, str(key))}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(told(item) for item in value)
    return size(value) if name.endswith("_bytes") and isinstance(value, int | float) else str(value)
