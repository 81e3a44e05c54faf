"""What a plan needs held against what there is, and what would change it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tunebench.compare.shown import size
from tunebench.planning.arithmetic import training_terms
from tunebench.planning.footprint import Footprint, footprint
from tunebench.planning.given import Given
from tunebench.planning.needs import Limit, Need, Resource, Shortage, Verdict
from tunebench.planning.workload import Workload
from tunebench.recipe.spec import Recipe


@dataclasses.dataclass(frozen=True)
class Counted:
    """A stage with all that its needs were counted from."""

    name: str
    given: Given
    work: Workload
    found: Footprint
    precision: str


def verdict(resource: Resource, needs: Sequence[Need], limit: Limit | None, stages: Sequence[Counted]) -> Verdict | None:
    """Whether a resource suffices for every part of all stages; None where nothing of it is needed."""
    own = [need for need in needs if need.resource == resource]
    if not own:
        return None
    short = [need for need in own if limit is not None and need.bytes > limit.bytes]
    room = limit.bytes if limit is not None else 0
    shortages = [Shortage(need.stage, need.during, need.bytes, tuple(_remedies(need, room, stages))) for need in short]
    return Verdict(resource, max(need.bytes for need in own), limit, tuple(shortages))


def _remedies(need: Need, room: int, stages: Sequence[Counted]) -> list[str]:
    stage = next(stage for stage in stages if stage.name == need.stage)
    if need.resource != "disk" and need.during == "training" and stage.found.trainable:
        return _training_remedies(need, room, stage)
    return [_largest(need)]


def _largest(need: Need) -> str:
    first, *others = sorted(need.terms, key=lambda term: -term.bytes)[:2]
    return f"most of it is {' and '.join(f'{term.name}, {size(term.bytes)} ({term.why})' for term in (first, *others))}"


def _training_remedies(need: Need, room: int, stage: Counted) -> list[str]:
    """Settings with which training fits, tried by the same arithmetic: smaller micro-batches, then gradient checkpointing too."""
    recipe = stage.given.recipe
    other = need.bytes - sum(term.bytes for term in training_terms(recipe, stage.found, stage.work.largest_batch))
    if found := _smaller(recipe, stage.found, stage.work.largest_batch, room - other):
        return [found]
    if not recipe.settings.gradient_checkpointing:
        changed = recipe.model_copy(update={"train": recipe.settings.model_copy(update={"gradient_checkpointing": True})})
        counted = footprint(changed, stage.given.config, stage.given.num_labels, stage.work.largest_batch, stage.precision)
        if found := _smaller(changed, counted, stage.work.largest_batch, room - other):
            return [f"train.gradient_checkpointing=true and {found}"]
    return [
        f"one text of {stage.work.largest_batch[1]:,} tokens at a time is still too much: lower base.max_length",
        _largest(need),
    ]


def _smaller(recipe: Recipe, found: Footprint, batch: tuple[int, int], room: int) -> str | None:
    """The largest micro-batch that fits, the rows of a step staying the same."""
    rows, tokens = batch
    per_step = recipe.settings.per_device_train_batch_size * recipe.settings.gradient_accumulation_steps
    for fewer in (each for each in range(rows, 0, -1) if per_step % each == 0):
        share = fewer / rows
        scaled = dataclasses.replace(
            found,
            kept_bytes=round(share * found.kept_bytes),
            again_bytes=round(share * found.again_bytes),
            largest_bytes=round(share * found.largest_bytes),
        )
        terms = training_terms(recipe, scaled, (fewer, tokens))
        if (needed := sum(term.bytes for term in terms)) <= room:
            return (
                f"train.per_device_train_batch_size={fewer} and train.gradient_accumulation_steps={per_step // fewer} "
                f"leave {(room - needed) / 1e9:.1f} GB free; the rows of a step stay the same"
            )
    return None
