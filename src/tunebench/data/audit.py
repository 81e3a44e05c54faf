"""The audit of a recipe's data before anything is trained: what is unsound, what stands twice, what would be cut off.

Works on data that training refuses, and never holds all texts at once. It reads the files three times: for a few numbers
per row, for the texts of a sample, and for texts that are nearly the same.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from tunebench.data import gates, wording
from tunebench.data.conversations import read_conversations
from tunebench.data.corpus import read_corpus
from tunebench.data.corpus_audit import counts
from tunebench.data.dataset import cut_of
from tunebench.data.findings import FileFindings, Findings, Lengths, SplitFindings
from tunebench.data.items import Item, flat
from tunebench.data.leaks import Leak, pair_up, search_near
from tunebench.data.lookalikes import look_alikes
from tunebench.data.parts import Part, Repeats, count_labels, count_repeats, cut_parts, read_marked
from tunebench.data.readers import TableReader, require_columns
from tunebench.data.reading import Reading, reading_of
from tunebench.data.rows import Rows
from tunebench.data.scan import Scan, scan, scan_whole
from tunebench.data.scripts import SCRIPTS, script_findings
from tunebench.data.shingles import Shingles, shingles
from tunebench.data.tables import open_source
from tunebench.errors import InputError, listing
from tunebench.recipe.sources import Data, SplitFile
from tunebench.recipe.spec import TEXT_TASKS, Recipe

MOST_MEASURED = 20_000
"""Rows of a split whose length is measured …"""
MOST_CHARACTERS = 20_000_000
"""… and fewer where they hold more than this, about half a minute of a tokenizer."""
MOST_SPELLED, MOST_SPELLED_CHARACTERS = 3_000, 1_000_000
"""Training texts whose spelling is looked at, and how much they hold at most: shares are then right to one in a thousand."""
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}

OnRows = Callable[[int], None]


@dataclass(frozen=True)
class Ruler:
    """How the lengths of items are measured; what is longer than ``max_length`` is cut.

    ``spelled`` counts by script what a tokenizer makes of the characters of texts, as rows of ``scripts.SCRIPTS``.
    """

    unit: str
    max_length: int | None
    lengths: Callable[[Sequence[Item]], list[int]]
    spelled: Callable[[Sequence[str]], np.ndarray] | None = None


@dataclass
class _Sampled:
    """What is known of a split's texts after they were read a second time."""

    lengths: dict[int, int] = field(default_factory=dict)  # by place in the scan
    sought: list[Shingles] = field(default_factory=list)
    starts: dict[int, str] = field(default_factory=dict)
    spelled: np.ndarray = field(default_factory=lambda: np.zeros((len(SCRIPTS), 4)))


def audit(
    recipe: Recipe, locate: Callable[[str], Path], open_ruler: Callable[[Sequence[str]], Ruler], on_rows: OnRows
) -> Findings:
    """Look through a recipe's data. ``on_rows`` hears how many rows have been read; each is read up to three times.

    ``open_ruler`` is given the labels of the training rows. Raises InputError for what leaves nothing to look at: missing
    files and columns, no sound row, a split of no rows.
    """
    read = _summing(on_rows)
    scans, cleaned = _scan_files(recipe, locate, read)
    parts = cut_parts(scans, recipe.data, recipe.data_seed, recipe.task)
    repeats = {name: count_repeats(part) for name, part in parts.items()}
    leaks, ruler = pair_up(parts), open_ruler(list(count_labels(parts["train"])))
    sampled = _sample(parts, leaks, _shown(parts, repeats, leaks), ruler, read)
    boilerplate = search_near(leaks, {leak.later.name: sampled[leak.later.name].sought for leak in leaks}, read)
    splits = _splits(parts, repeats, sampled, ruler, recipe.data)
    shared = [leak.counts() for leak in leaks]
    scripts = script_findings(sampled["train"].spelled)
    alike = look_alikes(sum((Counter(part.labels) for part in splits.values()), Counter[str]()))
    refused = wording.refusals(scans, splits, recipe)
    starts = {name: item.starts for name, item in sampled.items()}
    return Findings(
        recipe=recipe.name,
        task=recipe.task,
        unit=ruler.unit,
        max_length=ruler.max_length,
        files=_files(scans),
        splits=splits,
        shared=shared,
        scripts=scripts,
        cleaned=cleaned,
        look_alikes=alike,
        examples=wording.examples(parts, {name: found.contradictions for name, found in repeats.items()}, leaks, starts),
        refused=refused,
        gates=gates.gates(splits, shared, alike, refused, scripts),
        warnings=gates.warnings(splits, shared, scripts),
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


def _scan_files(
    recipe: Recipe, locate: Callable[[str], Path], on_rows: OnRows
) -> tuple[dict[str, Scan], dict[str, dict[str, int]]]:
    """Every split that has a file, read once, and what cleaning did there; InputError with the faults of all files."""
    data, cleaned = recipe.data, dict[str, dict[str, int]]()
    opened: dict[str, Callable[[], Scan]] = {}
    errors: list[InputError] = []
    fractions = (cut_of(data, name, recipe.task) for name in ("test", "validation"))
    cuts = [cut.group_by for cut in fractions if cut is not None and cut.group_by is not None]
    for name in ("train", "validation", "test"):
        if (source := data.source(name)) is not None:
            groups = cuts if name == "train" else []
            try:
                if recipe.task in TEXT_TASKS:
                    rows, cleaned[name] = _read_whole(recipe, locate(source.file), source, name)
                    opened[name] = partial(scan_whole, locate(source.file), rows, source, groups, on_rows)
                else:
                    opened[name] = partial(scan, *_open(name, source, recipe, locate, groups), groups, on_rows)
            except InputError as error:
                errors.append(error)
    if len(errors) > 1:
        raise InputError("data", [f"{error.subject}: {fault}" for error in errors for fault in error.faults])
    if errors:
        raise errors[0]
    scans = {name: scanned() for name, scanned in opened.items()}
    for scanned in scans.values():
        if not scanned.ids:
            kinds = listing(f"{kind}: {count:,}" for kind, count in scanned.unsound.items())
            fault = f"none of its {scanned.rows:,} rows is sound: {kinds}" if scanned.rows else "has a header but no rows"
            raise InputError(str(scanned.reader.path), fault)
    return scans, {name: counts for name, counts in cleaned.items() if counts}


def _read_whole(recipe: Recipe, path: Path, source: SplitFile, split: str) -> tuple[Rows, dict[str, int]]:
    """The documents or conversations of a split, and how many texts cleaning changed or dropped, by reason."""
    if recipe.task == "instruction":
        return read_conversations(path, recipe.data, source), {}
    rows, audited = read_corpus(path, recipe.data, source, split)
    return rows, counts(audited).get(split, {})


def _open(
    split: str, source: SplitFile, recipe: Recipe, locate: Callable[[str], Path], groups: Sequence[str]
) -> tuple[TableReader, SplitFile, Reading]:
    """A split's file with its columns checked; the texts of a folder have the names of their files as ids."""
    path, data = locate(source.file), recipe.data
    reader = open_source(path, source)
    source = source.model_copy(update={"id": source.id or "id"}) if os.path.isdir(path) else source
    reading = reading_of(data, source, recipe.task)
    wanted = reading.columns | dict([reading.label])
    wanted |= {"data.id" if source.id == data.id else "id of this split": source.id} if source.id else {}
    require_columns(reader, wanted | {f"group_by: {name}": name for name in groups})
    return reader, source, reading


def _shown(parts: Mapping[str, Part], repeats: Mapping[str, Repeats], leaks: Sequence[Leak]) -> dict[str, set[int]]:
    """Places of the rows whose text is shown in an example; never of the test split."""
    shown = {name: {one for one, _ in repeats[name].contradictions} for name in parts if name != "test"}
    for leak in leaks:
        if leak.later.name != "test":
            shown[leak.later.name] |= {place for place, _ in leak.exact_twins()}
    return shown


def _sample(
    parts: Mapping[str, Part], leaks: Sequence[Leak], shown: Mapping[str, set[int]], ruler: Ruler, on_rows: OnRows
) -> dict[str, _Sampled]:
    """Read the files again: measure a sample, take the word sequences of what is looked up, keep what is shown."""
    measured = {name: part.mask(part.sample(MOST_MEASURED, MOST_CHARACTERS)) for name, part in parts.items()}
    spelled = parts["train"].mask(parts["train"].sample(MOST_SPELLED, MOST_SPELLED_CHARACTERS))
    sought = {leak.later.name: leak.later.mask(leak.places) for leak in leaks}
    marked = {
        name: measured[name] | sought.get(name, False) | part.mask(np.array(sorted(shown.get(name, ())), np.int64))
        for name, part in parts.items()
    }
    found = {name: _Sampled() for name in parts}
    for name, places, items in read_marked(parts, marked):
        own, wanted = found[name], [i for i, place in enumerate(places) if measured[name][place]]
        own.lengths.update(zip(places[wanted].tolist(), ruler.lengths([items[i] for i in wanted]), strict=True))
        texts = [flat(item) for item in items]
        if name in sought:
            own.sought.append(shingles([text for text, place in zip(texts, places, strict=True) if sought[name][place]]))
        if name == "train" and ruler.spelled is not None:
            own.spelled += ruler.spelled([text for text, place in zip(texts, places, strict=True) if spelled[place]])
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
