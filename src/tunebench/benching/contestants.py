"""Who is timed, and over what: the forms of runs, and texts that all runs over the same data share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunebench.binding import reading_of_file, unsealed_rows
from tunebench.compare.rows import family_of
from tunebench.data import dataset, readers
from tunebench.data.items import Item, flat
from tunebench.data.reading import items_in
from tunebench.errors import InputError, listing
from tunebench.recipe.resolve import digest_of
from tunebench.recipe.sources import SplitFile
from tunebench.recipe.spec import TEXT_TASKS, Recipe
from tunebench.runs import exports
from tunebench.runs.run import Run

ROWS, CAUSAL_ROWS = 500, 100
"""How many rows are timed in batches where nobody says it; a causal language model takes much longer for each."""
SINGLES, CAUSAL_SINGLES = 40, 20
"""How many of them are also timed one at a time, in every round."""


@dataclass(frozen=True)
class Asked:
    """What is to be timed, and how; ``rows`` None is ``ROWS`` or ``CAUSAL_ROWS``, no ``backends`` all but ``torch-int8``."""

    rows: int | None = None
    batch_size: int = 32
    max_length: int | None = None
    rounds: int = 3
    backends: tuple[str, ...] = ()
    data: str | None = None

    def faults(self) -> list[str]:
        """What cannot be asked."""
        counts = {"--rows": self.rows, "--batch-size": self.batch_size, "--rounds": self.rounds}
        found = [
            f"{name}: expected 1 or more, found {value}" for name, value in counts.items() if value is not None and value < 1
        ]
        if self.max_length is not None and self.max_length < 4:
            found.append(f"--max-length: expected 4 or more, found {self.max_length}")
        return found


@dataclass(frozen=True)
class Contestant:
    """A run, the forms of it that are timed, and its texts; ``singles`` of them, the first, are timed one at a time too."""

    run: Run
    family: str
    backends: tuple[str, ...]
    items: list[Item]
    singles: int
    max_length: int | None

    @property
    def texts(self) -> str:
        """sha256 over the texts in order."""
        return hashlib.sha256("".join(map(_digest, self.items)).encode()).hexdigest()


def contestants(runs: Sequence[Run], asked: Asked) -> list[Contestant]:
    """Every run with its forms and texts, in the order given, one that is named twice once; InputError with all faults."""
    distinct = {run.path.resolve(): run for run in runs}
    faults = asked.faults()
    for run in distinct.values():
        faults += _faults(run, asked)
    if faults:
        raise InputError("bench", faults)
    pools: dict[str, list[Item]] = {}
    return [_contestant(run, asked, pools) for run in distinct.values()]


def _faults(run: Run, asked: Asked) -> list[str]:
    """Why a run cannot be timed as asked."""
    if (status := run.status()) != "finished":
        return [f"{run.name}: is {status}, and only a finished run is timed; finish it with `tunebench train`"]
    there, recipe = exports.forms(run), run.recipe
    faults = [
        f"{run.name}: has no form {name!r}; it has {listing(there)}, and `tunebench export` or `merge` makes others"
        for name in dict.fromkeys(asked.backends)
        if name not in there
    ]
    if not there:
        faults.append(f"{run.name}: nothing installed here can open it; pip install 'tunebench[train]'")
    if recipe.base is not None and (asked.max_length or 0) > recipe.base.max_length:
        faults.append(
            f"{run.name}: was made for {recipe.base.max_length} tokens, found --max-length {asked.max_length}; "
            "texts can be cut earlier, not later"
        )
    return faults


def _contestant(run: Run, asked: Asked, pools: dict[str, list[Item]]) -> Contestant:
    """A run as it is timed; ``pools`` holds what was read for others, by what it was read from."""
    recipe, family = run.recipe, family_of(run.recipe, (run.manifest["base"] or {}).get("architecture"))
    key = digest_of([recipe.model_dump(mode="json", include={"data", "task"}), recipe.data_seed, run.manifest["data"]])
    if key not in pools:
        pools[key] = _all_items(run, asked.data)
    slow = family == "causal LM"
    backends = dict.fromkeys(asked.backends or [name for name in exports.forms(run) if name != exports.TORCH_INT8])
    items = drawn(pools[key], asked.rows or (CAUSAL_ROWS if slow else ROWS))
    singles = min(len(items), CAUSAL_SINGLES if slow else SINGLES)
    length = asked.max_length or recipe.base.max_length if recipe.base else None
    return Contestant(run, family, tuple(backends), items, singles, length)


def drawn(items: Sequence[Item], number: int) -> list[Item]:
    """So many of the items, in an order that their contents alone decide; a smaller draw is the beginning of a larger one."""
    return sorted(items, key=_digest)[:number]


def _digest(item: Item) -> str:
    return hashlib.sha256(flat(item).encode("utf-8", "surrogatepass")).hexdigest()


def _all_items(run: Run, file: str | None) -> list[Item]:
    """The rows of a file, else the validation rows of the run, else its training rows. Its test rows are sealed."""
    if file is not None:
        return _file_items(Path(file), run.recipe)
    try:
        rows = unsealed_rows(run, "validation") or unsealed_rows(run, "train")
    except InputError as error:
        raise InputError(error.subject, [*error.faults, "or time it over other texts: --data FILE"]) from None
    assert rows is not None
    return rows.texts


def _file_items(path: Path, recipe: Recipe) -> list[Item]:
    """The sound rows of a file, read as the run reads its own; they need no labels."""
    if recipe.task in TEXT_TASKS:
        source = SplitFile(file=str(path), text=recipe.data.text)
        return dataset.read_split(path, recipe.data, source, recipe.task, "test", []).texts
    reader = readers.open_table(path)
    reading, _ = reading_of_file(reader, recipe, None)
    found = [item for chunk in reader.chunks() for item in items_in(chunk, reading)[0] if item is not None]
    if not found:
        raise InputError(str(path), "has no row with a text that could be timed")
    return found
