"""What cleaning did to the texts of a corpus: every one that was changed, cut or dropped, with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from tunebench.data.writers import table_writer

EMPTY, SHORT, LONG, DOUBLE, NEAR = "empty text", "min_chars", "max_chars", "duplicate", "near duplicate"
"""Reasons beside the settings of ``data.clean`` that changed a text (``urls, punctuation``)."""
_CHUNK = 2048


class Audited(NamedTuple):
    """What became of one text.

    ``after`` is None where the text was dropped (``empty text``, ``min_chars``, ``duplicate``, ``near duplicate``) or cut into
    others (``max_chars``). ``others`` are the ids of these, or of the document that a duplicate repeats.
    """

    split: str
    id: str
    reason: str
    before: str
    after: str | None = None
    others: tuple[str, ...] = ()


def counts(audited: Iterable[Audited]) -> dict[str, dict[str, int]]:
    """How many texts each reason changed or dropped, by split: ``{"train": {"urls": 12, "duplicate": 3}}``."""
    found: dict[str, Counter[str]] = {}
    for one in audited:
        found.setdefault(one.split, Counter()).update(one.reason.split(", "))
    return {split: dict(reasons) for split, reasons in found.items()}


def told(done: Mapping[str, int]) -> str:
    """The counts of one split in words: ``changed 12 (urls); dropped 3 (min_chars)``; nothing where nothing was done."""
    dropped = (EMPTY, SHORT, DOUBLE, NEAR)
    verbs = {reason: "dropped" if reason in dropped else "cut" if reason == LONG else "changed" for reason in done}
    parts = [
        f"{verb} {', '.join(f'{number:,} ({reason})' for reason, number in done.items() if verbs[reason] == verb)}"
        for verb in ("changed", "dropped", "cut")
        if verb in verbs.values()
    ]
    return "; ".join(parts)


def write_audit(path: Path, audited: Sequence[Audited]) -> None:
    """Write the records as JSON lines, whole or not at all; TunebenchError where the place cannot be written."""
    with table_writer(path, dict.fromkeys(Audited._fields, pa.string())) as write:
        for begun in range(0, len(audited), _CHUNK):
            columns = zip(*audited[begun : begun + _CHUNK], strict=True)
            write({name: list(values) for name, values in zip(Audited._fields, columns, strict=True)})
