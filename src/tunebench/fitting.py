"""What a run's verbs do with models: fit, score the sealed split, prove what was saved. Heavy rooms are opened inside."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tunebench.binding import Bound
from tunebench.compare import curves
from tunebench.data import dataset, readers, writers
from tunebench.data.cleaning import cleaner
from tunebench.data.labels import LabelMap
from tunebench.errors import MissingExtra
from tunebench.events import Event, Scored, Started, Stopped, Warned, as_record
from tunebench.predict import predictions
from tunebench.predict.baselines import BASELINE_FILES, load_baseline
from tunebench.predict.scorers import Scorer
from tunebench.recipe.methods import BASELINES, Majority, Tfidf
from tunebench.runs import cache, card, checkpoints, environment, hub_data, proof
from tunebench.runs.run import FORMAT_VERSION, Run

if TYPE_CHECKING:
    from tunebench.model.worker import ProofWorker

Watch = Callable[[Event], None]


def need_train_extra() -> None:
    """MissingExtra where this installation cannot train or open models."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    for package in ("torch", "transformers", "peft", "sklearn", "matplotlib"):
        if find_spec(package) is None:
            raise MissingExtra(package, "train", "this command")


def fit_model(run: Run, bound: Bound, say: Watch, command: str) -> dict[str, Any]:
    """Train a model, keep the best weights, save, score and prove them; returns the metrics. ``command`` continues it."""
    from tunebench.model.worker import ProofWorker
    from tunebench.train.baselines import baseline_scores, fit_baselines

    recipe, data, stopped = bound.recipe, bound.data, Stopped(0, 0, "", 0.0)
    with ProofWorker() as worker:
        fit_baselines(data)
        import torch

        from tunebench.model import bundle
        from tunebench.model.methods import count_parameters
        from tunebench.train.memory import within_memory
        from tunebench.train.session import fit_and_keep, pin_machine, prepare

        begins, precision = checkpoints.newest(run.path) is None, pin_machine(run, recipe.settings)
        with within_memory(recipe):
            session = prepare(recipe, data, precision)
            for message in session.warnings if begins else environment.changes(run.manifest["versions"]):
                say(Warned(message))
            for event in fit_and_keep(session, run, command):
                say(event)
                stopped = event if isinstance(event, Stopped) else stopped
        (total, trainable), threads = count_parameters(session.model), torch.get_num_threads()
        with run.writing():
            bundle.save_trained(session.model, run, recipe)
        metrics = _score_test(run, data, session.scorer, say)
        peak = environment.peak_memory_bytes()
        proved = prove_form(run, "reload", session.scorer, _proof_texts(data), worker, say)
    metrics |= {
        "parameters": {"total": total, "trainable": trainable},
        "train_seconds": stopped.seconds,
        "peak_memory_bytes": peak,
        "peak_gpu_memory_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        "best_step": stopped.best_step,
        "stopped": stopped.reason,
        "adapter_bytes": _weights_bytes(run),
        "threads": threads,
        "precision": precision,
        "proofs": [proved],
        "baselines": baseline_scores(data),
    }
    run.write_text(f"{run.weights.name}/README.md", card.model_card(run, metrics))
    curves.draw_curves(run.events(), run.path / "figures" / "curves.pdf", run.name)
    return metrics


def fit_baseline(run: Run, bound: Bound, say: Watch) -> dict[str, Any]:
    """Fit a baseline, or take it from the cache, and score it; returns the metrics."""
    from tunebench.train.baselines import baseline_folder, baseline_scores

    method = bound.recipe.method
    assert isinstance(method, Majority | Tfidf)
    folder = baseline_folder(method, bound.data)
    for name in BASELINE_FILES[method.kind]:
        cache.write_atomic(run.weights / name, (folder / name).read_bytes())
    scorer = load_baseline(method.kind, run.weights)
    size, cost = scorer.num_parameters, json.loads((folder / "cost.json").read_text("utf-8"))
    say(Started(0, len(bound.data.train), size, size))
    say(Stopped(0, 0, "finished", cost["train_seconds"]))
    return _score_test(run, bound.data, scorer, say) | {
        "parameters": {"total": size, "trainable": size},
        **cost,
        "best_step": 0,
        "stopped": "finished",
        "adapter_bytes": _weights_bytes(run),
        "proofs": [],
        "baselines": baseline_scores(bound.data),
    }


def saying(run: Run, watch: Watch) -> Watch:
    """What a job says goes into the run first, and then to whoever watches."""

    def say(event: Event) -> None:
        run.record(event)
        watch(event)

    return say


def _score_test(run: Run, data: dataset.Dataset, scorer: Scorer, say: Watch) -> dict[str, Any]:
    """Score the sealed split, the one time it counts, and write ``predictions.parquet``."""
    if data.test is None:
        return {"format": FORMAT_VERSION, "test": None, "rows_per_second": None}
    begun = time.perf_counter()
    scores = scorer.score(data.test.texts)
    seconds = time.perf_counter() - begun
    found = predictions.answer(data.labels, scores)
    with writers.table_writer(run.path / "predictions.parquet", predictions.output_types(data.test.types, data.labels)) as write:
        write(predictions.beside_input(data.test.columns, found))
    test = predictions.score_answers(found, data.test.labels)
    say(Scored("test", len(data.test), test["accuracy"]["value"], look=1))
    return {"format": FORMAT_VERSION, "test": test, "rows_per_second": len(data.test) / seconds}


def prove_form(
    run: Run, name: str, reference: Scorer, texts: list[str], worker: ProofWorker, say: Watch, form: str = "saved"
) -> dict[str, Any]:
    """Compare a saved form, opened in a fresh process, with the reference; GateFailed where it is not the same."""
    tolerance = proof.RELOAD_TOLERANCE if form == "saved" else proof.MERGE_TOLERANCE
    candidate = worker.logits(run.path, form, texts, run.recipe.settings.per_device_eval_batch_size)
    proved = proof.prove(name, reference.score(texts).logits, candidate, tolerance)
    say(proved)
    return as_record(proof.require(proved))


def _proof_texts(data: dataset.Dataset) -> list[str]:
    """Texts for the first proof, of the validation or training rows; the test split stays sealed."""
    return proof.spread((data.validation or data.train).texts)


def scored_texts(run: Run) -> list[str]:
    """Texts for later proofs: those that the run itself keeps with their predictions, else out of its data."""
    kept = run.path / "predictions.parquet"
    if not kept.is_file():
        return _proof_texts(dataset.bind(run.recipe.data, run.recipe.seed, hub_data.locator(run.recipe.data)))
    labels, data = LabelMap.from_dict(run.manifest["labels"]), run.recipe.data
    source, clean = data.source("test") or data.source("train"), cleaner(data.clean)
    text = source.text if source and source.text else data.text
    column = predictions.output_names([text], labels)[text]
    return proof.spread([clean(str(value)) for chunk in readers.open_table(kept).chunks() for value in chunk.columns[column]])


def _weights_bytes(run: Run) -> int:
    """What has to be shipped besides the base: the trained weights (of a baseline, all its files)."""
    baseline = run.recipe.method.kind in BASELINES
    return sum(path.stat().st_size for path in run.weights.iterdir() if baseline or path.suffix == ".safetensors")
