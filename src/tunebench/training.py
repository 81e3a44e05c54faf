"""One run from its recipe to its proof: trained, scored, closed; opened again; merged. Heavy rooms are opened inside."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebench.binding import Bound, manifest_of, stale_answers
from tunebench.data.corpus import shared_documents
from tunebench.data.corpus_audit import write_audit
from tunebench.errors import InputError, Interrupted, TunebenchError
from tunebench.events import Failed, Finished, Warned
from tunebench.fitting import (
    Fitted,
    Watch,
    fit_baseline,
    fit_model,
    need_train_extra,
    prove_form,
    require_machine,
    saying,
    score_test,
    scored_items,
    to_prove,
)
from tunebench.predict.baselines import load_baseline
from tunebench.predict.scorers import Scorer
from tunebench.recipe.methods import ADAPTERS, BASELINES
from tunebench.runs import cache, card, exports, trackers
from tunebench.runs.chain import MERGED
from tunebench.runs.index import command_name
from tunebench.runs.run import Run, open_run, sweep

if TYPE_CHECKING:
    from tunebench.model.sharing import SharedBases


@dataclass(frozen=True)
class Trained:
    """What ``train`` leaves: the run, and whether anything had to be done for it.

    Of a staged recipe it is the run of the last stage, and ``stages`` are all of them, in order.
    """

    run: Run
    already_finished: bool
    stages: tuple[Trained, ...] = ()

    @property
    def path(self) -> Path:
        """The directory of the whole: the run's own, of a staged recipe that of the chain."""
        return self.run.path.parent.parent if self.stages else self.run.path

    def as_dict(self) -> dict[str, Any]:
        """For programs: the whole, and of a staged recipe each stage."""
        run, merged = self.run, self.run.path / MERGED
        found: dict[str, Any] = {"run": self.path.resolve().name if self.stages else command_name(run), "path": str(self.path)}
        found |= {"already_finished": self.already_finished, "metrics": run.metrics}
        if self.stages:
            return found | {"stages": [stage.as_dict() for stage in self.stages]}
        return found | {"merged": str(merged) if merged.is_dir() else None}


def train_run(bound: Bound, path: Path, watch: Watch, command: str, *, force: bool = False, test: bool = True) -> Trained:
    """Fit a recipe in the run directory at ``path``, score the test split once, prove what was saved, close.

    An interrupted run goes on from its newest checkpoint, and ends with the bytes of one that was not interrupted;
    ``command`` is what continues it. With ``force`` a run of other settings in that place goes first. Without ``test`` the
    test split stays unscored; a finished run whose test split is unscored is scored where ``test`` asks for it.
    """
    with (
        open_run(path, bound.recipe, manifest_of(bound), force=force) as run,
        trackers.copying(run, bound.recipe.report_to, watch) as watch,
    ):
        if run.is_finished():
            return _already_trained(run, bound, watch, test=test)
        say, begins = saying(run, watch), run.recorded() == 0
        try:
            run.write_text("splits.json", json.dumps({name: rows.ids for name, rows in bound.data.splits().items()}) + "\n")
            if bound.data.audit:
                write_audit(run.path / "cleaning.jsonl", bound.data.audit)
            for remark in _remarks(run, bound) if begins else []:
                say(Warned(remark))
            seen = bound if test else replace(bound, data=replace(bound.data, test=None))
            is_baseline = bound.recipe.method.kind in BASELINES
            metrics = fit_baseline(run, seen, say) if is_baseline else fit_model(run, seen, say, command)
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


def _already_trained(run: Run, bound: Bound, watch: Watch, *, test: bool) -> Trained:
    """A finished run, with what it may still lack: the score of its test split."""
    shutil.rmtree(run.path / "checkpoints", ignore_errors=True)  # where the last attempt was killed just before
    is_due = test and bound.data.test is not None and run.metrics["test"] is None
    if is_due:
        _score_unscored(run, bound, saying(run, watch))
    if words := stale_answers(run, bound):
        watch(Warned(words))
    return Trained(run, already_finished=not is_due)


def _score_unscored(run: Run, bound: Bound, say: Watch) -> None:
    """Score the test split of a finished run that was trained without it."""
    from tunebench.train.baselines import baseline_scores

    scorer = open_scorer(run, exports.TORCH)
    model = getattr(scorer, "model", None)  # only tasks without labels need it, to measure its base
    found = score_test(run, bound.recipe, replace(bound.data, predict=None), Fitted(model, scorer, {}), say)
    metrics = run.metrics | found | {"baselines": baseline_scores(bound.data)}
    if bound.recipe.method.kind not in BASELINES:
        run.write_text(f"{run.weights.name}/README.md", card.model_card(run, metrics))
    run.write_json("metrics.json", metrics)


def _remarks(run: Run, bound: Bound) -> list[str]:
    """What a user should know of the data before training begins."""
    pairs = run.manifest["texts_shared_between_splits"].items()
    found = [f"{count} texts of {pair} stand there word for word; scores may be too good" for pair, count in pairs if count]
    near = shared_documents(bound.data.splits()) if bound.recipe.task == "language-modeling" else {}
    found += [
        f"{counts['near']} documents of {split} stand nearly so in train; scores may be too good"
        for split, counts in near.items()
        if counts["near"]
    ]
    return bound.data.remarks() + found


def open_scorer(run: Run, backend: str | None = None, bases: SharedBases | None = None) -> Scorer:
    """What predicts for a run: any of ``runs.exports.BACKENDS``; by default its saved model, or the export made the default.

    Whatever is opened is, byte for byte, what was scored or proved; InputError where it is not there, or is not that any more.
    Adapters that are opened with the same ``bases`` have the frozen matrices of their base in common.
    """
    run.check_weights()
    backend = backend or exports.default_backend(run)
    if run.recipe.method.kind in BASELINES:
        if backend != exports.TORCH:
            raise InputError("--backend", f"{run.name} is a baseline, of which there is one form only; leave the option out")
        return load_baseline(run.recipe.method.kind, run.weights)
    if backend in exports.ENGINES:
        from tunebench.predict.exported import open_export

        return open_export(exports.check_export(run, backend), run.recipe.base.max_length if run.recipe.base else None)
    need_train_extra()
    require_machine(run.recipe)
    from tunebench.model import bundle

    if backend == exports.TORCH_MERGED:
        return bundle.open_scorer(run, exports.check_merged(run))
    return bundle.open_scorer(run, int8=backend == exports.TORCH_INT8, bases=bases)


def merge_run(run: Run, watch: Watch) -> dict[str, Any]:
    """Fold a run's adapter into its base (``merged/``) and prove that nothing changed; returns the proof."""
    if (kind := run.recipe.method.kind) not in ADAPTERS:
        model = "its base" if kind == "zero-shot" else run.weights
        raise InputError(run.name, f"its method is {kind!r}, which has nothing to merge; {model} is the model")
    need_train_extra()
    from tunebench.model import bundle
    from tunebench.model.release import trim_memory
    from tunebench.model.worker import ProofWorker

    candidate, folder = run.path / "merged-unproved", run.path / MERGED
    with run.locked(), ProofWorker() as worker:
        sweep(run.path)  # what a merge that was killed left
        run.check_weights()
        rounds_inputs = run.recipe.base is not None and run.recipe.base.quantization == "int8"
        unmerged, items = to_prove(bundle.open_scorer(run, for_proof=True, dequantized=rounds_inputs), scored_items(run))
        trim_memory()
        with run.writing():
            bundle.save_merged(run, candidate)
        proved = prove_form(run, "merge", unmerged, items, worker, saying(run, watch), form=candidate.name)
        metrics = run.metrics
        metrics["proofs"] = [item for item in metrics["proofs"] if item["name"] != "merge"] + [proved]
        run.write_text(f"{candidate.name}/README.md", card.model_card(run, metrics, merged=True))
        shutil.rmtree(folder, ignore_errors=True)
        candidate.rename(folder)
        run.write_json("metrics.json", metrics)
        run.write_json("manifest.json", run.manifest | {"merged_weights": cache.folder_digest(folder)})
    return proved
