"""A recipe of several stages: each becomes an ordinary recipe, whose base is what the stage before it left."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from tunebench.recipe.closed import NAME_PATTERN, Spec
from tunebench.recipe.methods import ADAPTERS, BASELINES, Method
from tunebench.recipe.prompt import Prompt
from tunebench.recipe.sources import Data
from tunebench.recipe.spec import CAUSAL_TASKS, Base, Recipe, Task, Trackers, Train

_LONGEST_NAME = 100


class StageBase(Spec):
    """How a stage reads texts, where it is not as for all stages."""

    max_length: int | None = Field(
        None, ge=4, description="Tokens a text is cut to, where it is not the recipe's `base.max_length`."
    )
    truncation_side: Literal["right", "left", "middle"] | None = Field(
        None, description="Where a text that is too long is cut, where it is not `base.truncation_side`."
    )


class Stage(Spec):
    """One training phase: it starts from the weights that the stage before it left, the first one from the base."""

    name: str = Field(pattern=NAME_PATTERN, description="Name of the stage; its run is `<recipe>-<stage>`.")
    task: Task = Field("text-classification", description="What is taught.")
    base: StageBase | None = Field(None, description="How this stage reads texts, where it is not as for all.")
    data: Data
    prompt: Prompt | None = Field(
        None, description="What a causal language model is asked; of prompt-classification and multiple-choice."
    )
    method: Method
    train: Train | None = Field(None, description="How the method is trained.")
    merge: bool = Field(
        False,
        description="Fold the trained adapter into its base, with proof. Every stage but the last has to leave whole weights: "
        "by this, or by a method such as `full`.",
    )


class StagedRecipe(Spec):
    """A validated description of a chain of trainings, one after the other on the same weights."""

    name: str = Field(pattern=NAME_PATTERN, description="Name of the run directory: letters, digits, `.`, `_` and `-`.")
    seed: int = Field(42, ge=0, lt=2**32, description="Decides splits, new weights, order and dropout of every stage.")
    base: Base = Field(description="The pretrained model that the first stage starts from.")
    stages: Annotated[list[Stage], Field(min_length=1)] = Field(description="The stages, in the order they are trained.")
    report_to: Trackers = Field(
        default_factory=list, description="Trackers that get a copy of every stage's curves, as a run `<recipe>-<stage>` each."
    )

    @model_validator(mode="after")
    def _fits(self) -> StagedRecipe:
        names = [stage.name for stage in self.stages]
        doubled = sorted({name for name in names if [other.lower() for other in names].count(name.lower()) > 1})
        faults = [f"stages: names are folders, give each stage its own; found twice: {', '.join(doubled)}"] if doubled else []
        for number, stage in enumerate(self.stages):
            found = _name_faults(self, stage) or _order_faults(self, number) + _inner_faults(self, number)
            faults += [fault if fault.startswith("base.") else f"stages.{stage.name}.{fault}" for fault in found]
        if faults:
            raise ValueError("\n".join(dict.fromkeys(faults)))
        return self

    def stage_recipe(self, number: int, base: str | None = None) -> Recipe:
        """The ordinary recipe that a stage is, on the folder ``base``; without one, on the base of the first stage."""
        stage = self.stages[number]
        own: dict[str, Any] = {} if stage.base is None else stage.base.model_dump(exclude_none=True)
        start = {} if base is None else {"model": base, "revision": None}
        return Recipe(
            name=f"{self.name}-{stage.name}",
            seed=self.seed,
            task=stage.task,
            base=self.base.model_copy(update=own | start),
            data=stage.data,
            prompt=stage.prompt,
            method=stage.method,
            train=stage.train,
            report_to=self.report_to,
        )

    def recipes(self) -> list[Recipe]:
        """Every stage as an ordinary recipe, all on the base of the first: what can be said before anything is trained."""
        return [self.stage_recipe(number) for number in range(len(self.stages))]


def _name_faults(recipe: StagedRecipe, stage: Stage) -> list[str]:
    length = len(f"{recipe.name}-{stage.name}")
    more = f"the run's name, <recipe>-<stage>, has {length} characters, which are more than {_LONGEST_NAME}; shorten it"
    return [f"name: {more}"] if length > _LONGEST_NAME else []


def _order_faults(recipe: StagedRecipe, number: int) -> list[str]:
    """What keeps a stage from its place in the chain."""
    stage, is_last, faults = recipe.stages[number], number == len(recipe.stages) - 1, []
    kind = stage.method.kind
    if kind in BASELINES:
        faults.append(f"method.kind: the baseline {kind!r} uses no weights of a stage; give it a recipe of its own")
    elif kind == "zero-shot" and not is_last:
        faults.append("method.kind: 'zero-shot' leaves no weights for the next stage; make it the last one")
    elif kind in ADAPTERS and not stage.merge and not is_last:
        faults.append("merge: the next stage starts from whole weights; set it to true, or method.kind to full")
    if stage.merge and kind not in ADAPTERS:
        faults.append(f"merge: the method {kind!r} has no adapter to merge; remove it")
    if number and stage.task in CAUSAL_TASKS and recipe.stages[number - 1].task not in CAUSAL_TASKS:
        faults.append(
            f"task: {stage.task} needs the output layer of a language model, in whose place the stage before it "
            f"({recipe.stages[number - 1].task}) leaves a classification head; change their order"
        )
    return faults


def _inner_faults(recipe: StagedRecipe, number: int) -> list[str]:
    """What a stage lacks, or says beyond its task and method, as an ordinary recipe of these settings would be told."""
    if recipe.stages[number].method.kind in BASELINES:
        return []
    try:
        recipe.stage_recipe(number)
    except ValidationError as error:
        return [line for item in error.errors() for line in str(item.get("ctx", {}).get("error", item["msg"])).split("\n")]
    return []


def recipe_schema() -> dict[str, Any]:
    """The JSON Schema of a recipe file: of one stage, or of several."""
    return TypeAdapter(Recipe | StagedRecipe).json_schema()
