"""Keeping the shelf in order: runs renamed, deleted, tagged and noted, and what two of them were told differently. No torch.

A whole run directory or chain is renamed or deleted, never a stage of one: the stages of a chain are its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from tunebench.errors import InputError, nearest
from tunebench.recipe import load
from tunebench.recipe.closed import NAME_PATTERN
from tunebench.recipe.resolve import flatten
from tunebench.recipe.spec import Recipe
from tunebench.runs.cache import write_atomic
from tunebench.runs.card import cleaning_words, model_card
from tunebench.runs.chain import MERGED, Chain
from tunebench.runs.export_card import export_card
from tunebench.runs.folder import Folder
from tunebench.runs.index import list_runs
from tunebench.runs.run import STAGES, Run, beside_its_base, is_run

NOTES = "notes.json"
MOST_TAGS, LONGEST_TAG, LONGEST_NOTE = 20, 40, 10_000


@dataclass(frozen=True)
class Notes:
    """What somebody wrote beside a run; it changes nothing of the run."""

    tags: tuple[str, ...] = ()
    note: str = ""


def check_name(name: str) -> None:
    """InputError where a run cannot be called so."""
    if not re.fullmatch(NAME_PATTERN, name):
        rule = "a run is called by 1 to 100 letters, digits, '.', '_' and '-', beginning with a letter or digit"
        raise InputError(repr(name), f"is no name for a run; {rule}")


def rename(runs: Path, old: str, new: str) -> Path:
    """Give a run or chain under ``runs`` another name: its folder, recipe, manifest and cards. The directory that it is now.

    The recipe file it was made of keeps the old name, and makes a run of that name anew. Raises InputError for a name that
    does not do or is taken and for a run that is not there, TunebenchError where it is worked on or cannot be written.
    """
    check_name(new)
    run, target = _on_shelf(runs, old), runs / new
    if os.path.lexists(target):
        raise InputError(new, f"there is something of this name in {runs} already; choose another name")
    named = _new_names(run, new)
    with _nobody_at_work(run), run.writing():
        os.rename(run.path, target)
        try:
            for place, name in named.items():
                _write_name(type(run)(target) if place == "." else Run(target / place), name)
        except BaseException:
            os.rename(target, run.path)
            raise
    return target


def delete(runs: Path, name: str) -> None:
    """Delete a run or chain under ``runs`` with everything in it; it is off the shelf at once, or stays whole.

    Raises InputError where there is no such run, and TunebenchError where it is worked on or cannot be written.
    """
    run = _on_shelf(runs, name)
    gone = runs / f".{name[:100]}.{uuid4().hex}"
    with _nobody_at_work(run), run.writing():
        os.rename(run.path, gone)
        (gone / "manifest.json").unlink(missing_ok=True)  # from here on it is no run to anybody
        shutil.rmtree(gone)


def read_notes(run: Run | Chain) -> Notes:
    """What somebody wrote beside a run; empty where there is nothing, or nothing that can be read."""
    try:
        found = json.loads((run.path / NOTES).read_text("utf-8"))
        return Notes(tuple(tag for tag in found["tags"] if isinstance(tag, str)), str(found["note"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Notes()


def write_notes(run: Run | Chain, tags: Sequence[str], note: str) -> Notes:
    """Replace what stands beside a run, also while it is trained; what was written. Spaces around tags and doubled tags go.

    Raises InputError with every fault of the tags and the note, and TunebenchError where the run cannot be written.
    """
    kept = tuple(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))
    faults = [f"expected at most {MOST_TAGS} tags, found {len(kept)}"] if len(kept) > MOST_TAGS else []
    faults += [f"the tag {tag[:60]!r} has {len(tag)} characters; at most {LONGEST_TAG}" for tag in kept if len(tag) > LONGEST_TAG]
    faults += [f"the tag {tag[:60]!r} holds a character that cannot be shown" for tag in kept if not tag.isprintable()]
    if len(note) > LONGEST_NOTE:
        faults.append(f"the note has {len(note):,} characters; at most {LONGEST_NOTE:,}")
    if "\0" in note or any("\ud800" <= char <= "\udfff" for char in note):
        faults.append("the note holds a character that is no character of a text")
    if faults:
        raise InputError(f"notes of {run.name}", faults)
    if not is_run(run.path):
        raise InputError(run.name, "is not there any more")
    run.write_json(NOTES, {"tags": list(kept), "note": note})
    return Notes(kept, note)


def config_diff(run_a: Run | Chain, run_b: Run | Chain) -> dict[str, tuple[Any, Any]]:
    """Settings in which two runs' resolved recipes differ, ``{"method.r": (8, 16)}``; None where one has no such setting.

    Settings of stages begin with ``stages.NAME``. The runs' names are left out.
    """
    one, other = _settings(run_a), _settings(run_b)
    keys = [*one, *(key for key in other if key not in one)]
    return {key: (one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)}


def _on_shelf(runs: Path, name: str) -> Run | Chain:
    """The run or chain directly under ``runs``, never a path out of it."""
    known = {run.path.name: run for run in list_runs(runs) if run.path.parent == runs}
    if name not in known and isinstance(chain := known.get(name.partition("/")[0]), Chain):
        raise InputError(name, f"is a stage of {chain.path.name}; a chain is renamed or deleted as a whole")
    if name not in known:
        raise InputError(repr(name), f"is no run in {runs}{nearest(name, known)}")
    found = known[name]
    if found.path.is_symlink():
        raise InputError(name, f"is a link to {os.readlink(found.path)}; change what is there, or remove the link by hand")
    return found


@contextlib.contextmanager
def _nobody_at_work(run: Run | Chain) -> Iterator[None]:
    """Hold a run, of a chain every stage too: a merge or an export works on a stage alone."""
    with contextlib.ExitStack() as held:
        for folder in (run.path, *sorted((run.path / STAGES).glob("*/"))):
            held.enter_context(Folder(folder).locked())
        yield


def _new_names(run: Run | Chain, new: str) -> dict[str, str]:
    """The name of every directory that bears the run's name, by its place; InputError where a stage's gets too long."""
    if isinstance(run, Run):
        return {".": new}
    load.validate_any(run.recipe.model_dump() | {"name": new}, new)
    return {".": new} | {f"{STAGES}/{name}": f"{new}-{name}" for name, stage in run.stages().items() if is_run(stage.path)}


def _write_name(run: Run | Chain, name: str) -> None:
    """Write the name into what tells it, of a run that lies in its new place already."""
    recipe, manifest = run.recipe.model_copy(update={"name": name}), run.manifest | {"name": name}
    run.write_text("recipe.yaml", load.dump_recipe(beside_its_base(recipe, run.path) if isinstance(recipe, Recipe) else recipe))
    run.write_json("manifest.json", manifest)
    if isinstance(run, Chain):
        return
    for folder, merged in ((run.weights.name, False), (MERGED, True)):
        if (run.path / folder / "README.md").is_file():
            run.write_text(f"{folder}/README.md", model_card(run, run.metrics, merged=merged))
    for told in sorted((run.path / "export").glob("*/export.json")):
        card = export_card(json.loads(told.read_text("utf-8")), name, cleaning_words(run.recipe))
        write_atomic(told.with_name("README.md"), card)


def _settings(run: Run | Chain) -> dict[str, Any]:
    found = run.recipe.model_dump(mode="json", exclude={"name"})
    if "stages" in found:
        found["stages"] = {stage["name"]: stage for stage in found["stages"]}
    return flatten(found)
