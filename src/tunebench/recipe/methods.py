"""How weights change: every kind of method. The adapters and their settings stand in ``recipe/adapters.py``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from tunebench.recipe.adapters import AdapterMethod
from tunebench.recipe.closed import Spec


class Full(Spec):
    """Every weight of the base is trained."""

    rate: ClassVar[float] = 5e-5

    kind: Literal["full"] = "full"


class Head(Spec):
    """Only the classification head is trained; the base stays as it is."""

    rate: ClassVar[float] = 5e-3

    kind: Literal["head"] = "head"


class Majority(Spec):
    """Baseline: always the most frequent training label."""

    kind: Literal["majority"] = "majority"


class Tfidf(Spec):
    """Baseline: TF-IDF of words and word pairs with logistic regression; a bar that every model should pass."""

    kind: Literal["tfidf"] = "tfidf"
    ngram_max: int = Field(2, ge=1, le=3, description="Longest word sequence that is a feature.")
    min_df: int = Field(2, ge=1, description="Training rows a feature must occur in.")
    sublinear_tf: bool = Field(True, description="Use 1 + log(count) in place of the count.")
    C: float = Field(10.0, gt=0, description="Inverse strength of the regularisation.")


class WordOverlap(Spec):
    """Baseline of multiple-choice: the option that shares most with the part of the passage that the question is about."""

    kind: Literal["word-overlap"] = "word-overlap"


class ZeroShot(Spec):
    """Baseline: the base answers the prompt as it is, and nothing is trained."""

    kind: Literal["zero-shot"] = "zero-shot"


Trained = Full | Head | AdapterMethod
Baseline = Majority | Tfidf | WordOverlap
Method = Annotated[Trained | Baseline | ZeroShot, Field(discriminator="kind")]


def _by_kind(union: object) -> dict[str, type[Spec]]:
    return {kind.model_fields["kind"].default: kind for kind in get_args(union)}


ADAPTERS = tuple(_by_kind(AdapterMethod))
BASELINES = tuple(_by_kind(Baseline))
"""Methods without a base: they are fitted, not trained."""
TRAINED_KINDS = tuple(_by_kind(Full | AdapterMethod))
METHODS_OF: dict[str, tuple[str, ...]] = {
    "text-classification": (*TRAINED_KINDS, "head", "majority", "tfidf"),
    "prompt-classification": (*TRAINED_KINDS, "zero-shot", "majority", "tfidf"),
    "multiple-choice": (*TRAINED_KINDS, "zero-shot", "majority", "word-overlap"),
    "language-modeling": TRAINED_KINDS,
    "instruction": TRAINED_KINDS,
}
"""The methods that every task has."""
LEARNING_RATES: dict[str, float] = {kind.model_fields["kind"].default: kind.rate for kind in get_args(Trained)}
"""The peak rate that a method gets where the recipe names none; the reasons stand in docs/methods.md."""


def method_kinds() -> dict[str, type[Spec]]:
    """Every kind of method and its settings."""
    return _by_kind(Trained | Baseline | ZeroShot)
