"""One run as a graph that predicts without torch: made, proved in a fresh process, scored. Heavy rooms are opened inside."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.binding import unsealed_rows
from tunebench.data.labels import LabelMap
from tunebench.data.rows import Rows
from tunebench.errors import GateFailed, InputError, MissingExtra
from tunebench.events import Noted, as_record
from tunebench.fitting import Watch, need_train_extra, require_machine, saying
from tunebench.metrics import classification_scores, confusion_matrix
from tunebench.predict.exported import fresh_logits, open_export
from tunebench.predict.tokenizer_files import copy_tokenizer
from tunebench.recipe.methods import BASELINES
from tunebench.recipe.spec import Recipe
from tunebench.runs import bases, card, environment, exports, proof
from tunebench.runs.cache import file_digest
from tunebench.runs.export_card import export_card
from tunebench.runs.run import Run, sweep

MOST_FLIPS = 0.02
"""Labels that may flip on the validation rows in 8 bits, as a share of the rows."""
ENOUGH_ROWS = 512
"""Training rows that stand in where a run has no validation rows."""


@dataclass(frozen=True)
class Job:
    """What an export is made of: the run, the format, and rows to score it on."""

    run: Run
    name: str
    rows: Rows
    split: str

    @property
    def recipe(self) -> Recipe:
        """The run's recipe."""
        return self.run.recipe

    @property
    def labels(self) -> LabelMap:
        """The run's labels."""
        return LabelMap.from_dict(self.run.manifest["labels"])


def export_run(run: Run, name: str, watch: Watch, *, force: bool = False, default: bool = False) -> dict[str, Any]:
    """Make, prove and score the export of a format; returns its ``export.json``, and whether it is the default.

    A sound one is kept, unless ``force``. One that fails is kept beside under another name, marked, and GateFailed raised.
    ``default`` makes it what predicts from now on.
    """
    if name == exports.TORCH:
        with run.locked():
            make_default(run, name)
        return {"format": name, "default": True}
    refuse_unfit(run)
    require_packages(name)
    with run.locked():
        sweep(run.path)
        run.check_weights()
        told = None if force else _sound(run, name)
        if told is None:
            job = job_of(run, name)
            if default and job.split != "validation":
                raise InputError(run.name, "has no validation rows to score an export on, so none can become its default")
            told = _made(job, watch)
        if default:
            make_default(run, name)
    return told | {"default": exports.default_backend(run) == name}


def make_default(run: Run, name: str) -> None:
    """Set what predicts where nobody names a backend: the model as it was scored, or an export that was scored itself."""
    if name == exports.TORCH:
        run.write_json("manifest.json", {key: value for key, value in run.manifest.items() if key != "default_backend"})
        return
    if (exports.exported(run, name) or {}).get("split") != "validation":
        raise InputError(run.name, f"its {name} export was not scored on validation rows, so it cannot become the default")
    run.write_json("manifest.json", run.manifest | {"default_backend": name})


def refuse_unfit(run: Run) -> None:
    """InputError where a run has no trained head over an encoder or decoder, which is what a graph is made of."""
    recipe = run.recipe
    if recipe.method.kind in BASELINES:
        raise InputError(
            run.name, f"is the baseline {recipe.method.kind!r}, which predicts without torch as it is; use it as it is"
        )
    if recipe.task != "text-classification":
        raise InputError(
            run.name,
            f"its task is {recipe.task}, answered by a causal language model; exports are of text-classification. "
            "`tunebench merge` makes a folder that other programs serve, and --backend torch-int8 is faster on a CPU",
        )


def require_packages(name: str) -> None:
    """MissingExtra where this installation cannot make an export of the format."""
    need_train_extra()
    extra = exports.extra_of(name)
    for package in ("onnx", "onnxscript", *(("openvino", "nncf") if extra == "openvino" else ("onnxruntime",))):
        if find_spec(package) is None:
            raise MissingExtra(package, extra, f"an export of format {name}")


def _sound(run: Run, name: str) -> dict[str, Any] | None:
    """What an export that can be used says of itself; None where there is none, and whatever is unsound is made anew."""
    try:
        exports.check_export(run, name)
    except InputError:
        return None
    return exports.exported(run, name)


def job_of(run: Run, name: str) -> Job:
    """The rows of a run as they were when it was trained; the test split stays sealed."""
    validation = unsealed_rows(run, "validation")
    if validation:
        return Job(run, name, validation, "validation")
    train = unsealed_rows(run, "train")
    assert train is not None
    return Job(run, name, train.take(range(min(len(train), ENOUGH_ROWS))), "train")


def _made(job: Job, watch: Watch) -> dict[str, Any]:
    """Build the export beside its place, prove it, score it, and let it appear."""
    run, target = job.run, exports.export_folder(job.run, job.name)
    part = target.with_name(f".{job.name}.part")
    require_machine(job.recipe)
    watch(Noted(f"{len(job.rows):,} {job.split} rows are scored by torch, then by the export; this takes a while"))
    from tunebench.model import bundle

    reference = bundle.open_scorer(run, for_proof=True).score(job.rows.texts)
    try:
        with run.writing():
            part.mkdir(parents=True)
            _build(job, part)
        told = _proved(job, part, reference.logits, watch)
        passed = bool(told["passed"])
        with run.writing():
            (part / "README.md").write_text(export_card(told, run.name, card.cleaning_words(job.recipe)), "utf-8")
            (part / exports.DESCRIPTION).write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", "utf-8")
            failed = target.with_name(job.name + exports.FAILED)
            shutil.rmtree(failed, ignore_errors=True)
            if passed:
                shutil.rmtree(target, ignore_errors=True)
            part.rename(target if passed else failed)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    if not passed:
        raise GateFailed(
            f"{run.name}: the export {job.name} failed its proof: {told['why']}. It is kept in {failed}, and never used"
        )
    known = run.manifest.get("exports", {}) | {job.name: file_digest(target / exports.DESCRIPTION)}
    run.write_json("manifest.json", run.manifest | {"exports": known})
    return told


def _build(job: Job, part: Path) -> None:
    """Graph, tokenizer and settings of the export; what proves it comes later."""
    from tunebench.model import export
    from tunebench.model.scoring import padding_id

    run, base = job.run, job.recipe.base
    assert base is not None
    model = export.merged_model(run)
    tokenizer = run.weights if (run.weights / "tokenizer.json").is_file() else bases.base_folder(base)
    copy_tokenizer(tokenizer, part, {})
    settings = {
        "format": job.name,
        "labels": list(job.labels.names),
        "max_length": base.max_length,
        "truncation_side": base.truncation_side,
        "pad_id": padding_id(model),
    }
    (part / exports.DESCRIPTION).write_text(json.dumps(settings), "utf-8")
    graph, lossy = export.to_onnx(model, base.pooling, part), job.name.endswith("-int8")
    if job.name.startswith("openvino"):
        export.save_openvino(graph, part, int8=lossy)
    elif lossy:
        export.to_int8(graph)


def _proved(job: Job, part: Path, reference: np.ndarray, watch: Watch) -> dict[str, Any]:
    """Compare the saved export, opened in a fresh process, with torch on all rows, and say whether that is good enough."""
    texts = [str(item) for item in job.rows.texts]
    found = fresh_logits(part, texts)
    chosen = proof.spread(list(range(len(texts))), lambda place: len(texts[place]))
    lossy = job.name.endswith("-int8")
    again = open_export(part).score([texts[place] for place in chosen]).logits if lossy else reference[chosen]
    tolerance = proof.RELOAD_TOLERANCE if lossy else proof.MERGE_TOLERANCE
    proved = proof.prove(f"export {job.name}", again, found[chosen], tolerance)
    saying(job.run, watch)(proved)
    scores = {"export": _scores(job, found), "torch": _scores(job, reference)}
    flips = int((found.argmax(1) != reference.argmax(1)).sum())
    why = faults_of(flips, scores, len(texts), same=proved.passed, lossy=lossy)
    settings: dict[str, Any] = json.loads((part / exports.DESCRIPTION).read_text("utf-8"))
    files = [path for path in sorted(part.iterdir()) if path.name != exports.DESCRIPTION]
    return settings | {
        "passed": not why,
        "why": "; ".join(why) or None,
        "proof": as_record(proved) | {"against": "the same files in another process" if lossy else exports.TORCH},
        "split": job.split,
        "rows": len(texts),
        "label_flips": flips,
        "mean_logit_difference": float(np.abs(found - reference).mean()),
        "scores": scores,
        "bytes": sum(path.stat().st_size for path in files),
        "weights": job.run.manifest["end_weights"],
        "files": {path.name: file_digest(path) for path in files},
        "versions": environment.versions() | _engine_versions(job.name),
    }


def _scores(job: Job, logits: np.ndarray) -> dict[str, Any]:
    """Accuracy and macro F1 with n and interval."""
    labels = job.labels
    matrix = confusion_matrix(labels.ids(job.rows.labels), logits.argmax(1).tolist(), len(labels.names))
    found = classification_scores(matrix, labels.names, labels.positive)
    return {name: found[name] for name in ("accuracy", "f1_macro")}


def faults_of(flips: int, scores: dict[str, Any], rows: int, *, same: bool, lossy: bool) -> list[str]:
    """Why an export is not good enough; nothing where it is."""
    faults = [] if same else ["its logits are not those it is compared with"]
    if lossy:
        lost = round((scores["torch"]["accuracy"]["value"] - scores["export"]["accuracy"]["value"]) * rows)
        if flips > max(1, MOST_FLIPS * rows):
            faults.append(f"{flips:,} of {rows:,} labels flip, and {MOST_FLIPS:.0%} may")
        if lost > max(1, exports.MOST_LOST * rows):
            faults.append(f"{lost:,} of {rows:,} more answers are wrong, and {exports.MOST_LOST:.1%} may be")
    return faults


def _engine_versions(name: str) -> dict[str, str | None]:
    engine = exports.ENGINES[name]
    return {engine: environment.versions([engine])[engine]}
