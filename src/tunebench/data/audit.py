"""The audit of a recipe's data before anything is trained: what is unsound, what stands twice, what would be cut off.

Works on data that training refuses, and never holds all texts at once. It reads the files three times: for a few numbers
per row, for the texts of a sample, and for texts that are nearly the same.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tunebench.data import gates, wording
from tunebench.data.cleaning import Cleaner, cleaner
from tunebench.data.dataset import open_source
from tunebench.data.findings import FileFindings, Findings, Lengths, SplitFindings
from tunebench.data.leaks import Leak, pair_up, search_near
from tunebench.data.lookalikes import look_alikes
from tunebench.data.parts import Part, Repeats, count_labels, count_repeats, cut_parts, read_marked
from tunebench.data.readers import TableReader, require_columns
from tunebench.data.scan import Scan, scan
from tunebench.data.shingles import Shingles, shingles
from tunebench.errors import InputError, listing
from tunebench.recipe.sources import Data, Fraction, SplitFile
from tunebench.recipe.spec import Recipe

MOST_MEASURED = 20_000
"""Rows of a split whose length is measured …"""
MOST_CHARACTERS = 20_000_000
"""… and fewer where they hold more than this, about half a minute of a tokenizer."""
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}

OnRows = Callable[[int], None]


@dataclass(frozen=True)
class Ruler:
    """How the lengths of texts are measured; what is longer than ``max_length`` is cut."""

    unit: str
    max_length: int | None
    lengths: Callable[[Sequence[str]], list[int]]


@dataclass
class _Sampled:
    """What is known of a split's texts after they were read a second time."""

    lengths: dict[int, int] = field(default_factory=dict)  # by place in the scan
    sought: list[Shingles] = field(default_factory=list)
    starts: dict[int, str] = field(default_factory=dict)


def audit(recipe: Recipe, locate: Callable[[str], Path], ruler: Ruler, on_rows: OnRows) -> Findings:
    """Look through a recipe's data. ``on_rows`` hears how many rows have been read; each is read up to three times.

    Raises InputError for what leaves nothing to look at: missing files and columns, no sound row, a split of no rows.
    """
    clean, read = cleaner(recipe.data.clean), _summing(on_rows)
    scans = _scan_files(recipe.data, locate, clean, read)
    parts = cut_parts(scans, recipe.data, recipe.seed)
    repeats = {name: count_repeats(part) for name, part in parts.items()}
    leaks = pair_up(parts)
    sampled = _sample(parts, leaks, _shown(parts, repeats, leaks), ruler, clean, read)
    boilerplate = search_near(leaks, {leak.later.name: sampled[leak.later.name].sought for leak in leaks}, clean, read)
    splits = _splits(parts, repeats, sampled, ruler, recipe.data)
    shared = [leak.counts() for leak in leaks]
    alike = look_alikes(sum((Counter(part.labels) for part in splits.values()), Counter[str]()))
    refused = wording.refusals(scans, splits, recipe)
    starts = {name: item.starts for name, item in sampled.items()}
    return Findings(
        recipe=recipe.name,
        unit=ruler.unit,
        max_length=ruler.max_length,
        files=_files(scans),
        splits=splits,
        shared=shared,
        look_alikes=alike,
        examples=wording.examples(parts, {name: found.contradictions for name, found in repeats.items()}, leaks, starts),
        refused=refused,
        gates=gates.gates(splits, shared, alike, refused),
        warnings=gates.warnings(splits, shared),
        notes=wording.notes(parts, splits, leaks, boilerplate),
    )


def _summing(on_rows: OnRows) -> OnRows:
    """What takes rows in addition to those before, and tells ``on_rows`` their sum."""
    total = 0

    def add(rows: int) -> None:
        nonlocal total
        total += rows
        on_rows(total)

    return add


def _scan_files(data: Data, locate: Callable[[str], Path], clean: Cleaner, on_rows: OnRows) -> dict[str, Scan]:
    """Every split that has a file, read once; InputError with the faults of all files."""
    opened: dict[str, tuple[TableReader, SplitFile]] = {}
    errors: list[InputError] = []
    groups = [cut.group_by for cut in (data.test, data.validation) if isinstance(cut, Fraction) and cut.group_by is not None]
    for name in ("train", "validation", "test"):
        if (source := data.source(name)) is not None:
            try:
                opened[name] = _open(name, source, data, locate, groups if name == "train" else [])
            except InputError as error:
                errors.append(error)
    if len(errors) > 1:
        raise InputError("data", [f"{error.subject}: {fault}" for error in errors for fault in error.faults])
    if errors:
        raise errors[0]
    scans = {
        name: scan(reader, source, clean, groups if name == "train" else [], on_rows) for name, (reader, source) in opened.items()
    }
    for scanned in scans.values():
        if not scanned.ids:
            kinds = listing(f"{kind}: {count:,}" for kind, count in scanned.unsound.items())
            fault = f"none of its {scanned.rows:,} rows is sound: {kinds}" if scanned.rows else "has a header but no rows"
            raise InputError(str(scanned.reader.path), fault)
    return scans


def _open(
    split: str, source: SplitFile, data: Data, locate: Callable[[str], Path], groups: Sequence[str]
) -> tuple[TableReader, SplitFile]:
    """A split's file with its columns checked; the texts of a folder have the names of their files as ids."""
    path = locate(source.file)
    reader = open_source(path, source)
    source = source.model_copy(update={"id": source.id or "id"}) if os.path.isdir(path) else source
    named = {role: column for role in ("text", "label", "id") if (column := getattr(source, role)) is not None}
    wanted = {
        f"data.{role}" if column == getattr(data, role) else f"{role} of this split": column for role, column in named.items()
    }
    require_columns(reader, wanted | {f"group_by: {name}": name for name in groups})
    return reader, source


def _shown(parts: Mapping[str, Part], repeats: Mapping[str, Repeats], leaks: Sequence[Leak]) -> dict[str, set[int]]:
    """Places of the rows whose text is shown in an example; never of the test split."""
    shown = {name: {one for one, _ in repeats[name].contradictions} for name in parts if name != "test"}
    for leak in leaks:
        if leak.later.name != "test":
            shown[leak.later.name] |= {place for place, _ in leak.exact_twins()}
    return shown


def _sample(
    parts: Mapping[str, Part],
    leaks: Sequence[Leak],
    shown: Mapping[str, set[int]],
    ruler: Ruler,
    clean: Cleaner,
    on_rows: OnRows,
) -> dict[str, _Sampled]:
    """Read the files again: measure a sample, take the word sequences of what is looked up, keep what is shown."""
    measured = {name: part.mask(part.sample(MOST_MEASURED, MOST_CHARACTERS)) for name, part in parts.items()}
    sought = {leak.later.name: leak.later.mask(leak.places) for leak in leaks}
    marked = {
        name: measured[name] | sought.get(name, False) | part.mask(np.array(sorted(shown.get(name, ())), np.int64))
        for name, part in parts.items()
    }
    found = {name: _Sampled() for name in parts}
    for name, places, texts in read_marked(parts, marked, clean):
        own, wanted = found[name], [i for i, place in enumerate(places) if measured[name][place]]
        own.lengths.update(zip(places[wanted].tolist(), ruler.lengths([texts[i] for i in wanted]), strict=True))
        if name in sought:
            own.sought.append(shingles([text for text, place in zip(texts, places, strict=True) if sought[name][place]]))
        own.starts.update({place: texts[i][:500] for i, place in enumerate(places.tolist()) if place in shown.get(name, ())})
        on_rows(len(texts))
    return found


def _splits(
    parts: Mapping[str, Part], repeats: Mapping[str, Repeats], sampled: Mapping[str, _Sampled], ruler: Ruler, data: Data
) -> dict[str, SplitFindings]:
    labels = {name: count_labels(part) for name, part in parts.items()}
    most = next(iter(labels["train"]))
    return {
        name: SplitFindings(
            source=wording.source(data, name),
            rows=len(part.places),
            left_out=part.left_out,
            labels=labels[name],
            majority=labels[name].get(most, 0) / len(part.places),
            repeated=repeats[name].repeated,
            contradictory=repeats[name].contradictory,
            lengths=_lengths(part, sampled[name].lengths, ruler),
        )
        for name, part in parts.items()
    }


def _lengths(part: Part, lengths: Mapping[int, int], ruler: Ruler) -> Lengths:
    labels = dict.fromkeys(count_labels(part), 0)
    cut = dict(labels)
    for place, length in lengths.items():
        labels[part.scan.labels[place]] += 1
        cut[part.scan.labels[place]] += ruler.max_length is not None and length > ruler.max_length
    values = np.sort(np.fromiter(lengths.values(), np.int64, len(lengths)))
    quantiles = {name: int(values[int(np.ceil(share * len(values))) - 1]) for name, share in _QUANTILES.items()}
    return Lengths(labels, None if ruler.max_length is None else cut, None if part.name == "test" else quantiles)


def _files(scans: Mapping[str, Scan]) -> list[FileFindings]:
    """What was found in each file; of a file that is only tested on, no examples."""
    return [
        FileFindings(
            file=scanned.source.file,
            split=name,
            encoding=scanned.reader.encoding,
            delimiter=scanned.reader.delimiter,
            remark=scanned.reader.remark,
            columns=list(scanned.reader.types),
            rows=scanned.rows,
            unsound=scanned.unsound,
            doubled_ids=scanned.doubled_ids,
            examples=[] if name == "test" else scanned.examples,
        )
        for name, scanned in scans.items()
    ]
