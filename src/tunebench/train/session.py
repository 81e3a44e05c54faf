"""From a resolved recipe and bound data to a model in training: tokenized, seeded, composed, ready to iterate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from tunebench.data.dataset import Dataset
from tunebench.errors import InputError, Interrupted
from tunebench.events import Event, Resumed, Stopped
from tunebench.model import bundle
from tunebench.model.methods import keep_fewer_activations
from tunebench.model.scoring import make_scorer
from tunebench.predict.scorers import Scorer
from tunebench.recipe.adapters import Lora
from tunebench.recipe.methods import LEARNING_RATES
from tunebench.recipe.spec import Recipe, Train
from tunebench.runs import checkpoints
from tunebench.runs.bases import base_folder
from tunebench.runs.run import Run
from tunebench.train.checkpoint import Keeper, load_weights, restore
from tunebench.train.lessons import make_lesson
from tunebench.train.loop import Job, State, fit
from tunebench.train.precision import choose_precision
from tunebench.train.stopping import Asked, Stopping

UNUSUAL = 10.0
"""A learning rate that many times the method's usual one, or as many times below, is warned of (docs/lab-log.md)."""


@dataclass(frozen=True)
class Session:
    """One model in training: the job for the loop, the scorer that shares its weights, and what to warn of."""

    job: Job
    scorer: Scorer
    warnings: list[str]

    @property
    def model(self) -> nn.Module:
        """The model that the job trains."""
        return self.job.model


def pin_machine(run: Run, settings: Train) -> str:
    """The precision to train in. It and the number of threads are those the run began with; both change the last bits."""
    begun, device = run.manifest.get("training"), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if begun is not None and begun["device"] != device.type:
        raise InputError(
            str(run.path),
            f"began on a {begun['device']} and would go on on a {device.type}, with other bytes; finish it where it began, or "
            "give the recipe another name",
        )
    if begun is None:
        begun = {"threads": torch.get_num_threads(), "precision": choose_precision(settings, device), "device": device.type}
        run.write_json("manifest.json", run.manifest | {"training": begun})
    torch.set_num_threads(int(begun["threads"]))
    return str(begun["precision"])


def prepare(recipe: Recipe, data: Dataset, precision: str = "float32") -> Session:
    """Tokenize the rows and compose the model; torch is seeded before anything is built."""
    assert recipe.base is not None
    folder = base_folder(recipe.base)
    lesson = make_lesson(recipe, data, folder)
    model, new = bundle.compose(recipe, data.labels, recipe.seed)
    if recipe.settings.gradient_checkpointing:
        keep_fewer_activations(model)
    warnings = _unusual_rate(recipe) + lesson.warnings
    warnings += [
        f"{layer} is new, and this method neither trains nor saves it: it would be random after a reload; "
        "add its module to method.modules_to_save"
        for layer in bundle.unsaved_layers(model, new)
    ]
    job = Job(
        model=model,
        objective=lesson.objective(model),
        settings=recipe.settings,
        seed=recipe.seed,
        precision=precision,
        loraplus_lr_ratio=recipe.method.loraplus_lr_ratio if isinstance(recipe.method, Lora) else None,
    )
    return Session(job, make_scorer(model, recipe, folder, data.labels), warnings)


def _unusual_rate(recipe: Recipe) -> list[str]:
    rate, usual = recipe.settings.learning_rate or 0.0, LEARNING_RATES[recipe.method.kind]
    if usual / UNUSUAL < rate < usual * UNUSUAL:
        return []
    way = "low: little may be learned" if rate < usual else "high: training may diverge"
    return [f"learning_rate {rate:g} is {way}; usual for {recipe.method.kind} is about {usual:g}"]


def fit_and_keep(session: Session, run: Run, command: str) -> Iterator[Event]:
    """The events of ``fit``, from the run's newest checkpoint on; the weights to keep are in the model at the end.

    Checkpoints are written once an event is recorded, so whoever iterates records before asking for the next one.
    Raises Interrupted on Ctrl-C or SIGTERM, with a checkpoint left behind; ``command`` is what continues the run.
    """
    job, point = session.job, checkpoints.newest(run.path)
    state = State(job)
    if point is not None:
        restore(job, state, point)
        yield Resumed(point.step, job.total_steps)
    keeper = Keeper(run, job, state)
    with Stopping() as stopping:
        try:
            for event in fit(job, state, stopping):
                if isinstance(event, Stopped):
                    keeper.finish()
                    if event.best_step != event.step:
                        load_weights(job.model, checkpoints.folder_of(run.path, event.best_step))
                yield event
                keeper.see(event)
        except Asked:
            stopping.hear_no_more()
            step = state.progress.step
            if step:
                keeper.save()
            kept = f"at step {step} of {job.total_steps}, which is kept" if step else "before the first step"
            raise Interrupted(f"{run.path}: stopped {kept}; `{command}` goes on from there") from None
        if stopping.asked:
            raise Interrupted(f"{run.path}: stopped after the last step, which is kept; `{command}` goes on from there")
