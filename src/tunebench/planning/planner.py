"""The plan of a recipe: every stage counted, a few of its steps timed, and what it needs held against what there is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from tunebench.errors import InputError
from tunebench.model.objectives import TRAIN_SAMPLE
from tunebench.planning.arithmetic import KERNELS, disk_terms, memory_needs
from tunebench.planning.footprint import footprint
from tunebench.planning.given import look_up
from tunebench.planning.needs import Limit, Need, Plan, Resource, StagePlan, Term
from tunebench.planning.probe import probe
from tunebench.planning.verdicts import Counted, verdict
from tunebench.planning.workload import workload
from tunebench.recipe.methods import BASELINES
from tunebench.recipe.spec import Recipe, Train
from tunebench.recipe.stages import StagedRecipe
from tunebench.runs import environment
from tunebench.runs.plans import store_plan, stored_plan
from tunebench.train.precision import choose_precision

HUB_BYTES = 2
"""Bytes per weight of a base on the hub: nearly all are published in 16 bits."""
Device = Literal["cpu", "cuda"]


def plan(
    recipe: Recipe | StagedRecipe, limits: Mapping[str, int], runs: Path, *, timed: bool, say: Callable[[str], None]
) -> Plan:
    """Plan a recipe for this machine, or for the memory and disk that ``limits`` speak of.

    No weights are fetched and nothing in ``runs`` is touched. ``timed``: run a probe of every stage whose weights and data are
    at hand; what it finds is kept, and `train` says how far it was off.
    """
    staged = recipe if isinstance(recipe, StagedRecipe) else None
    recipes = staged.recipes() if staged else [recipe] if isinstance(recipe, Recipe) else []
    merges = [stage.merge for stage in staged.stages] if staged else [False]
    names = [stage.name for stage in staged.stages] if staged else [""]
    hardware = environment.hardware()
    quantized = any(one.base is not None and one.base.quantization for one in recipes)
    device: Device = "cuda" if hardware["gpus"] or "gpu" in limits or quantized else "cpu"
    counted, planned, stays = list[Counted](), list[StagePlan](), list[Term]()
    for name, one, merge in zip(names, recipes, merges, strict=True):
        counted.append(_count(name, one, device))
        can_be_timed = timed and (device == "cpu" or bool(hardware["gpus"]))
        measured = _probed(counted[-1], say, gpu=device == "cuda") if can_be_timed else None
        planned.append(_stage_plan(counted[-1], device, stays, measured, merge=merge))
        _keep(counted[-1], planned[-1])
    needs = [need for one in planned for need in one.needs]
    found = [verdict(kind, needs, _limit(kind, limits, hardware, runs), counted) for kind in ("gpu", "ram", "disk")]
    return Plan(recipe.name, device, tuple(planned), tuple(item for item in found if item is not None))


def _count(name: str, recipe: Recipe, device: Device) -> Counted:
    if recipe.method.kind in BASELINES:
        raise InputError("method.kind", f"the baseline {recipe.method.kind!r} needs no plan: it is fitted within seconds")
    given = look_up(recipe)
    work, precision = workload(given.recipe, given.lengths()), _precision(given.recipe.settings, device)
    found = footprint(given.recipe, given.config, given.num_labels, work.largest_batch, precision)
    return Counted(name, given, work, found, precision)


def _precision(settings: Train, device: Device) -> str:
    """As training will choose it; for a GPU that is not here, as one with bfloat16 would."""
    if device == "cpu" or torch.cuda.is_available():
        return choose_precision(settings, torch.device(device))
    return "float16" if settings.fp16 else "float32" if settings.bf16 is False else "bfloat16"


def _probed(stage: Counted, say: Callable[[str], None], *, gpu: bool) -> dict[str, Any] | None:
    """What a probe measured; a probe that found no GPU says nothing about a training on one."""
    given = stage.given
    if given.data is None or given.folder is None or not stage.found.trainable:
        return None
    say(f"timing a few steps of {given.recipe.name} …")
    found = probe(given.recipe)
    return None if gpu and found.get("device") == "cpu" else found


def _stage_plan(stage: Counted, device: Device, stays: list[Term], probed: dict[str, Any] | None, *, merge: bool) -> StagePlan:
    """One stage; ``stays`` is what those before it left on the disk, and takes what this one leaves."""
    given, work, found = stage.given, stage.work, stage.found
    recipe, notes = given.recipe, list(given.notes)
    assert recipe.base is not None
    if probed and "fault" in probed:
        notes.append(f"not timed: {probed['fault']}")
        probed = None
    elif probed and device == "cpu":
        unseen = max(0, work.shapes - probed["steps"]["number"])
        probed = probed | {"peak_memory_bytes": probed["peak_memory_bytes"] + KERNELS * unseen}
    tokens = round(work.tokens_per_step * work.steps_per_epoch) if work.rows else 0
    texts = (given.characters("train", "validation", "test"), tokens)
    needs = memory_needs(stage.name, recipe, found, work, texts, gpu=device == "cuda", merge=merge)
    fetched = HUB_BYTES * found.total if given.fetched and not stays else 0
    lasting, passing = disk_terms(recipe, found, fetched, merge=merge, scored=2 * given.characters("test"))
    needs.append(Need("disk", stage.name, "training", (*stays, *lasting, *passing)))
    stays.extend(term._replace(name=f"{term.name} ({stage.name})") for term in lasting)
    return StagePlan(
        name=stage.name,
        task=recipe.task,
        method=recipe.method.kind,
        base=recipe.base.model,
        parameters={"total": found.total, "trainable": found.trainable},
        saved_bytes=found.saved_bytes,
        precision=stage.precision,
        rows=work.rows,
        steps=work.steps if found.trainable else 0,
        rows_per_step=work.rows_per_step,
        tokens_per_step=round(work.tokens_per_step),
        largest_batch=work.largest_batch,
        evaluations=work.evaluations,
        needs=tuple(needs),
        seconds=None if probed is None else _seconds(stage, probed),
        probe=probed,
        notes=tuple(notes),
    )


def _seconds(stage: Counted, probed: Mapping[str, Any]) -> dict[str, float]:
    """The whole training by what a few steps and one evaluation took."""
    steps, evaluation, data = probed["steps"], probed["evaluation"], stage.given.data
    assert data is not None
    train = stage.work.steps * stage.work.tokens_per_step * steps["seconds"] / steps["padded_tokens"]
    each = 0.0
    if evaluation is not None:
        each = evaluation["seconds"] / (evaluation["rows"] + min(TRAIN_SAMPLE, evaluation["sampled"]))
    validated = (len(data.validation) + min(TRAIN_SAMPLE, len(data.train))) if data.validation else 0
    train += stage.work.evaluations * validated * each
    score = len(data.test) * each if data.test else 0.0
    start = probed["start_seconds"]
    return {"start": start, "train": train, "score": score, "total": start + train + score}


def _keep(stage: Counted, planned: StagePlan) -> None:
    """For `train` to compare with, where the data is at hand. A plan without a probe replaces none that had one."""
    if stage.given.identity is None:
        return
    if not planned.seconds and (stored_plan(stage.given.identity) or {}).get("train_seconds"):
        return
    kept: dict[str, Any] = {
        "parameters": planned.parameters,
        "steps": planned.steps,
        "adapter_bytes": planned.saved_bytes,
        "peak_memory_bytes": planned.peak_bytes("ram"),
        "peak_gpu_memory_bytes": planned.peak_bytes("gpu"),
    }
    store_plan(stage.given.identity, kept | ({"train_seconds": planned.seconds["train"]} if planned.seconds else {}))


def _limit(resource: Resource, limits: Mapping[str, int], hardware: Mapping[str, Any], runs: Path) -> Limit | None:
    """What the user says there is, else what this machine has."""
    if resource in limits:
        return Limit(resource, limits[resource], {"gpu": "--gpu-memory", "ram": "--ram", "disk": "--disk"}[resource])
    if resource == "ram":
        return Limit(resource, hardware["memory_bytes"], "this machine")
    if resource == "disk":
        place = Path(os.path.abspath(runs))
        place = next(folder for folder in (place, *place.parents) if folder.exists())
        return Limit(resource, shutil.disk_usage(place).free, f"free at {place}")
    sizes = [gpu["memory_bytes"] for gpu in hardware["gpus"] if gpu["memory_bytes"]]
    return Limit(resource, sizes[0], "this machine") if sizes else None
