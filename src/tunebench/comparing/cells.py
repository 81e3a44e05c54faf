"""From what a user names to cells: recipes, presets, matrix files and finished runs, each under its seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunebench.errors import InputError
from tunebench.recipe.load import AnyRecipe, anchored, dump_recipe, presets, read_settings, validate_any
from tunebench.recipe.matrix import Combination, expand, is_matrix, unseeded
from tunebench.recipe.spec import Recipe
from tunebench.recipe.stages import StagedRecipe
from tunebench.runs.cache import write_atomic
from tunebench.runs.index import run_at
from tunebench.runs.run import Run

RECIPES = "recipes"
"""Folder of a comparison with the recipes that stand in no file of the user's."""


@dataclass(frozen=True)
class Cell:
    """One run of a comparison: a recipe under one seed, to be trained from ``source``, or a run that is there.

    ``written`` says that the source is a file that the comparison itself writes.
    """

    name: str
    seed: int
    source: str
    recipe: AnyRecipe
    taken: Run | None = None
    written: bool = False


@dataclass(frozen=True)
class Row:
    """The cells of one recipe, which differ by their seeds only: one row of the table."""

    name: str
    origin: str
    cells: tuple[Cell, ...]

    @property
    def recipe(self) -> AnyRecipe:
        """The recipe under its first seed."""
        return self.cells[0].recipe


def rows_of(sources: Sequence[str], seeds: int, runs: Path, output: Path, say: Callable[[str], None]) -> list[Row]:
    """The rows of a comparison in the order of ``sources``; every recipe under its own seed and as many more as make ``seeds``.

    InputError with the faults of all sources, for two cells of one name, and where there is only one row.
    """
    rows: list[Row] = []
    errors: list[InputError] = []
    for source in sources:
        try:
            rows += _rows(source, seeds, runs, output, say)
        except InputError as error:
            errors.append(error)
    if errors:
        raise joined(errors)
    _check_names(rows := _by_seed(rows))
    if len(rows) == 1:
        raise InputError(
            "compare",
            f"{rows[0].name} is alone; name another recipe, preset, matrix or run to compare it with, or see it by itself with "
            f"`tunebench report {rows[0].name}`",
        )
    return rows


def joined(errors: Sequence[InputError]) -> InputError:
    """One error that tells the faults of all."""
    if len(errors) == 1:
        return errors[0]
    return InputError("compare", [f"{error.subject}: {fault}" for error in errors for fault in error.faults])


def write_recipes(rows: Sequence[Row]) -> None:
    """Write the recipes of a matrix and of further seeds, from which their cells are trained."""
    for cell in (cell for row in rows for cell in row.cells if cell.written):
        write_atomic(Path(cell.source), dump_recipe(cell.recipe))


def _rows(source: str, seeds: int, runs: Path, output: Path, say: Callable[[str], None]) -> list[Row]:
    named = not Path(source).exists() and source not in presets()
    if (run := run_at(Path(source)) or (run_at(runs / source) if named else None)) is not None:
        if seeds > 1:
            say(f"{run.name} is a run that is there already and is taken as it is; further seeds are trained from recipes")
        recipe = run.recipe
        return [Row(run.name, source, (Cell(run.name, recipe.seed, source, recipe, taken=run),))]
    settings, folder = read_settings(source)
    if is_matrix(settings):
        if seeds > 1 and "seeds" in settings:
            say(f"{source} names its own seeds; --seeds is for sources that name none")
        found = expand(settings, source, folder)
        wanted = [one if "seeds" in settings else Combination(one.recipe, _seeds(one.recipe, seeds)) for one in found]
        return [_row(one.recipe, one.seeds, source, None, output) for one in wanted]
    alone = anchored(validate_any(settings, source), folder)
    own = _seeds(alone, seeds)
    if len(own) < seeds:
        say(f"{alone.name} gives the same under every seed and is trained once")
    return [_row(alone, own, source, source, output)]


def _seeds(recipe: AnyRecipe, number: int) -> tuple[int, ...]:
    """The recipe's own seed and those that follow it; only its own where no seed changes anything."""
    if isinstance(recipe, Recipe) and (only := unseeded(recipe)):
        return only
    return tuple((recipe.seed + i) % 2**32 for i in range(number))


def _row(recipe: AnyRecipe, seeds: Sequence[int], origin: str, file: str | None, output: Path) -> Row:
    """A row whose cell with the recipe's own seed bears its plain name, and is trained from its own ``file`` where it has one."""
    cells = []
    for seed in seeds:
        one = recipe if seed == recipe.seed else under_seed(recipe, seed)
        source = file if file is not None and one is recipe else str(output / RECIPES / f"{one.name}.yaml")
        cells.append(Cell(one.name, seed, source, one, written=source != file))
    return Row(recipe.name, origin, tuple(cells))


def under_seed(recipe: AnyRecipe, seed: int) -> AnyRecipe:
    """The recipe with other new weights, another order and other dropout, on exactly the same rows."""
    update = {"name": f"{recipe.name}-seed{seed}", "seed": seed}
    if isinstance(recipe, StagedRecipe):
        pairs = zip(recipe.stages, recipe.recipes(), strict=True)
        stages = [
            stage.model_copy(update={"data": stage.data.model_copy(update={"seed": own.data_seed})}) for stage, own in pairs
        ]
        return recipe.model_copy(update=update | {"stages": stages})
    return recipe.model_copy(update=update | {"data": recipe.data.model_copy(update={"seed": recipe.data_seed})})


def _by_seed(rows: Sequence[Row]) -> list[Row]:
    """Runs that are there and that a comparison made of one recipe under several seeds stand in one row again."""
    found: list[Row] = []
    for row in rows:
        (first, *_), place = row.cells, None
        if first.taken is not None:
            place = next((i for i, other in enumerate(found) if _is_seed_of(first, other)), None)
        if place is None:
            found.append(row)
        else:
            found[place] = Row(found[place].name, found[place].origin, (*found[place].cells, first))
    return found


def _is_seed_of(cell: Cell, row: Row) -> bool:
    first = row.cells[0]
    if cell.taken is None or first.taken is None or cell.name != f"{row.name}-seed{cell.seed}":
        return False
    one, other = cell.taken.manifest["identity"], first.taken.manifest["identity"]
    return bool(one | {"seed": None} == other | {"seed": None})


def _check_names(rows: Sequence[Row]) -> None:
    origins: dict[str, list[str]] = {}
    for row in rows:
        for cell in row.cells:
            origins.setdefault(cell.name.lower(), []).append(f"{row.origin} ({cell.name})")
    faults = [
        f"{' and '.join(named)} are runs of one name; names are run directories, give each its own"
        for named in origins.values()
        if len(named) > 1
    ]
    if faults:
        raise InputError("compare", faults)
