"""A corpus for ``task: language-modeling``: documents out of files, cleaned, merged, each once, cut to size; nothing lost unsaid.

The order is fixed: every row's text is cleaned (``cleaner``), rows become documents (``merge_by``), short documents go
(``min_chars``), then those that repeat an earlier one (``deduplicate``), and long ones are cut (``max_chars``). Spaces around
rows and documents belong to neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tunebench.data.cleaning import cleaner, settings_at_work
from tunebench.data.corpus_audit import DOUBLE, EMPTY, LONG, NEAR, SHORT, Audited, counts, told
from tunebench.data.corpus_cuts import pieces
from tunebench.data.corpus_merge import merged
from tunebench.data.corpus_rows import Document, read_documents
from tunebench.data.corpus_twins import count_shared, nearly_repeated, repeated
from tunebench.data.items import flat
from tunebench.data.rows import Rows
from tunebench.errors import InputError
from tunebench.recipe.sources import Clean, Data, SplitFile

DOCUMENT = "document of this piece"  # which no file calls a column of its own
"""The column with the id of the document that a row is a piece of: pieces that belong together stay on one side of a split."""


def read_corpus(place: str | Path, data: Data, source: SplitFile, split: str) -> tuple[Rows, list[Audited]]:
    """The documents of a split, and what was done to every text on the way. ``place`` is a file, a folder or a pattern.

    The texts of the rows are documents or their pieces (str), the labels are empty. Raises InputError for faults of the files,
    for training on a single document, and where no document is left.
    """
    subject, clean, audited = str(place), data.clean, list[Audited]()
    read = read_documents(Path(place), data, source)
    rows = _cleaned(read.rows, clean, split, audited)
    documents = merged(rows, clean, subject)
    _check_ids(documents, subject)
    left = _long_enough(documents, clean, split, audited)
    left, unsure = _once(left, split, audited) if clean.deduplicate else (left, 0)
    whole = [piece for document in left for piece in _cut(document, clean, split, audited)]
    done = counts(audited).get(split, {})
    if not whole:
        raise InputError(subject, _nothing_left(len(read.rows), done))
    if split == "train" and len(whole) == 1:
        remedy = "give more, or set data.clean.max_chars, which cuts it"
        raise InputError(subject, f"is a corpus of one document, and training needs two or more; {remedy}")
    remarks = [f"{len(rows):,} paragraphs are {len(documents):,} documents"] if clean.merge_by else []
    remarks += [told(done)] if done else []
    remarks += [f"{unsure:,} documents are like so many that they were not held against all of them"] if unsure else []
    said = [*dict.fromkeys(read.remarks), *([f"{split}: {'; '.join(remarks)}"] if remarks else [])]
    return _as_rows(whole, read.types, clean, "; ".join(said) or None), audited


def shared_documents(splits: Mapping[str, Rows]) -> dict[str, dict[str, int]]:
    """How many documents of the later splits stand among the training documents: ``{"test": {"exact": 1, "near": 2}}``."""
    texts = {name: [flat(item) for item in rows.texts] for name, rows in splits.items()}
    found = {name: count_shared(texts["train"], later) for name, later in texts.items() if name != "train"}
    return {name: {"exact": exact, "near": near} for name, (exact, near) in found.items()}


def _cleaned(rows: Sequence[Document], clean: Clean, split: str, audited: list[Audited]) -> list[Document]:
    """The rows that hold a text once it is cleaned."""
    cleaned, kept = cleaner(clean), []
    for row in rows:
        text = cleaned(row.text)
        if not text.strip():
            audited.append(Audited(split, row.id, EMPTY, row.text))
            continue
        if text != row.text:
            audited.append(Audited(split, row.id, ", ".join(settings_at_work(clean, row.text)), row.text, text))
        kept.append(row._replace(text=text.strip()))
    return kept


def _long_enough(documents: Sequence[Document], clean: Clean, split: str, audited: list[Audited]) -> list[Document]:
    least = clean.min_chars or 0
    audited += [Audited(split, document.id, SHORT, document.text) for document in documents if len(document.text) < least]
    return [document for document in documents if len(document.text) >= least]


def _once(documents: Sequence[Document], split: str, audited: list[Audited]) -> tuple[list[Document], int]:
    """The documents without those that repeat an earlier one, first word for word, then nearly; and how many are unsure."""
    exact = repeated([document.text for document in documents])
    left = _without(documents, exact, DOUBLE, split, audited)
    near, unsure = nearly_repeated([document.text for document in left])
    return _without(left, near, NEAR, split, audited), unsure


def _without(
    documents: Sequence[Document], twins: Mapping[int, int], reason: str, split: str, audited: list[Audited]
) -> list[Document]:
    for i, twin in sorted(twins.items()):
        audited.append(Audited(split, documents[i].id, reason, documents[i].text, None, (documents[twin].id,)))
    return [document for i, document in enumerate(documents) if i not in twins]


def _cut(document: Document, clean: Clean, split: str, audited: list[Audited]) -> Iterator[Document]:
    """The document, or its pieces where it is too long, under ids of their own."""
    if clean.max_chars is None or len(document.text) <= clean.max_chars:
        yield document._replace(cells=document.cells | {DOCUMENT: document.id})
        return
    parts = pieces(document.text, clean.min_chars or 1, clean.max_chars)
    ids = tuple(f"{document.id}#{number}" for number in range(1, len(parts) + 1))
    audited.append(Audited(split, document.id, LONG, document.text, None, ids))
    for key, part in zip(ids, parts, strict=True):
        yield document._replace(id=key, text=part, cells=document.cells | {DOCUMENT: document.id})


def _as_rows(documents: Sequence[Document], types: Mapping[str, pa.DataType], clean: Clean, remark: str | None) -> Rows:
    names = {name: kind for name, kind in types.items() if clean.merge_by is None or name in clean.merge_by}
    kinds = names | {DOCUMENT: pa.string()}
    columns: dict[str, list[Any]] = {name: [document.cells.get(name) for document in documents] for name in kinds}
    ids, texts = [document.id for document in documents], [document.text for document in documents]
    return Rows(ids, [*texts], [""] * len(documents), columns, kinds, remark)


def _check_ids(documents: Sequence[Document], subject: str) -> None:
    places: dict[str, list[str]] = {}
    for document in documents:
        places.setdefault(document.id, []).append(document.place)
    doubled = {key: found for key, found in places.items() if len(found) > 1}
    if doubled:
        raise InputError(
            subject,
            [f"the id {key!r} stands in {' and '.join(found)}; an id belongs to one document" for key, found in doubled.items()],
        )


def _nothing_left(rows: int, done: Mapping[str, int]) -> str:
    """Words about a corpus of which nothing is left, and what to do about it."""
    if not rows:
        return "holds no rows; give files with texts"
    dropped = {reason: number for reason, number in done.items() if reason in (EMPTY, SHORT, DOUBLE, NEAR)}
    remedy = "lower data.clean.min_chars, or give longer texts" if SHORT in dropped else "give files with texts"
    return f"none of its {rows:,} rows is left ({told(dropped)}); {remedy}"
