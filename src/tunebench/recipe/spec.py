"""What a recipe may say. Each setting stands here once; help, JSON Schema and docs are made from it.

All models are closed (an unknown key is a fault) and frozen (a recipe never changes under a job). Names are
Hugging Face's where one exists. A setting left at ``None`` is derived when the recipe is resolved
(``recipe/resolve.py``) and stands filled in in the run's own ``recipe.yaml``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
STARTER = "starter:"


def _as_label(value: Any) -> Any:
    """Labels are names: ``1`` and ``true`` in YAML are the labels ``1`` and ``true`` of the data."""
    return str(value).lower() if isinstance(value, int) else value


Names = Annotated[list[str], Field(min_length=1)]
Label = Annotated[str, BeforeValidator(_as_label, json_schema_input_type=str | int | bool)]


class Spec(BaseModel):
    """A closed, frozen group of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


class Base(Spec):
    """The pretrained model and its tokenizer."""

    model: str = Field(description="A local folder, `starter:minilm`, or a hub id such as `bert-base-uncased`.", min_length=1)
    revision: str | None = Field(None, description="Hub revision (branch, tag or commit) of the model.")
    max_length: int = Field(256, ge=4, description="Tokens a text is cut to, special tokens included.")
    pooling: Literal["cls", "mean"] = Field(
        "cls",
        description="How token states become one vector: `cls` is the architecture's own head on the first token, "
        "`mean` averages a linear head over all tokens.",
    )


class Fraction(Spec):
    """A split that is cut out of the training file."""

    fraction: float = Field(
        gt=0, lt=1, description="Share of the training rows; the test split is cut first, validation from what is left."
    )
    stratify: bool = Field(False, description="Keep the share of every label equal.")
    group_by: str | None = Field(None, description="Column whose values stay together on one side, such as `movie`.")

    @model_validator(mode="after")
    def _one_way(self) -> Fraction:
        if self.stratify and self.group_by:
            raise ValueError("stratify and group_by exclude each other; choose one")
        return self


def _split_tag(value: Any) -> str:
    return "file" if isinstance(value, str) else "fraction"


Split = Annotated[Annotated[str, Tag("file")] | Annotated[Fraction, Tag("fraction")], Discriminator(_split_tag)]


class Data(Spec):
    """Where the rows come from and which columns matter."""

    train: str = Field(
        description="Training file (CSV, TSV, JSONL, Parquet), relative to the recipe, or `starter:reviews`.", min_length=1
    )
    validation: Split | None = Field(None, description="File, or a fraction of the training file; chooses the best checkpoint.")
    test: Split | None = Field(None, description="File, or a fraction of the training file; scored once, at the end.")
    text: str = Field("text", description="Column with the text.")
    label: str = Field("label", description="Column with the label; labels are names, numbers are read as names.")
    max_train_samples: int | None = Field(None, ge=1, description="Train on this many of the training rows, drawn by the seed.")
    id: str | None = Field(None, description="Column that identifies a row; row numbers are used without it.")
    positive_label: Label | None = Field(None, description="Of two labels, the one that precision, recall and F1 speak of.")
    label_names: dict[str, str] = Field(default_factory=dict, description="Display name per label; changes display only.")

    @model_validator(mode="after")
    def _two_columns(self) -> Data:
        if self.text == self.label:
            raise ValueError(f"text and label are both the column {self.text!r}; name the column that holds the labels")
        return self


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


class Train(Spec):
    """How the method is trained."""

    num_train_epochs: float = Field(3.0, gt=0, description="Passes over the training rows.")
    max_steps: int | None = Field(None, ge=1, description="Optimizer steps; overrides `num_train_epochs`.")
    learning_rate: float | None = Field(
        None, gt=0, description="Peak rate; by method: full 5e-5, lora 5e-4, ia3 5e-3, head 5e-3."
    )
    per_device_train_batch_size: int = Field(16, ge=1, description="Rows per micro-batch.")
    per_device_eval_batch_size: int = Field(32, ge=1, description="Most rows per batch when predicting; changes no result.")
    gradient_accumulation_steps: int = Field(1, ge=1, description="Micro-batches per optimizer step.")
    warmup_ratio: float = Field(0.06, ge=0, le=1, description="Share of the steps over which the rate rises from zero.")
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="Course of the rate after the warm-up."
    )
    weight_decay: float = Field(0.0, ge=0, description="AdamW's decay of weights; biases and norms are exempt.")
    max_grad_norm: float = Field(1.0, gt=0, description="The gradient is scaled down to this norm.")
    eval_strategy: Literal["epoch", "steps", "no"] = Field("epoch", description="When the validation split is scored.")
    eval_steps: int | None = Field(None, ge=1, description="Steps between two evaluations with `eval_strategy: steps`.")
    metric_for_best_model: Literal["accuracy", "f1", "f1_macro", "loss"] = Field(
        "accuracy", description="Chooses the best checkpoint."
    )
    load_best_model_at_end: bool = Field(True, description="Keep the best checkpoint rather than the last.")
    early_stopping_patience: int | None = Field(None, ge=1, description="Evaluations without a new best before training stops.")
    logging_steps: int = Field(10, ge=1, description="Steps between two printed lines.")

    @model_validator(mode="after")
    def _evaluation(self) -> Train:
        if (self.eval_strategy == "steps") != (self.eval_steps is not None):
            raise ValueError("eval_steps goes with eval_strategy: steps, and only with it; give both or neither")
        if self.eval_strategy == "no" and self.early_stopping_patience is not None:
            raise ValueError("early_stopping_patience needs evaluations; set eval_strategy to epoch or steps")
        return self


class Recipe(Spec):
    """A validated description of one experiment."""

    name: str = Field(pattern=NAME_PATTERN, description="Name of the run directory: letters, digits, `.`, `_` and `-`.")
    seed: int = Field(42, ge=0, lt=2**32, description="Decides splits, new weights, order and dropout.")
    task: Literal["text-classification"] = Field("text-classification", description="What is taught.")
    base: Base | None = Field(None, description="The pretrained model; the baselines `majority` and `tfidf` have none.")
    data: Data
    method: Method
    train: Train | None = Field(None, description="How the method is trained; the baselines have no such settings.")

    @model_validator(mode="after")
    def _fits_method(self) -> Recipe:
        faults = []
        if self.method.kind in BASELINES:
            faults += [
                f"{key}: the baseline {self.method.kind!r} has no use for it; remove it"
                for key in ("base", "train")
                if getattr(self, key) is not None
            ]
        else:
            if self.base is None:
                faults.append(
                    f"base: the method {self.method.kind!r} needs a pretrained model, such as base: {{model: starter:minilm}}"
                )
            train = self.train or Train()
            if self.data.validation is None and train.eval_strategy != "no":
                faults.append(
                    "data.validation: needed to choose the best checkpoint; give a file or {fraction: 0.1}, "
                    "or set train.eval_strategy to no"
                )
        if faults:
            raise ValueError("\n".join(faults))
        return self

    @property
    def settings(self) -> Train:
        """The training settings, complete."""
        return self.train or Train()


def settings_group(owner: type[BaseModel] | None, key: str) -> type[BaseModel] | None:
    """The group of settings that a key of ``owner`` holds; None for a plain setting and for ``method``, which has kinds."""
    groups: dict[str, type[BaseModel]] = {"base": Base, "data": Data, "train": Train}
    return groups.get(key) if owner is Recipe else None


def method_kinds() -> dict[str, type[BaseModel]]:
    """Every kind of method and its settings."""
    return {kind.model_fields["kind"].default: kind for kind in (Full, Head, Lora, Ia3, Majority, Tfidf)}


def all_keys() -> dict[str, str]:
    """Every key a recipe may hold, dotted, with its help; the source of the generated tables."""
    keys: dict[str, str] = {}
    for name, field in Recipe.model_fields.items():
        group = settings_group(Recipe, name)
        if name == "method":
            for kind in method_kinds().values():
                keys |= {f"method.{key}": inner.description or "" for key, inner in kind.model_fields.items()}
        elif group is None:
            keys[name] = field.description or ""
        else:
            keys |= {f"{name}.{key}": inner.description or "" for key, inner in group.model_fields.items()}
    return keys
