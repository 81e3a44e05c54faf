"""The sentences of the house: one verb reads as one page. Heavy rooms are opened here, inside the verbs that need them."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebench.binding import bind, manifest_of, sealed_rows
from tunebench.compare import table
from tunebench.data import dataset, readers, writers
from tunebench.data.cleaning import cleaner
from tunebench.data.labels import LabelMap
from tunebench.errors import InputError, Interrupted, TunebenchError
from tunebench.events import Failed, Finished, Scored, Warned
from tunebench.fitting import Watch, fit_baseline, fit_model, need_train_extra, prove_form, saying, scored_texts
from tunebench.predict import predictions
from tunebench.predict.baselines import load_baseline
from tunebench.predict.scorers import Scorer
from tunebench.recipe.closed import STARTER
from tunebench.recipe.load import load_recipe, method_from
from tunebench.recipe.methods import ADAPTERS, BASELINES
from tunebench.recipe.resolve import resolve
from tunebench.recipe.spec import Recipe
from tunebench.runs import bases, cache, card, hub_data, starter, trackers
from tunebench.runs.push import push_run
from tunebench.runs.run import Run, find_run, open_run

if TYPE_CHECKING:
    from tunebench.data.findings import Findings
    from tunebench.model.parameters import ParameterReport


@dataclass(frozen=True)
class Trained:
    """What ``train`` leaves: the run, and whether anything had to be done for it."""

    run: Run
    already_finished: bool


def train(source: str, overrides: Sequence[str], runs: Path, watch: Watch) -> Trained:
    """Turn a recipe into a run: fit it, score the test split once, prove what was saved, close.

    An interrupted run goes on from its newest checkpoint, and ends with the bytes of one that was not interrupted.
    """
    need_train_extra()
    bound = bind(source, overrides)
    trackers.require(bound.recipe.report_to)
    with (
        open_run(runs, bound.recipe, manifest_of(bound)) as run,
        trackers.copying(run, bound.recipe.report_to, watch) as watch,
    ):
        if run.is_finished():
            shutil.rmtree(run.path / "checkpoints", ignore_errors=True)  # where the last attempt was killed just before
            return Trained(run, already_finished=True)
        say, begins = saying(run, watch), run.recorded() == 0
        try:
            run.write_text("splits.json", json.dumps({name: rows.ids for name, rows in bound.data.splits().items()}) + "\n")
            for remark in bound.data.remarks() if begins else []:
                say(Warned(remark))
            for pair, count in run.manifest["texts_shared_between_splits"].items():
                if count and begins:
                    say(Warned(f"{count} texts of {pair} stand there word for word; scores may be too good"))
            if bound.recipe.method.kind in BASELINES:
                metrics = fit_baseline(run, bound, say)
            else:
                command = ["tunebench", "train", source, *(f"--set={item}" for item in overrides), f"--runs={runs}"]
                metrics = fit_model(run, bound, say, shlex.join(command))
            run.write_json("metrics.json", metrics)
            run.write_json("manifest.json", run.manifest | {"end_weights": run.weights_digest()})
            files = {path.name for path in run.path.iterdir() if not path.name.startswith(".")} - {"checkpoints"}
            say(Finished(sorted(files)))
            shutil.rmtree(run.path / "checkpoints", ignore_errors=True)
        except Interrupted:
            raise
        except Exception as error:  # told in the run, and raised again
            words = str(error) if isinstance(error, TunebenchError | OSError) else f"{type(error).__name__}: {error}"
            with contextlib.suppress(TunebenchError):  # a full disk, of which ``error`` tells already
                say(Failed(words))
            raise
    return Trained(run, already_finished=False)


def evaluate(
    name: str, runs: Path, data: str | None = None, answers: str | None = None, id_column: str | None = None
) -> dict[str, Any]:
    """Scores of a run's saved model on its test split (a counted look), or on a labelled file."""
    run = find_run(name, runs)
    labels = LabelMap.from_dict(run.manifest["labels"])
    rows = sealed_rows(run) if data is None else _labelled_rows(Path(data), answers, id_column, run.recipe)
    dataset.check_labels({data or "test": rows}, labels)
    if data is None and not os.access(run.path, os.W_OK):
        raise InputError(str(run.path), "is read-only, and a look at its test split must be counted there; copy the run first")
    found = predictions.predict_texts(open_scorer(run), labels, rows.texts, str)  # which are clean already
    scores = predictions.score_answers(found, rows.labels)
    if data is None:
        scores["look"] = 1 + sum(isinstance(event, Scored) for event in run.events())
        run.record(Scored("test", len(rows), scores["accuracy"]["value"], scores["look"]))
    remarks = [rows.remark] if rows.remark else []
    return {"run": run.name, "split": data or "test", "labels": labels.as_dict(), **scores, "remarks": remarks}


def predict_texts(name: str, runs: Path, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Label and probabilities for a few texts."""
    run = find_run(name, runs)
    labels = LabelMap.from_dict(run.manifest["labels"])
    found = predictions.predict_texts(open_scorer(run), labels, texts, cleaner(run.recipe.data.clean))
    return [
        {
            "text": text,
            "predicted": label,
            "display": {name: labels.display.get(name, name) for name in labels.names},
            "probabilities": {} if error else dict(zip(labels.names, map(float, row), strict=True)),
            "truncated": cut,
            "error": error,
        }
        for text, label, row, cut, error in zip(
            texts, found.predicted, found.probabilities, found.truncated, found.errors, strict=True
        )
    ]


def predict_file(
    name: str, runs: Path, source: Path, output: Path, text: str | None, on_rows: Callable[[int], None]
) -> dict[str, Any]:
    """Predict a table, streaming: every row comes back in order, with its answer or its error."""
    run = find_run(name, runs)
    labels = LabelMap.from_dict(run.manifest["labels"])
    reader = readers.open_table(source)
    column = text or dataset.columns_like(run.recipe.data, reader.types, "text").text or run.recipe.data.text
    readers.require_columns(
        reader, {"--text-column" if text else "data.text of the run; choose another with --text-column": column}
    )
    if source.resolve() == output.resolve():
        raise InputError(str(output), "is the input file; inputs are never overwritten, choose another --output")
    counts, scorer, clean = {"rows": 0, "errors": 0, "truncated": 0}, open_scorer(run), cleaner(run.recipe.data.clean)
    with writers.table_writer(output, predictions.output_types(reader.types, labels)) as write:
        for columns, found in predictions.predict_table(reader, column, scorer, labels, clean):
            write(columns)
            counts["rows"] += len(found.errors)
            counts["errors"] += sum(error is not None for error in found.errors)
            counts["truncated"] += sum(found.truncated)
            on_rows(counts["rows"])
    renamed = {key: value for key, value in predictions.output_names(list(reader.types), labels).items() if key != value}
    remarks = [reader.remark] if reader.remark else []
    files = {"input": str(source), "output": str(output)}
    return {"run": run.name, **files, **counts, "renamed_columns": renamed, "remarks": remarks}


def merge(name: str, runs: Path, watch: Watch) -> dict[str, Any]:
    """Fold a run's adapter into its base (``merged/``) and prove that nothing changed."""
    run = find_run(name, runs)
    if run.recipe.method.kind not in ADAPTERS:
        raise InputError(
            run.name, f"its method is {run.recipe.method.kind!r}, which has nothing to merge; {run.weights} is the model"
        )
    need_train_extra()
    from tunebench.model import bundle
    from tunebench.model.worker import ProofWorker

    candidate, folder = run.path / "merged-unproved", run.path / "merged"
    with run.locked(), ProofWorker() as worker:
        unmerged = open_scorer(run)
        with run.writing():
            bundle.save_merged(run, candidate)
        proved = prove_form(run, "merge", unmerged, scored_texts(run), worker, saying(run, watch), form=candidate.name)
        metrics = run.metrics
        metrics["proofs"] = [item for item in metrics["proofs"] if item["name"] != "merge"] + [proved]
        run.write_text(f"{candidate.name}/README.md", card.model_card(run, metrics, merged=True))
        shutil.rmtree(folder, ignore_errors=True)
        candidate.rename(folder)
        run.write_json("metrics.json", metrics)
        run.write_json("manifest.json", run.manifest | {"merged_weights": cache.folder_digest(folder)})
    return {"run": run.name, "merged": str(folder), "proof": proved}


def push(name: str, runs: Path, repository: str, *, merged: bool, private: bool, revision: str | None) -> dict[str, Any]:
    """Upload a run's saved model with its card to the model hub."""
    return push_run(find_run(name, runs), repository, merged=merged, private=private, revision=revision)


def compare(sources: Sequence[str], runs: Path, output: Path, say: Callable[[str], None]) -> list[table.Row]:
    """Train the recipes that are not trained yet, each in a process of its own, and write ``comparison.csv`` over all runs."""
    finished = {source: Run(Path(source)) for source in sources if (Path(source) / "manifest.json").is_file()}
    names = [finished[source].name if source in finished else bind(source).recipe.name for source in sources]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InputError(
            "compare", f"several recipes are named {', '.join(doubled)}; names are run directories, give each its own"
        )
    cache.write_atomic(output / ".writable", "")  # before hours of training, and without touching an older table
    (output / ".writable").unlink()
    for number, (source, name) in enumerate(zip(sources, names, strict=True), 1):
        say(f"[{number}/{len(sources)}] {name}")
        if source not in finished:
            _train_in_own_process(source, name, runs)
    rows = table.comparison([finished.get(source, Run(runs / name)) for source, name in zip(sources, names, strict=True)])
    cache.write_atomic(output / "comparison.csv", table.as_csv(rows))
    return rows


def _train_in_own_process(source: str, name: str, runs: Path) -> None:
    """``tunebench train`` as a child: peak memory is then that of one method; a failure keeps its exit code."""
    command = [sys.executable, "-P", "-m", "tunebench.cli", "train", source, "--runs", str(runs)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
        try:
            code = child.wait()
        except KeyboardInterrupt:  # the terminal told the child too, which now writes its checkpoint
            code = child.wait()
    if code == Interrupted.exit_code:
        raise Interrupted(f"{name} was stopped; the same command goes on from there")
    if code:
        error = TunebenchError(f"{name} ended with exit code {code}; its message stands above")
        error.exit_code = code if code in (2, 3) else 1
        raise error


def check(source: str, overrides: Sequence[str], on_rows: Callable[[int], None]) -> Findings:
    """Look through a recipe's data before anything is trained; works on data that ``train`` refuses. No torch."""
    from tunebench.data import audit
    from tunebench.data.shingles import count_words
    from tunebench.predict.tokenize import TextEncoder

    recipe, ruler = load_recipe(source, overrides), audit.Ruler("words", None, count_words)
    architecture = held = None
    if recipe.base is not None:
        folder = bases.base_folder(recipe.base)
        config, held = bases.base_config(folder), bases.weight_names(folder)
        bases.check_max_length(recipe.base, config)
        architecture, whole = config.get("model_type"), TextEncoder(folder, sys.maxsize)
        ruler = audit.Ruler("tokens", recipe.base.max_length, lambda texts: whole.encode(texts).lengths)
    resolve(recipe, architecture, held)
    recipe = recipe.model_copy(update={"data": hub_data.pinned(recipe.data)})
    return audit.audit(recipe, hub_data.locator(recipe.data), ruler, on_rows)


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


def fetch_starter(say: Callable[[str], None]) -> list[starter.StarterFile]:
    """Unpack the starter files into the cache: a small pretrained encoder and real labelled reviews."""
    return starter.fetch_starter(say)


def open_scorer(run: Run) -> Scorer:
    """What predicts by default for a run: its saved model, byte for byte the one that was scored."""
    run.check_weights()
    if run.recipe.method.kind in BASELINES:
        return load_baseline(run.recipe.method.kind, run.weights)
    need_train_extra()
    from tunebench.model import bundle

    return bundle.open_scorer(run)


def _labelled_rows(path: Path, answers: str | None, id_column: str | None, recipe: Recipe) -> dataset.Rows:
    if answers is None and id_column is None:
        return dataset.read_like(path, recipe.data)
    if answers is None or id_column is None:
        raise InputError("evaluate", "--answers and --id go together: the file with the labels, and the column both files share")
    return dataset.join_answers(path, Path(answers), recipe.data.model_copy(update={"id": id_column}))
