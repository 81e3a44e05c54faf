"""From a recipe to everything it names: found, read, digested. No torch: bad input fails within a second."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebench.data import dataset, tables
from tunebench.data.items import Question
from tunebench.data.labels import LabelMap
from tunebench.data.readers import TableReader, require_columns
from tunebench.data.reading import Reading, reading_of
from tunebench.data.rows import Rows
from tunebench.data.weights import label_weights
from tunebench.errors import InputError
from tunebench.predict.chat import check_turns
from tunebench.predict.prompts import open_prompts, refuse_unfit
from tunebench.predict.tokenizer_files import open_tokenizer
from tunebench.recipe.load import load_recipe
from tunebench.recipe.resolve import identity, resolve
from tunebench.recipe.sources import Fraction, SplitFile
from tunebench.recipe.spec import CAUSAL_TASKS, PROMPT_TASKS, TEXT_TASKS, Recipe
from tunebench.runs import bases, environment, hub_data
from tunebench.runs.run import FORMAT_VERSION, Run


@dataclass(frozen=True)
class Bound:
    """A recipe with everything it names found, read and digested: ready to become a run."""

    recipe: Recipe
    data: dataset.Dataset
    base: dict[str, Any] | None
    identity: dict[str, Any]
    prompt: dict[str, Any] | None = None


def bind(source: str, overrides: Sequence[str] = ()) -> Bound:
    """Load, resolve, bind and digest a recipe of one stage."""
    return bind_recipe(load_recipe(source, overrides))


def bind_recipe(recipe: Recipe) -> Bound:
    """Resolve, bind and digest a recipe. No torch: bad input fails within a second."""
    base, held = None, None
    if recipe.base is not None:
        folder = bases.base_folder(recipe.base)
        config, pinned = bases.base_config(folder), bases.pinned(recipe.base, folder)
        bases.check_not_quantized(folder, config)
        bases.check_max_length(pinned, config)
        held = bases.weight_names(folder)
        open_tokenizer(folder)  # one that is missing or does not fit is refused here
        recipe = recipe.model_copy(update={"base": pinned})
        base = {
            "model": pinned.model,
            "revision": pinned.revision,
            "architecture": config.get("model_type"),
            "digest": bases.base_digest(folder),
        }
    recipe = resolve(recipe, base["architecture"] if base else None, held)
    recipe = recipe.model_copy(update={"data": hub_data.pinned(recipe.data)})
    data = dataset.bind(recipe.data, recipe.data_seed, hub_data.locator(recipe.data), task=recipe.task)
    if recipe.task in CAUSAL_TASKS and held is not None:
        bases.check_output_layer(folder, config, held)
        check_turns(folder, [item for rows in data.splits().values() for item in rows.texts])
    label_weights(recipe.settings.class_weight, data.labels, data.train.labels)  # unsound ones are refused here
    prompt = _prompt_of(recipe, data)
    return Bound(recipe, data, base, identity(recipe, data.digest(), base["digest"] if base else None), prompt)


def _prompt_of(recipe: Recipe, data: dataset.Dataset) -> dict[str, Any] | None:
    """What a causal language model is asked and may answer, as tokens too.

    Label words that do not do are refused here, and questions that are too long to be learned from.
    """
    if recipe.task not in PROMPT_TASKS or recipe.base is None:
        return None
    base = recipe.base
    prompts = open_prompts(bases.base_folder(base), base.max_length, base.truncation_side, recipe.asked, data.labels, recipe.task)
    learned = () if recipe.method.kind == "zero-shot" else ("train", "validation")
    for name, rows in (data.splits() | ({"predict": data.predict} if data.predict else {})).items():
        bare = prompts.encode([item._replace(passage="") for item in rows.texts if isinstance(item, Question)])
        if name in learned or all(bare.errors or [None]):  # elsewhere a row carries its error, but not every one
            refuse_unfit(name, rows.ids, bare)
    return prompts.as_dict()


def manifest_of(bound: Bound) -> dict[str, Any]:
    """Everything that is decided before the job begins."""

    def source(split: str) -> str:
        found = bound.recipe.data.source(split)
        place = f"{bound.recipe.data.dataset}: " if bound.recipe.data.dataset else ""
        return place + found.file if found else "cut from train"

    return {
        "format": FORMAT_VERSION,
        "name": bound.recipe.name,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "identity": bound.identity,
        "seed": bound.recipe.seed,
        "versions": environment.versions(),
        "hardware": environment.hardware(),
        "base": bound.base,
        "labels": bound.data.labels.as_dict(),
        **({"prompt": bound.prompt} if bound.prompt else {}),
        "texts_shared_between_splits": bound.data.shared_texts(),
        "data": {
            name: {"source": source(name), "rows": len(rows), "digest": rows.digest()}
            for name, rows in (bound.data.splits() | ({"predict": bound.data.predict} if bound.data.predict else {})).items()
        },
    }


def sealed_rows(run: Run) -> Rows:
    """The test rows of a run, the same that it was scored on; InputError where there are none or they have changed."""
    recipe = run.recipe
    scored = recipe.data.model_copy(update={"predict": None})  # which may be gone by now
    bound = dataset.bind(scored, recipe.data_seed, hub_data.locator(scored), task=recipe.task)
    if bound.test is None:
        raise InputError(run.name, "its recipe has no test split; give a labelled file with --data")
    if bound.test.digest() != run.manifest["data"]["test"]["digest"]:
        raise InputError(run.name, "the test rows have changed since the run; restore the file, or give it with --data")
    return bound.test


def unsealed_rows(run: Run, split: str) -> Rows | None:
    """The ``train`` or ``validation`` rows of a run, the same that it was made with; a test file is not even opened.

    None where there is no such split; InputError where its rows have changed since.
    """
    recipe = run.recipe
    cut = recipe.data.test if isinstance(recipe.data.test, Fraction) else None  # has to be cut away again
    asked = recipe.data.model_copy(update={"predict": None, "test": cut})
    bound = dataset.bind(asked, recipe.data_seed, hub_data.locator(asked), task=recipe.task)
    rows = {"train": bound.train, "validation": bound.validation}[split]
    if rows is not None and rows.digest() != run.manifest["data"][split]["digest"]:
        raise InputError(run.name, f"its {split} rows have changed since the run; restore the files it was made of")
    return rows


def labels_of(run: Run) -> LabelMap:
    """The labels that a run predicts; InputError where its task has none."""
    labels = LabelMap.from_dict(run.manifest["labels"])
    if not labels.names:
        raise InputError(run.name, f"its task is {run.recipe.task}, which has no labels to predict; name a run that has some")
    return labels


def rows_to_score(path: Path, answers: str | None, id_column: str | None, recipe: Recipe) -> Rows:
    """The rows of a file to score, with the labels in it or in the file ``answers``, joined by a column that both have."""
    if recipe.task in TEXT_TASKS:
        if answers is not None or id_column is not None:
            raise InputError("evaluate", f"--answers and --id name labels, and {recipe.task} has none; leave them out")
        source = SplitFile(file=str(path), text=recipe.data.text)
        return dataset.read_split(path, recipe.data, source, recipe.task, "test", [])
    if answers is None and id_column is None:
        return tables.read_like(path, recipe.data, recipe.task)
    if answers is None or id_column is None:
        raise InputError("evaluate", "--answers and --id go together: the file with the labels, and the column both files share")
    data = recipe.data.model_copy(update={"id": id_column})
    return tables.join_answers(path, Path(answers), data, recipe.task)


def reading_of_file(reader: TableReader, recipe: Recipe, text: str | None) -> tuple[Reading, str | None]:
    """How the rows of a file to predict are read, and its column with ids; ``text`` names its text column, where told.

    InputError where columns are not there.
    """
    asks, columns = recipe.task == "multiple-choice", tables.columns_like(recipe.data, reader.types, recipe.task)
    if text is not None and asks:
        raise InputError("--text-column", "the run answers questions; their columns are those that its recipe names")
    columns = columns.model_copy(update={"text": text or columns.text})
    reading, hint = reading_of(recipe.data, columns, recipe.task), "" if asks else "; choose another with --text-column"
    require_columns(
        reader,
        {"--text-column" if text else f"{setting} of the run{hint}": column for setting, column in reading.columns.items()},
    )
    return reading, columns.id


def stale_answers(run: Run, bound: Bound) -> str | None:
    """Words about a finished run whose recipe now names other rows to answer than those that it answered."""
    source, rows = bound.recipe.data.source("predict"), bound.data.predict
    if source is None or rows is None or run.metrics.get("answers", {}).get("digest") == rows.digest():
        return None
    file = "FILE" if bound.recipe.data.dataset else source.file
    command = shlex.join(["tunebench", "predict", str(run.path), file, "--output", "answers.csv", "--answers-only"])
    return f"data.predict has other rows than answers.csv of the finished run; answer them with: {command}"
