"""What the page Data shows of a recipe's data: what `check` found, and a sample of the training rows. No other row is shown."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tunebench import jobs
from tunebench.data.dataset import cut_of
from tunebench.data.findings import Findings
from tunebench.data.items import flat
from tunebench.data.parts import Part, count_labels, cut_parts, read_marked
from tunebench.data.reading import reading_of
from tunebench.data.scan import scan
from tunebench.data.tables import open_source
from tunebench.predict.rulers import open_ruler
from tunebench.recipe.load import dump_recipe
from tunebench.recipe.spec import Recipe
from tunebench.runs import bases

MOST_SAMPLED, MOST_CHARACTERS = 2000, 2_000_000
MOST_SHOWN = 1000
"""Characters of a text on the page."""


@dataclass(frozen=True)
class TrainingRow:
    """One row that is trained on."""

    id: str
    label: str
    text: str


@dataclass(frozen=True)
class Sheet:
    """Findings, and of a sample of the training rows the rows themselves and their lengths in ``findings.unit``."""

    findings: Findings
    rows: list[TrainingRow]
    lengths: list[int]

    def some_rows(self, number: int, seed: int) -> list[TrainingRow]:
        """A few rows, others for every seed."""
        return random.Random(seed).sample(self.rows, min(number, len(self.rows)))


def look(recipe: Recipe, on_rows: Callable[[int], None]) -> Sheet:
    """Look through the data of a recipe of labelled texts; ``on_rows`` hears how many rows were read so far.

    Raises InputError for what leaves nothing to look at.
    """
    with tempfile.TemporaryDirectory(prefix="tunebench-") as folder:
        path = Path(folder) / f"{recipe.name}.yaml"
        path.write_text(dump_recipe(recipe), "utf-8")
        findings = jobs.check(str(path), [], on_rows)[""]
    part = _training_part(recipe)
    rows = _sampled(part)
    base = None if recipe.base is None else bases.base_folder(recipe.base)
    lengths = open_ruler(recipe, base, list(count_labels(part))).lengths([row.text for row in rows])
    shown = [TrainingRow(row.id, row.label, row.text[:MOST_SHOWN]) for row in rows]
    return Sheet(findings, shown, lengths)


def without_base(recipe: Recipe) -> Recipe:
    """The same data for a baseline: looked through without a tokenizer, lengths in words."""
    settings = recipe.model_dump(exclude={"base", "method", "train"}) | {"method": {"kind": "majority"}}
    return Recipe.model_validate(settings)


def _training_part(recipe: Recipe) -> Part:
    """The rows that training would have, as `check` cuts them."""
    data, source = recipe.data, recipe.data.source("train")
    assert source is not None
    path = bases.locate(source.file)
    source = source.model_copy(update={"id": source.id or "id"}) if path.is_dir() else source
    cuts = [cut_of(data, name, recipe.task) for name in ("test", "validation")]
    groups = [cut.group_by for cut in cuts if cut is not None and cut.group_by is not None]
    reader = open_source(path, source)
    scanned = scan(reader, source, reading_of(data, source, recipe.task), groups, lambda rows: None)
    return cut_parts({"train": scanned}, data, recipe.data_seed, recipe.task)["train"]


def _sampled(part: Part) -> list[TrainingRow]:
    marked = part.mask(part.sample(MOST_SAMPLED, MOST_CHARACTERS))
    return [
        TrainingRow(part.scan.ids[place], part.scan.labels[place], flat(item))
        for _, places, items in read_marked({"train": part}, {"train": marked})
        for place, item in zip(places.tolist(), items, strict=True)
    ]
