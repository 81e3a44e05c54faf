"""What a recipe may say about a search: which settings are tried over which values, how often, and by which score."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from tunebench.recipe.closed import Spec

CHOICES, RANGE = "choices", "range"


class Range(Spec):
    """All numbers from ``low`` to ``high``, both included; of a setting that is a whole number, the whole ones."""

    low: float = Field(description="The smallest value.")
    high: float = Field(description="The largest value.")
    log: bool = Field(False, description="Try as many values between 1e-5 and 1e-4 as between 1e-4 and 1e-3.")
    step: float | None = Field(None, gt=0, description="Distance between two values; without it every number may be tried.")

    @model_validator(mode="after")
    def _fits(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) has to be less than high ({self.high:g}); a single value is no search")
        if self.log and self.low <= 0:
            raise ValueError(f"log: needs a low above zero, found {self.low:g}; raise it, or leave log out")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other; leave one out")
        if self.step is not None and (_exact(self.high) - _exact(self.low)) % _exact(self.step):
            raise ValueError(f"step: from {self.low:g} in steps of {self.step:g} no value is {self.high:g}; change one of them")
        return self


def _exact(number: float) -> Decimal:
    """The number as it was written."""
    return Decimal(repr(number))


def _distinct(values: list[Any]) -> list[Any]:
    if len(values) < 2:
        raise ValueError("expected a list of at least 2 choices, or {low: …, high: …}; a single value stands in the recipe")
    written = [json.dumps(value, sort_keys=True, default=str) for value in values]
    if doubled := [value for place, value in enumerate(values) if written[place] in written[:place]]:
        raise ValueError(f"the choice {doubled[0]!r} stands twice")
    return values


def _kind(value: Any) -> str | None:
    if isinstance(value, dict):  # other settings are no range, but a setting that is not written with a dot
        return RANGE if value.keys() & Range.model_fields else None
    return CHOICES if isinstance(value, list) else RANGE if isinstance(value, Range) else None


Choices = Annotated[list[Any], AfterValidator(_distinct)]
Values = Annotated[Annotated[Choices, Tag(CHOICES)] | Annotated[Range, Tag(RANGE)], Discriminator(_kind)]
Metric = Literal["accuracy", "f1", "f1_macro", "loss"]


class Search(Spec):
    """How `tunebench search` looks for better settings of a recipe. Every trial is a run of its own."""

    space: dict[str, Values] = Field(
        min_length=1,
        description="What is tried: a setting, such as `train.learning_rate`, with a list of choices, or with "
        "{low: …, high: …}, where told also {log: true} or {step: …}.",
    )
    trials: int = Field(20, ge=1, le=1000, description="How many settings are tried; may be raised later.")
    metric: Metric | None = Field(
        None, description="Score on the validation rows that is sought; the default is `train.metric_for_best_model`."
    )
    pruner: Literal["median", "none"] = Field(
        "median",
        description="When a trial is stopped early: `median`, from the sixth on, when its best score so far is worse than the "
        "median of the finished ones at the same evaluation; `none`, never.",
    )
