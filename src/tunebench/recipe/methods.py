"""How weights change: every kind of method and its settings, under PEFT's names where it has them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from tunebench.recipe.closed import Names, Spec


class Full(Spec):
    """Every weight of the base is trained."""

    kind: Literal["full"] = "full"


class Head(Spec):
    """Only the classification head is trained; the base stays as it is."""

    kind: Literal["head"] = "head"


class Lora(Spec):
    """Low-rank adaptation: W + B·A beside frozen weights (Hu et al. 2021, arXiv 2106.09685)."""

    kind: Literal["lora"] = "lora"
    r: int = Field(8, ge=1, description="Rank of the update.")
    lora_alpha: float = Field(16, gt=0, description="Scale of the update: alpha / r, or alpha / sqrt(r) with `use_rslora`.")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the update.")
    bias: Literal["none", "all", "lora_only"] = Field("none", description="Which biases are trained too.")
    use_rslora: bool = Field(False, description="Rank-stabilised scale (arXiv 2312.03732).")
    target_modules: Names | Literal["all-linear"] | None = Field(
        None, description="Modules that get an update, by the end of their names; the default follows the architecture."
    )
    modules_to_save: list[str] | None = Field(None, description="New modules trained and saved whole; the default is the head.")


class Ia3(Spec):
    """Learned rescaling of keys, values and feed-forward activations (Liu et al. 2022, arXiv 2205.05638)."""

    kind: Literal["ia3"] = "ia3"
    target_modules: Names | str | None = Field(
        None, description="Modules that are rescaled: ends of names, or one pattern; the default follows the architecture."
    )
    feedforward_modules: list[str] | str | None = Field(
        None, description="Those of `target_modules` whose input is rescaled instead of the output."
    )
    modules_to_save: list[str] | None = Field(None, description="New modules trained and saved whole; the default is the head.")


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


Method = Annotated[Full | Head | Lora | Ia3 | Majority | Tfidf, Field(discriminator="kind")]
BASELINES = ("majority", "tfidf")
ADAPTERS = ("lora", "ia3")


def method_kinds() -> dict[str, type[BaseModel]]:
    """Every kind of method and its settings."""
    return {kind.model_fields["kind"].default: kind for kind in (Full, Head, Lora, Ia3, Majority, Tfidf)}
