"""What a run's verbs do with models: fit, score the sealed split, prove what was saved. Heavy rooms are opened inside."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from tunebench.binding import Bound
from tunebench.compare import curves
from tunebench.data import dataset, readers, writers
from tunebench.data.items import Item, flat
from tunebench.data.labels import LabelMap
from tunebench.data.reading import reading_of
from tunebench.errors import MissingExtra
from tunebench.events import Evaluated, Event, Scored, Started, Stopped, Warned, as_record
from tunebench.predict import perplexity, predictions
from tunebench.predict.answers import write_answers
from tunebench.predict.baselines import BASELINE_FILES, load_baseline
from tunebench.predict.scorers import Scorer
from tunebench.recipe.methods import BASELINES, Baseline
from tunebench.recipe.spec import CAUSAL_TASKS, TEXT_TASKS, Recipe
from tunebench.runs import bases, cache, card, checkpoints, environment, hub_data, plans, proof
from tunebench.runs.looks import looks_at_test
from tunebench.runs.run import FORMAT_VERSION, Run

if TYPE_CHECKING:
    from tunebench.model.worker import ProofWorker

Watch = Callable[[Event], None]
PROOF_CHARACTERS = 20_000
"""About how much text a proof of a causal language model compares, each side of it once."""


def need_train_extra() -> None:
    """MissingExtra where this installation cannot train or open models."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    for package in ("torch", "transformers", "peft", "sklearn", "matplotlib"):
        if find_spec(package) is None:
            raise MissingExtra(package, "train", "this command")


def require_machine(recipe: Recipe) -> None:
    """InputError, or MissingExtra, where this machine cannot hold the base as the recipe wants it."""
    if recipe.base is not None and recipe.base.quantization is not None:
        from tunebench.model.quantized import require_quantization

        require_quantization(recipe.base.quantization)


def fit_model(run: Run, bound: Bound, say: Watch, command: str) -> dict[str, Any]:
    """Train a model, keep the best weights, save, score and prove them; returns the metrics. ``command`` continues it."""
    from tunebench.model.worker import ProofWorker
    from tunebench.train.baselines import baseline_scores, fit_baselines

    recipe, data = bound.recipe, bound.data
    with ProofWorker() as worker:
        fit_baselines(data)
        import torch

        from tunebench.model import bundle
        from tunebench.model.release import trim_memory
        from tunebench.train.memory import within_memory

        with within_memory(recipe):
            fitted = _asked(run, recipe, data, say) if recipe.method.kind == "zero-shot" else _trained(run, bound, say, command)
            with run.writing():
                bundle.save_trained(fitted.model, run, recipe)
            metrics = score_test(run, recipe, data, fitted, say)
        peak = environment.peak_memory_bytes()
        reference, items = to_prove(bundle.scorer_for_proof(fitted.model, recipe, data.labels), _proof_items(recipe, data))
        figures = fitted.figures
        del fitted  # the other process opens a model too
        trim_memory()
        proved = prove_form(run, "reload", reference, items, worker, say)
    metrics |= figures | {
        "peak_memory_bytes": peak,
        "peak_gpu_memory_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        "adapter_bytes": _weights_bytes(run),
        "threads": torch.get_num_threads(),
        "proofs": [proved],
        "baselines": baseline_scores(data),
    }
    if planned := plans.compared(plans.stored_plan(bound.identity), metrics):
        metrics["plan"] = planned
    run.write_text(f"{run.weights.name}/README.md", card.model_card(run, metrics))
    curves.draw_curves(run.events(), run.path / "figures" / "curves.pdf", run.name)
    return metrics


@dataclass(frozen=True)
class Fitted:
    """A model as it is to be scored, its scorer, and what getting there cost."""

    model: Any
    scorer: Scorer
    figures: dict[str, Any]


def _trained(run: Run, bound: Bound, say: Watch, command: str) -> Fitted:
    """The model trained by its recipe, from the newest checkpoint on; the weights to keep are in it."""
    from tunebench.model.methods import count_parameters
    from tunebench.train.session import fit_and_keep, pin_machine, prepare

    recipe, stopped = bound.recipe, Stopped(0, 0, "", 0.0)
    begins, precision = checkpoints.newest(run.path) is None, pin_machine(run, recipe.settings)
    session = prepare(recipe, bound.data, precision)
    for message in session.warnings if begins else environment.changes(run.manifest["versions"]):
        say(Warned(message))
    for event in fit_and_keep(session, run, command):
        say(event)
        stopped = event if isinstance(event, Stopped) else stopped
    total, trainable = count_parameters(session.model)
    figures = _rounding(session.model, recipe) | {
        "parameters": {"total": total, "trainable": trainable},
        "train_seconds": stopped.seconds,
        "best_step": stopped.best_step,
        "steps": stopped.step,
        "stopped": stopped.reason,
        "precision": precision,
    }
    return Fitted(session.model, session.scorer, figures)


def _rounding(model: Any, recipe: Recipe) -> dict[str, Any]:
    """What quantising took from the base's weights; nothing where it is not quantised."""
    from tunebench.model.quantized import rounding_loss

    if recipe.base is None or recipe.base.quantization is None:
        return {}
    return {"quantization": asdict(rounding_loss(model.get_base_model(), bases.base_folder(recipe.base)))}


def _asked(run: Run, recipe: Recipe, data: dataset.Dataset, say: Watch) -> Fitted:
    """The base as it is: nothing is trained."""
    from tunebench.model import bundle
    from tunebench.model.methods import count_parameters
    from tunebench.model.scoring import make_scorer

    assert recipe.base is not None
    model, _ = bundle.compose(recipe, data.labels, recipe.seed)
    total, _ = count_parameters(model)
    scorer = make_scorer(model, recipe, bases.base_folder(recipe.base), data.labels)
    say(Started(0, len(data.train), 0, total))
    evaluate_untrained(data, scorer, say)
    say(Stopped(0, 0, "finished", 0.0))
    figures = {
        "parameters": {"total": total, "trainable": 0},
        "train_seconds": 0.0,
        "best_step": 0,
        "stopped": "finished",
        "precision": "float32",
    }
    return Fitted(model, scorer, figures)


def fit_baseline(run: Run, bound: Bound, say: Watch) -> dict[str, Any]:
    """Fit a baseline, or take it from the cache, and score it; returns the metrics."""
    from tunebench.train.baselines import baseline_folder, baseline_scores

    method = bound.recipe.method
    assert isinstance(method, Baseline)
    folder = baseline_folder(method, bound.data)
    for name in BASELINE_FILES[method.kind]:
        cache.write_atomic(run.weights / name, (folder / name).read_bytes())
    scorer = load_baseline(method.kind, run.weights)
    size, cost = scorer.num_parameters, json.loads((folder / "cost.json").read_text("utf-8"))
    say(Started(0, len(bound.data.train), size, size))
    evaluate_untrained(bound.data, scorer, say)
    say(Stopped(0, 0, "finished", cost["train_seconds"]))
    return score_test(run, bound.recipe, bound.data, Fitted(None, scorer, {}), say) | {
        "parameters": {"total": size, "trainable": size},
        **cost,
        "best_step": 0,
        "stopped": "finished",
        "adapter_bytes": _weights_bytes(run),
        "proofs": [],
        "baselines": baseline_scores(bound.data),
    }


def evaluate_untrained(data: dataset.Dataset, scorer: Scorer, say: Watch) -> None:
    """Score the validation rows of a model that no training evaluates, where there are no test rows to score it on."""
    if data.test is not None or data.validation is None:
        return
    begun = time.perf_counter()
    found = predictions.answer(data.labels, scorer.score(data.validation.texts))
    scores = predictions.score_answers(found, data.validation.labels)
    kept = {name: scores[name]["value"] for name in ("accuracy", "f1", "f1_macro")}
    right = found.probabilities[np.arange(len(data.validation)), data.labels.ids(data.validation.labels)]
    if not np.isnan(right).any():  # as they are where answers are written, or a row could not be scored
        kept["loss"] = float(-np.log(np.maximum(right, np.finfo(np.float64).tiny)).mean())
    say(Evaluated(0, "validation", kept, best=True, seconds=time.perf_counter() - begun))


def saying(run: Run, watch: Watch) -> Watch:
    """What a job says goes into the run first, and then to whoever watches."""

    def say(event: Event) -> None:
        run.record(event)
        watch(event)

    return say


def score_test(run: Run, recipe: Recipe, data: dataset.Dataset, fitted: Fitted, say: Watch) -> dict[str, Any]:
    """Score the sealed split, the one time it counts, and answer the rows that are to be answered."""
    if recipe.task in TEXT_TASKS:
        return _measure_test(run, recipe, data, fitted, say)
    found = _score_labels(run, data, fitted.scorer, say)
    if data.predict is None:
        return found
    answered = predictions.predict_items(fitted.scorer, data.labels, data.predict.texts)
    return found | {"answers": write_answers(run.path, data.predict, answered)}


def _score_labels(run: Run, data: dataset.Dataset, scorer: Scorer, say: Watch) -> dict[str, Any]:
    """Scores of the test rows; what was predicted for each stands in ``predictions.parquet``."""
    if data.test is None:
        return {"format": FORMAT_VERSION, "test": None, "rows_per_second": None}
    begun = time.perf_counter()
    scores = scorer.score(data.test.texts)
    seconds = time.perf_counter() - begun
    found = predictions.answer(data.labels, scores)
    with writers.table_writer(run.path / "predictions.parquet", predictions.output_types(data.test.types, data.labels)) as write:
        write(predictions.beside_input(data.test.columns, found))
    test = predictions.score_answers(found, data.test.labels)
    say(Scored("test", len(data.test), test["accuracy"]["value"], look=looks_at_test(run) + 1))
    if test["unscored"]:
        say(Warned(f"{test['unscored']:,} test rows could not be scored and count nowhere; predictions.parquet says why"))
    return {"format": FORMAT_VERSION, "test": test, "rows_per_second": len(data.test) / seconds}


def _measure_test(run: Run, recipe: Recipe, data: dataset.Dataset, fitted: Fitted, say: Watch) -> dict[str, Any]:
    """Perplexity of the test texts, before and after; the losses of each stand in ``losses.parquet``."""
    from tunebench.model import bundle

    if data.test is None:
        return {"format": FORMAT_VERSION, "test": None, "rows_per_second": None}
    begun = time.perf_counter()
    losses = measure(fitted.scorer, data.test.texts)
    seconds = time.perf_counter() - begun
    with bundle.untrained(fitted.model, recipe, data.labels) as scorer:
        before = measure(scorer, data.test.texts)
    with writers.table_writer(run.path / "losses.parquet", perplexity.COLUMNS) as write:
        write(perplexity.columns(data.test.ids, losses, before))
    test = losses.scores() | {"before": before.scores()}
    say(Scored("test", len(data.test), None, look=looks_at_test(run) + 1, perplexity=test["perplexity_per_character"]["value"]))
    return {"format": FORMAT_VERSION, "test": test, "rows_per_second": len(data.test) / seconds}


def measure(scorer: Scorer, items: Sequence[Item]) -> perplexity.Losses:
    """How well a scorer of a task without labels predicts texts."""
    from tunebench.model.scoring import WritingScorer

    assert isinstance(scorer, WritingScorer)
    return scorer.measure(items)


def to_prove(scorer: Scorer, items: Sequence[Item]) -> tuple[np.ndarray, list[Item]]:
    """The logits that a proof compares with, and their items; those that cannot be scored have none, and prove nothing."""
    found = scorer.score(items)
    sound = [place for place, error in enumerate(found.errors or [None] * len(items)) if error is None]
    return found.logits[sound], [items[place] for place in sound]


def prove_form(
    run: Run, name: str, reference: np.ndarray, items: Sequence[Item], worker: ProofWorker, say: Watch, form: str = "saved"
) -> dict[str, Any]:
    """Compare a saved form, opened in a fresh process, with reference logits; GateFailed where it is not the same."""
    tolerance = proof.RELOAD_TOLERANCE if form == "saved" else proof.MERGE_TOLERANCE
    candidate = worker.logits(run.path, form, items, run.recipe.settings.per_device_eval_batch_size)
    proved = proof.prove(name, reference, candidate, tolerance)
    say(proved)
    return as_record(proof.require(proved))


def _proof_items(recipe: Recipe, data: dataset.Dataset) -> list[Item]:
    """Items for the first proof, of the validation or training rows; the test split stays sealed."""
    return _spread(recipe, (data.validation or data.train).texts)


def _spread(recipe: Recipe, items: Sequence[Item]) -> list[Item]:
    """What a proof compares: of causal language models fewer rows, as each costs much more."""
    budget = PROOF_CHARACTERS if recipe.task in CAUSAL_TASKS else None
    return proof.spread(items, lambda item: len(flat(item)), budget)


def scored_items(run: Run) -> list[Item]:
    """Items for later proofs: those that the run itself keeps with their predictions, else out of its data."""
    kept, recipe = run.path / "predictions.parquet", run.recipe
    source = recipe.data.source("test") or recipe.data.source("train")
    if not kept.is_file() or source is None:
        asked = recipe.data.model_copy(update={"predict": None})  # which may be gone by now
        return _proof_items(recipe, dataset.bind(asked, recipe.data_seed, hub_data.locator(asked), task=recipe.task))
    labels, reading = LabelMap.from_dict(run.manifest["labels"]), reading_of(recipe.data, source, recipe.task)
    return _spread(recipe, predictions.kept_items(readers.open_table(kept), reading, labels))


def _weights_bytes(run: Run) -> int:
    """What has to be shipped besides the base: the trained weights (of a baseline, all its files)."""
    baseline = run.recipe.method.kind in BASELINES
    return sum(path.stat().st_size for path in run.weights.iterdir() if baseline or path.suffix == ".safetensors")
