"""Documents out of their paragraphs: ``data.clean.merge_by`` and ``order_by``."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

from tunebench.data.corpus_rows import Document
from tunebench.data.labels import label_name
from tunebench.errors import InputError
from tunebench.recipe.sources import Clean


def merged(rows: Sequence[Document], clean: Clean, subject: str) -> list[Document]:
    """One document for all rows that agree in ``merge_by``, in the order of ``order_by`` or of the file, a line for each.

    Documents stand where their first row does and have its id. Raises InputError where rows of one document have the same
    place in it, and where the column is not one of numbers only or of words only.
    """
    if clean.merge_by is None:
        return list(rows)
    documents: dict[tuple[str, ...], list[Document]] = {}
    for row in rows:
        documents.setdefault(tuple(label_name(row.cells[name]) or "" for name in clean.merge_by), []).append(row)
    if clean.order_by is not None:
        _sort(documents.values(), clean.order_by, subject)
    keep = clean.merge_by
    return [
        Document(
            first.id, first.place, "\n".join(row.text for row in (first, *others)), {name: first.cells[name] for name in keep}
        )
        for first, *others in documents.values()
    ]


def _sort(documents: Collection[list[Document]], column: str, subject: str) -> None:
    """Bring the rows of every document into the order of a column, in place: by number where it holds numbers, else by text."""
    rows = [row for document in documents for row in document]
    words = [row for row in rows if _number(row.cells[column]) is None]
    if words and len(words) < len(rows):
        shown = [f"{row.place}: {row.cells[column]!r} is no number, as others in {column!r} are; correct it" for row in words]
        raise InputError(subject, shown)

    def order(row: Document) -> tuple[float, str]:
        cell = row.cells[column]
        return _number(cell) or 0, str(cell) if words else ""

    faults = []
    for document in documents:
        document.sort(key=order)
        faults += [
            f"{column!r} is {one.cells[column]} in {one.place} and in {other.place} of the same document; correct it, or name a "
            "further column in data.clean.merge_by that tells the documents apart"
            for one, other in pairwise(document)
            if order(one) == order(other)
        ]
    if faults:
        raise InputError(subject, faults)


def _number(value: Any) -> float | None:
    """The number in a cell, also one written as text."""
    try:
        found = int(value) if isinstance(value, str) and value.strip().lstrip("+-").isdecimal() else float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None
