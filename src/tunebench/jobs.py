"""The sentences of the house: one verb reads as one page. Heavy rooms are opened here, inside the verbs that need them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebench.binding import bind_recipe, labels_of, reading_of_file, rows_to_score, sealed_rows
from tunebench.data import dataset, readers, writers
from tunebench.data.cleaning import cleaner, text_fault
from tunebench.data.reading import QuestionReading, ids_in, told
from tunebench.errors import InputError
from tunebench.events import Scored
from tunebench.fitting import Watch, measure, need_train_extra, require_machine
from tunebench.predict import predictions
from tunebench.predict.answers import TYPES, id_and_answer
from tunebench.predict.calibrated import NO_CALIBRATION
from tunebench.predict.calibrated import stored as stored_calibration
from tunebench.predict.scorers import Scorer
from tunebench.recipe.closed import STARTER
from tunebench.recipe.load import load_any, load_recipe, method_from
from tunebench.recipe.resolve import resolve
from tunebench.recipe.spec import TEXT_TASKS, Recipe
from tunebench.recipe.stages import StagedRecipe
from tunebench.runs import bases, cache, exports, hub_data, starter, trackers
from tunebench.runs.chain import MERGED
from tunebench.runs.index import find_run
from tunebench.runs.looks import looks_at_test
from tunebench.runs.push import push_run
from tunebench.runs.run import Run
from tunebench.staging import train_stages
from tunebench.training import Trained, merge_run, open_scorer, train_run

if TYPE_CHECKING:
    from tunebench.compare.choice import Limits
    from tunebench.comparing.telling import Tell
    from tunebench.data.findings import Findings
    from tunebench.model.parameters import ParameterReport
    from tunebench.planning.needs import Plan
    from tunebench.searching.search import Told

Opener = Callable[[Run, str | None], Scorer]
"""Opens a run with a backend: ``open_scorer``, or what keeps opened ones."""


def train(source: str, overrides: Sequence[str], runs: Path, watch: Watch, *, force: bool = False, test: bool = True) -> Trained:
    """Turn a recipe into a run, or one of several stages into a chain of runs: fit, score the test split once, prove, close.

    What was interrupted goes on, and ends with the bytes of what was not. With ``force`` a finished run, or stage, of other
    settings is replaced. Without ``test`` the test split stays unscored, until the same is asked for with it.
    """
    need_train_extra()
    recipe = load_any(source, overrides)
    trackers.require(recipe.report_to)
    require_machine(recipe.recipes()[0] if isinstance(recipe, StagedRecipe) else recipe)
    command = ["tunebench", "train", source, *(f"--set={item}" for item in overrides), f"--runs={runs}"]
    again = shlex.join(command + ["--force"] * force + ["--no-test"] * (not test))
    if isinstance(recipe, StagedRecipe):
        return train_stages(recipe, runs, watch, again, force=force, test=test)
    if recipe.search is not None:
        remedy = "`tunebench search` tries its space; to train the settings as they stand, remove the section"
        raise InputError(source, f"search: {remedy}")
    return train_run(bind_recipe(recipe), runs / recipe.name, watch, again, force=force, test=test)


def evaluate(
    name: str,
    runs: Path,
    data: str | None = None,
    answers: str | None = None,
    id_column: str | None = None,
    backend: str | None = None,
) -> dict[str, Any]:
    """Scores of a run's saved model on its test split (a counted look), or on a labelled file."""
    run = find_run(name, runs)
    backend = backend or exports.default_backend(run)
    rows = sealed_rows(run) if data is None else rows_to_score(Path(data), answers, id_column, run.recipe)
    if data is None and not os.access(run.path, os.W_OK):
        raise InputError(str(run.path), "is read-only, and a look at its test split must be counted there; copy the run first")
    if run.recipe.task in TEXT_TASKS:
        scores = measure(open_scorer(run, backend), rows.texts).scores()
        accuracy, perplexity = None, scores["perplexity_per_character"]["value"]
    else:
        dataset.check_labels({data or "test": rows}, labels := labels_of(run))
        found = predictions.predict_items(open_scorer(run, backend), labels, rows.texts)
        scores = predictions.score_answers(found, rows.labels) | {"labels": labels.as_dict()}
        accuracy, perplexity = scores["accuracy"]["value"], None
    if data is None:
        scores["look"] = 1 + looks_at_test(run)
        run.record(Scored("test", len(rows), accuracy, scores["look"], perplexity))
    remarks = [rows.remark] if rows.remark else []
    return {"run": run.name, "split": data or "test", "backend": backend, **scores, "remarks": remarks}


def predict_texts(
    name: str,
    runs: Path,
    texts: Sequence[str],
    backend: str | None = None,
    *,
    calibrated: bool = False,
    opener: Opener = open_scorer,
) -> list[dict[str, Any]]:
    """Label and probabilities for a few texts; with ``calibrated`` as the run's calibration has them."""
    run = find_run(name, runs)
    labels, clean = labels_of(run), cleaner(run.recipe.data.clean)
    if run.recipe.task == "multiple-choice":
        raise InputError(run.name, "answers questions with options, which no --text has; give a FILE with them, and --output")
    errors = [fault and f"the text {fault}" for fault in (text_fault(text, clean) for text in texts)]
    calibration = stored_calibration(run, backend or exports.default_backend(run)) if calibrated else NO_CALIBRATION
    scorer = calibration.scorer(opener(run, backend))
    found = calibration.abstaining(predictions.predict_items(scorer, labels, [clean(text) for text in texts], errors))
    return [
        {
            "text": text,
            "predicted": label,
            "display": {name: labels.display.get(name, name) for name in labels.names},
            "probabilities": found.probabilities_of(i),
            "truncated": cut,
            "error": error,
            **({} if found.abstain is None else {"abstain": found.abstain[i]}),
        }
        for i, (text, label, cut, error) in enumerate(zip(texts, found.predicted, found.truncated, found.errors, strict=True))
    ]


def choose(
    name: str, runs: Path, passage: str, question: str, choices: Sequence[str], *, opener: Opener = open_scorer
) -> dict[str, Any]:
    """The option that a run of multiple-choice takes: its number from 1 as ``predicted``, its text as ``choice``, and the
    probability of every number.
    """
    run = find_run(name, runs)
    if run.recipe.task != "multiple-choice":
        raise InputError(run.name, f"its task is {run.recipe.task}, which has no options; give it a text, or name another run")
    labels, roles = labels_of(run), [f"option {number}" for number in range(1, len(choices) + 1)]
    if len(choices) != len(labels.names):
        raise InputError(run.name, f"answers questions with {len(labels.names)} options, found {len(choices)}")
    columns = {role: role for role in ("passage", "question", *roles)}
    reading = QuestionReading(columns, ("answer", "answer"), cleaner(run.recipe.data.clean))
    cells = dict(zip(columns, (passage, question, *choices), strict=True))
    if faults := [told(fault) for fault in reading.faults(cells)]:
        raise InputError("question", faults)
    found = predictions.predict_items(opener(run, None), labels, [reading.item(cells)])
    label = found.predicted[0]
    return {
        "predicted": label,
        "choice": choices[labels.names.index(label)] if label else None,
        "probabilities": found.probabilities_of(0),
        "truncated": found.truncated[0],
        "error": found.errors[0],
    }


def predict_file(
    name: str,
    runs: Path,
    source: Path,
    output: Path,
    text: str | None,
    on_rows: Callable[[int], None],
    *,
    answers_only: bool = False,
    backend: str | None = None,
    calibrated: bool = False,
) -> dict[str, Any]:
    """Predict a table, streaming: every row comes back in order, with its answer or its error; or only ``ID,Answer``.

    With ``calibrated`` the probabilities are as the run's calibration has them, and unsure rows are marked.
    """
    run = find_run(name, runs)
    labels, reader = labels_of(run), readers.open_table(source)
    reading, key = reading_of_file(reader, run.recipe, text)
    if source.resolve() == output.resolve():
        raise InputError(str(output), "is the input file; inputs are never overwritten, choose another --output")
    calibration = stored_calibration(run, backend or exports.default_backend(run)) if calibrated else NO_CALIBRATION
    abstains, counts = calibration.threshold is not None, {"rows": 0, "errors": 0, "truncated": 0, "invalid": 0}
    unsure = 0
    scorer = calibration.scorer(open_scorer(run, backend))
    types = predictions.output_types(reader.types, labels, abstains=abstains)
    with writers.table_writer(output, TYPES if answers_only else types) as write:
        for chunk, answered in predictions.predict_table(reader, reading, scorer, labels):
            found = calibration.abstaining(answered)
            write(id_and_answer(ids_in(chunk, key), found) if answers_only else predictions.beside_input(chunk.columns, found))
            counts["rows"] += len(found.errors)
            counts["errors"] += sum(error is not None for error in found.errors)
            counts["truncated"] += sum(found.truncated)
            counts["invalid"] += sum(found.invalid)
            unsure += (found.abstain or []).count(True)
            on_rows(counts["rows"])
    names = {} if answers_only else predictions.output_names(list(reader.types), labels, abstains=abstains)
    renamed = {old: new for old, new in names.items() if old != new}
    remarks = [reader.remark] if reader.remark else []
    if calibrated and not abstains:
        remarks.append("its calibration knows no threshold to abstain below; probabilities are calibrated, and no row is marked")
    files, counted = {"input": str(source), "output": str(output)}, counts | {"abstained": unsure if abstains else None}
    return {"run": run.name, **files, **counted, "renamed_columns": renamed, "remarks": remarks}


def bench(
    names: Sequence[str],
    runs: Path,
    say: Callable[[str], None],
    *,
    rows: int | None = None,
    batch_size: int = 32,
    max_length: int | None = None,
    rounds: int = 3,
    backends: Sequence[str] = (),
    data: str | None = None,
) -> dict[str, Any]:
    """Rows per second, latency and memory of every form of some runs, in turns; kept in each run's ``bench.json``."""
    from tunebench.benching.bench import bench as time_forms
    from tunebench.benching.contestants import Asked

    asked = Asked(rows, batch_size, max_length, rounds, tuple(backends), data)
    return time_forms([find_run(name, runs) for name in names], asked, say)


def calibrate(name: str, runs: Path, target_accuracy: float = 0.95, backend: str | None = None) -> dict[str, Any]:
    """Fit a temperature and a threshold to abstain below, on a run's validation rows; kept in its ``calibration.json``."""
    from tunebench.calibrating import calibrate_run

    return calibrate_run(find_run(name, runs), target_accuracy, backend)


def merge(name: str, runs: Path, watch: Watch) -> dict[str, Any]:
    """Fold a run's adapter into its base (``merged/``) and prove that nothing changed."""
    run = find_run(name, runs)
    proved = merge_run(run, watch)
    return {"run": run.name, "merged": str(run.path / MERGED), "proof": proved}


def export(name: str, runs: Path, form: str, watch: Watch, *, force: bool = False, default: bool = False) -> dict[str, Any]:
    """A run as a graph that predicts without torch, proved and scored; ``default`` makes it what predicts from now on.

    The form ``torch`` makes nothing: as the default it undoes the choice of an export.
    """
    from tunebench import exporting

    run = find_run(name, runs)
    if form == exports.TORCH and not default:
        raise InputError("--format torch", "is the model as it was saved, which is there already; it goes with --default only")
    found = exporting.export_run(run, form, watch, force=force, default=default)
    return {"run": run.name, "folder": None if form == exports.TORCH else str(exports.export_folder(run, form)), **found}


def push(name: str, runs: Path, repository: str, *, merged: bool, private: bool, revision: str | None) -> dict[str, Any]:
    """Upload a run's saved model with its card to the model hub."""
    return push_run(find_run(name, runs), repository, merged=merged, private=private, revision=revision)


def compare(
    sources: Sequence[str],
    runs: Path,
    output: Path,
    tell: Tell,
    *,
    seeds: int = 1,
    at_once: int = 1,
    timed: bool = True,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Train what is not trained yet, each cell in a process of its own, and write one comparison of all of it to ``output``.

    ``at_once`` cells are trained side by side, as far as the memory they are planned to need is there. A cell that fails stands
    in the comparison with its error.
    """
    from tunebench.compare.choice import Limits
    from tunebench.compare.report import require as require_report
    from tunebench.comparing import cells, memory, outcome, soundness
    from tunebench.comparing.processes import run_tasks
    from tunebench.comparing.telling import Said

    require_report()
    rows = cells.rows_of(sources, seeds, runs, output, lambda line: tell(Said(line)))
    sound = soundness.looked_over(rows, runs)
    cache.write_atomic(output / ".writable", "")  # before hours of training, and without touching an older table
    (output / ".writable").unlink()
    cells.write_recipes(rows)
    needs = memory.planned(rows, sound, runs)
    tasks = outcome.tasks_of(rows, sound, needs, runs, output)
    groups = outcome.groups_of(rows, run_tasks(tasks, at_once, memory.room(), tell), runs)
    if timed:
        outcome.time_runs(groups, runs, output, tell)
    found = outcome.assembled(groups, limits or Limits(), tell)
    outcome.write_pages(found, output)
    return found


def report(name: str, runs: Path, output: Path | None = None) -> dict[str, Any]:
    """``report.html`` and ``report.pdf`` of one run, in its ``report/`` or in ``output``; a counted look at its test rows."""
    from tunebench.compare.report import require as require_report
    from tunebench.comparing import outcome

    require_report()
    run = find_run(name, runs)
    if output is None and not os.access(run.path, os.W_OK):
        raise InputError(str(run.path), "is read-only; name a folder for the report with --output")
    return outcome.report_of(run, run.path / "report" if output is None else output)


def search(
    source: str, overrides: Sequence[str], runs: Path, tell: Callable[[Told], None], *, force: bool = False
) -> dict[str, Any]:
    """Look for better settings of a recipe by trials on its validation rows, and write the best as a recipe of its own."""
    from tunebench.searching.search import search as search_settings

    need_train_extra()
    recipe = load_recipe(source, overrides)
    if recipe.search is None:
        example = "search: {space: {train.learning_rate: {low: 1e-5, high: 1e-3, log: true}}, trials: 20}"
        raise InputError(source, f"search: missing; it says what is tried, such as {example}")
    command = ["tunebench", "search", source, *(f"--set={item}" for item in overrides), f"--runs={runs}"]
    return search_settings(recipe, runs, tell, shlex.join(command + ["--force"] * force), force=force)


def check(source: str, overrides: Sequence[str], on_rows: Callable[[int], None]) -> dict[str, Findings]:
    """Look through the data of every stage before anything is trained; works on data that ``train`` refuses. No torch.

    By the name of the stage; of a recipe without stages there is one, under an empty name.
    """
    recipe = load_any(source, overrides)
    if isinstance(recipe, StagedRecipe):
        named = zip(recipe.stages, recipe.recipes(), strict=True)
        return {stage.name: _check_recipe(one, on_rows) for stage, one in named}
    return {"": _check_recipe(recipe, on_rows)}


def _check_recipe(recipe: Recipe, on_rows: Callable[[int], None]) -> Findings:
    from tunebench.data import audit
    from tunebench.predict.rulers import open_ruler

    folder = architecture = held = None
    if recipe.base is not None:
        folder = bases.base_folder(recipe.base)
        config, held = bases.base_config(folder), bases.weight_names(folder)
        bases.check_max_length(recipe.base, config)
        architecture = config.get("model_type")
    resolve(recipe, architecture, held)
    recipe = recipe.model_copy(update={"data": hub_data.pinned(recipe.data)})
    return audit.audit(recipe, hub_data.locator(recipe.data), lambda labels: open_ruler(recipe, folder, labels), on_rows)


def init(
    source: str, output: Path, model: str | None = None, method: str = "lora", text: str | None = None, label: str | None = None
) -> dict[str, Any]:
    """Write a first recipe for a data file or folder: splits and columns guessed, everything else left to its default."""
    from tunebench.data.draft import draft_data
    from tunebench.recipe.draft import draft_name, draft_text
    from tunebench.runs.first_base import first_base

    if os.path.lexists(output):
        raise InputError(str(output), "is there already, and no file is ever overwritten; choose another --output")
    path, folder = bases.locate(source), Path(os.path.abspath(output)).parent
    draft = draft_data(path, text, label, folder)
    settings = draft.settings | ({"train": source} if source.startswith(STARTER) else {})
    base, why = first_base(model, method, draft.max_length, folder)
    cache.write_atomic(output, draft_text(draft_name(Path(os.path.abspath(path)), method), base, settings, method, str(output)))
    reasons = draft.reasons | ({"base": why} if base else {})
    return {
        "recipe": str(output),
        "settings": {**settings, **({"base": base} if base else {}), "method": {"kind": method}},
        "reasons": reasons,
        "next": [shlex.join(["tunebench", verb, str(output)]) for verb in ("check", "train")],
    }


def params(model: str, method: str, settings: Sequence[str], pooling: str, num_labels: int) -> ParameterReport:
    """What trains, what is saved and what would not be, without weights or hub."""
    need_train_extra()
    from tunebench.model.parameters import parameter_table

    return parameter_table(model, method_from(method, settings), pooling, num_labels)


def plan(
    source: str,
    overrides: Sequence[str],
    runs: Path,
    limits: Mapping[str, str],
    say: Callable[[str], None],
    *,
    timed: bool = True,
) -> Plan:
    """What a recipe needs before it is trained: parameters, memory, disk, steps and, where ``timed``, time by a short probe.

    ``limits`` are sizes such as ``16GB`` for ``gpu``, ``ram`` and ``disk``, in place of what this machine has.
    """
    need_train_extra()
    from tunebench.planning.needs import parse_size
    from tunebench.planning.planner import plan as make_plan

    recipe, sizes = load_any(source, overrides), {name: parse_size(text) for name, text in limits.items()}
    return make_plan(recipe, sizes, runs, timed=timed, say=say)


def fetch_starter(say: Callable[[str], None]) -> list[starter.StarterFile]:
    """Unpack the starter files into the cache: a small pretrained encoder and real labelled reviews."""
    return starter.fetch_starter(say)
