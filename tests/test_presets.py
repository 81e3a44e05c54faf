"""The larger presets: exactly the settings they are named after, and each one trains on a tiny base of its architecture."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from quiz import make_questions
from safetensors import safe_open
from tiny import World, make_rows, write_base, write_csv

from tunebench import jobs
from tunebench.data.labels import LabelMap
from tunebench.events import Evaluated, Event, Step
from tunebench.model import bundle
from tunebench.model.methods import trainable_state
from tunebench.recipe.load import load_any, load_recipe, presets
from tunebench.recipe.prompt import TEMPLATES
from tunebench.recipe.resolve import flatten, resolve
from tunebench.recipe.stages import StagedRecipe

HUB: dict[str, Any] = {
    "data.dataset": "stanfordnlp/imdb",
    "data.train": "train",
    "data.validation.fraction": 0.1,
    "data.validation.stratify": True,
    "data.test": "test",
    "data.positive_label": "pos",
    "data.label_names.neg.zh-TW": "負面",
    "data.label_names.pos.zh-CN": "正面",
}
TRAINER: dict[str, Any] = {
    "seed": 42,
    "data.clean.html": "keep",
    "train.num_train_epochs": 3,
    "train.lr_scheduler_type": "linear",
    "train.warmup_ratio": 0,
    "train.weight_decay": 0,
    "train.max_grad_norm": 1.0,
    "train.gradient_accumulation_steps": 1,
    "train.load_best_model_at_end": True,
}
FULL: dict[str, Any] = {
    "method.kind": "full",
    "base.max_length": 256,
    "train.learning_rate": 2e-5,
    "train.per_device_train_batch_size": 16,
    "train.per_device_eval_batch_size": 32,
    "train.eval_strategy": "epoch",
    "train.metric_for_best_model": "loss",  # the Trainer's own choice where none is named
}
BERT_PEFT: dict[str, Any] = {
    "base.model": "bert-base-uncased",
    "base.max_length": 256,
    "train.per_device_train_batch_size": 16,
    "train.eval_strategy": "epoch",
}
LLAMA: dict[str, Any] = {
    "task": "prompt-classification",
    "base.model": "meta-llama/Meta-Llama-3-8B-Instruct",
    "base.max_length": 512,
    "prompt.template": TEMPLATES["imdb-review"].text,
    "prompt.decode": "score",
    "prompt.label_words.neg": "negative",
    "prompt.label_words.pos": "positive",
    "method.kind": "lora",
    "method.r": 16,
    "method.lora_alpha": 32,
    "method.lora_dropout": 0.05,
    "method.bias": "none",
    "method.target_modules": ["q_proj", "v_proj"],
    "train.num_train_epochs": 1,
    "train.learning_rate": 2e-4,
    "train.per_device_train_batch_size": 1,
    "train.gradient_accumulation_steps": 16,
    "train.eval_strategy": "epoch",
    "train.logging_steps": 50,
    "train.save_strategy": "steps",
    "train.save_steps": 500,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "imdb-llama3-lora": HUB | LLAMA | {"base.quantization": None},
    "imdb-llama3-qlora": HUB | LLAMA | {"base.quantization": "nf4"},
    "imdb-bert-full": HUB | FULL | {"base.model": "bert-base-uncased"},
    "imdb-distilbert-full": HUB | FULL | {"base.model": "distilbert-base-uncased"},
    "imdb-bert-lora": HUB
    | BERT_PEFT
    | {
        "method.kind": "lora",
        "method.r": 8,
        "method.lora_alpha": 16,
        "method.target_modules": ["query", "value"],
        "train.learning_rate": 5e-4,
    },
    "imdb-bert-ia3": HUB | BERT_PEFT | {"method.kind": "ia3", "train.learning_rate": 5e-3},
    "imdb-distilbert-lora": {
        "base.model": "distilbert-base-uncased",
        "base.max_length": 512,
        "data.text": "text",
        "data.label": "label",
        "data.positive_label": "1",
        "data.label_names.0.zh-CN": "负面评论",
        "data.label_names.1.zh-CN": "正面评论",
        "method.kind": "lora",
        "method.r": 8,
        "method.lora_alpha": 32,
        "method.lora_dropout": 0.1,
        "method.bias": "none",
        "method.target_modules": ["q_lin", "v_lin"],
        "method.modules_to_save": ["pre_classifier", "classifier"],
        "train.learning_rate": 1e-4,
        "train.per_device_train_batch_size": 8,
        "train.eval_strategy": "steps",
        "train.eval_steps": 500,
        "train.metric_for_best_model": "accuracy",
        "report_to": ["tensorboard"],
    },
    "imdb-minilm-lora": HUB
    | {
        "base.model": "starter:minilm",
        "base.max_length": 512,
        "base.truncation_side": "middle",
        "base.pooling": "mean",
        "data.validation.fraction": 0.04,
        "data.max_train_samples": 6000,
        "data.clean.html": "strip",
        "method.kind": "lora",
        "method.r": 16,
        "method.lora_alpha": 16,
        "method.lora_dropout": 0,
        "method.use_rslora": True,
        "method.target_modules": "all-linear",
        "train.num_train_epochs": 1,
        "train.learning_rate": 4e-4,
        "train.warmup_ratio": 0.1,
        "train.per_device_train_batch_size": 8,
        "train.eval_strategy": "epoch",
        "train.attention_dropout": 0,
    },
    "imdb-distilbert-lora-attention": HUB
    | {
        "base.model": "distilbert-base-uncased",
        "base.max_length": 512,
        "method.kind": "lora",
        "method.target_modules": ["q_lin", "k_lin", "v_lin", "out_lin"],
        "train.per_device_train_batch_size": 8,
        "train.eval_strategy": "epoch",
    },
}
LORA_A_AND_B = ("lora_A.default", "lora_B.default")
BERT_LAYER = "base_model.model.bert.encoder.layer.0"
BERT_DENSE = ("attention.output.dense", "intermediate.dense", "output.dense")
DISTIL_LAYER = "base_model.model.distilbert.transformer.layer.0"
LLAMA_LAYER = "base_model.model.model.layers.0"
IN_LAYER_0: dict[str, set[str]] = {
    f"imdb-llama3-{method}": {f"{LLAMA_LAYER}.self_attn.{name}.{part}" for name in ("q_proj", "v_proj") for part in LORA_A_AND_B}
    for method in ("lora", "qlora")
} | {
    "imdb-bert-lora": {f"{BERT_LAYER}.attention.self.{name}.{part}" for name in ("query", "value") for part in LORA_A_AND_B},
    "imdb-minilm-lora": {
        f"{BERT_LAYER}.{name}.{part}"
        for name in (*(f"attention.self.{matrix}" for matrix in ("query", "key", "value")), *BERT_DENSE)
        for part in LORA_A_AND_B
    },
    "imdb-bert-ia3": {
        f"{BERT_LAYER}.{name}.ia3_l.default" for name in ("attention.self.key", "attention.self.value", "output.dense")
    },
    "imdb-distilbert-lora": {f"{DISTIL_LAYER}.attention.{name}.{part}" for name in ("q_lin", "v_lin") for part in LORA_A_AND_B},
    "imdb-distilbert-lora-attention": {
        f"{DISTIL_LAYER}.attention.{name}.{part}" for name in ("q_lin", "k_lin", "v_lin", "out_lin") for part in LORA_A_AND_B
    },
}
"""What trains in the first of the layers, by preset; ``full`` trains everything."""
HEADS = {"bert": {"classifier"}, "distilbert": {"pre_classifier", "classifier"}, "llama": set()}
STAGES: dict[str, dict[str, Any]] = {
    "cpt": {
        "task": "language-modeling",
        "data.clean.urls": "drop",
        "data.clean.paragraph_numbers": "drop",
        "data.clean.punctuation": "normalize",
        "data.clean.merge_by": ["title", "author"],
        "data.clean.order_by": "paragraph_id",
        "data.clean.min_chars": 100,
        "data.clean.max_chars": 2048,
        "data.clean.deduplicate": True,
        "method.r": 64,
        "method.lora_alpha": 128,
        "method.lora_dropout": 0.05,
        "train.max_steps": 1000,
        "train.learning_rate": 2e-4,
    },
    "sft": {
        "task": "multiple-choice",
        "data.train.question": "問題",
        "data.train.answer": "正確答案",
        "data.predict.question": "題幹",
        "data.predict.choices": ["選項1", "選項2", "選項3", "選項4"],
        "prompt.template": TEMPLATES["choose-zh"].text,
        "method.r": 16,
        "method.lora_alpha": 32,
        "method.lora_dropout": 0.1,
        "train.max_steps": 100,
        "train.learning_rate": 1e-5,
    },
}
EVERY_STAGE: dict[str, Any] = {
    "seed": 9527,
    "base.model": "Bohanlu/Taigi-Llama-2-13B",
    "base.quantization": "nf4",
    "base.max_length": 2048,
    "method.kind": "lora",
    "method.target_modules": "all-linear",
    "train.per_device_train_batch_size": 4,
    "train.gradient_accumulation_steps": 4,
    "train.gradient_checkpointing": True,
    "report_to": ["wandb"],
}
PROJECTIONS = {f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj")}
PROJECTIONS |= {f"mlp.{name}" for name in ("gate_proj", "up_proj", "down_proj")}


def architecture(name: str) -> str:
    return {"minilm": "bert", "llama3": "llama"}.get(base := name.split("-")[1], base)


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with places for a whole prompt, which its tokenizer spells."""
    return write_base(tmp_path_factory.mktemp("llama"), "llama", causal=True, positions=2048)


def on_tiny(name: str, world: World, llama: Path) -> list[str]:
    """Overrides that put a preset on the tiny base of its architecture and on its texts, and leave its own settings alone."""
    data = {"train": str(world.data), "validation": {"fraction": 0.2}, "test": {"fraction": 0.2}, "id": "id"}
    bases = world.bases | {"llama": llama}
    own = ["base.max_length=512", "base.quantization=null", "prompt.label_words={}"] if architecture(name) == "llama" else []
    return [
        f"base.model={bases[architecture(name)]}",
        "base.max_length=32",
        f"data={json.dumps(data)}",
        "report_to=none",
        *own,
    ]


def test_the_table_covers_every_preset_for_imdb() -> None:
    assert set(SETTINGS) == {name for name in presets() if name.startswith("imdb-")}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_preset_has_the_settings_it_is_named_after(name: str) -> None:
    settings = flatten(resolve(load_recipe(name), architecture(name)).model_dump(mode="json"))
    expected = TRAINER | SETTINGS[name] | {"name": name}
    assert {key: settings.get(key) for key in expected} == expected


@pytest.mark.parametrize("name", SETTINGS)
def test_exactly_the_named_modules_train(name: str, world: World, llama: Path) -> None:
    recipe = resolve(load_recipe(name, on_tiny(name, world, llama)), architecture(name))
    model, new = bundle.compose(recipe, LabelMap(("negative", "positive"), "positive"), recipe.seed)
    trained = {key.removesuffix(".weight").removesuffix(".bias") for key in trainable_state(model)}
    if recipe.method.kind == "full":
        assert all(parameter.requires_grad for parameter in model.parameters())
        return
    head = {f"base_model.model.{part}.modules_to_save.default" for part in HEADS[architecture(name)]}
    second = {in_layer_1(key) for key in IN_LAYER_0[name]}
    assert trained == IN_LAYER_0[name] | second | head
    assert bundle.unsaved_layers(model, new) == []


@pytest.mark.parametrize("name", SETTINGS)
def test_two_steps_of_a_preset_leave_a_proved_run(name: str, world: World, llama: Path, warm: None, tmp_path: Path) -> None:
    events: list[Event] = []
    overrides = [*on_tiny(name, world, llama), "train.max_steps=2"]
    run = jobs.train(name, overrides, tmp_path, events.append).run
    assert [event.step for event in events if isinstance(event, Step)] == [1, 2]
    assert [event.step for event in events if isinstance(event, Evaluated) and event.split == "validation"] == [2]
    assert [proof["name"] for proof in run.metrics["proofs"]] == ["reload"]
    adapter = run.path / "adapter" / "adapter_model.safetensors"
    if run.recipe.method.kind == "full":
        assert (run.path / "model" / "model.safetensors").is_file()
        return
    with safe_open(adapter, "np") as file:
        saved = {key.removesuffix(".weight").removesuffix(".bias") for key in file.keys()}  # noqa: SIM118 - no mapping
    first = {key.removesuffix(".default") for key in IN_LAYER_0[name]}
    heads = {f"base_model.model.{part}" for part in HEADS[architecture(name)]}
    assert saved == first | {in_layer_1(key) for key in first} | heads


def in_layer_1(key: str) -> str:
    return key.replace(".layer.0.", ".layer.1.").replace(".layers.0.", ".layers.1.")


def test_the_stages_for_taigi_have_the_settings_they_are_named_after() -> None:
    recipe = load_any("taigi-qa")
    assert isinstance(recipe, StagedRecipe)
    assert [(stage.name, stage.merge) for stage in recipe.stages] == [("cpt", True), ("sft", False)]
    for number, stage in enumerate(recipe.stages):
        settings = flatten(resolve(recipe.stage_recipe(number), "llama").model_dump(mode="json"))
        expected = EVERY_STAGE | STAGES[stage.name] | {"name": f"taigi-qa-{stage.name}"}
        assert {key: settings.get(key) for key in expected} == expected


@pytest.mark.parametrize("number", [0, 1])
def test_a_stage_for_taigi_trains_all_seven_projections(number: int, llama: Path) -> None:
    staged = load_any("taigi-qa", ["base.quantization=null"])
    assert isinstance(staged, StagedRecipe)
    recipe = resolve(staged.stage_recipe(number, str(llama)), "llama")
    model, new = bundle.compose(recipe, LabelMap(("1", "2", "3", "4")), recipe.seed)
    trained = {key.removesuffix(".default.weight") for key in trainable_state(model)}
    layers = {f"base_model.model.model.layers.{layer}.{name}" for layer in (0, 1) for name in PROJECTIONS}
    assert trained == {f"{name}.lora_{matrix}" for name in layers for matrix in "AB"}
    assert bundle.unsaved_layers(model, new) == []


def test_a_step_of_each_stage_for_taigi_leaves_answers(
    llama: Path, warm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where a preset looks for its data
    write_taigi(tmp_path / "data")
    few = [f"stages.{stage}.train.{key}=1" for stage in STAGES for key in ("max_steps", "eval_steps")]
    overrides = [f"base.model={llama}", "base.quantization=null", "report_to=none", *few]
    jobs.train("taigi-qa", overrides, tmp_path / "runs", lambda event: None)
    stages = tmp_path / "runs" / "taigi-qa" / "stages"
    proofs = {name: json.loads((stages / name / "metrics.json").read_text("utf-8"))["proofs"] for name in STAGES}
    assert {name: [proof["name"] for proof in proofs[name]] for name in STAGES} == {"cpt": ["reload", "merge"], "sft": ["reload"]}
    with (stages / "sft" / "answers.csv").open(encoding="utf-8", newline="") as file:
        answers = list(csv.DictReader(file))
    assert [answer["ID"] for answer in answers] == [f"q{i}" for i in range(4)]
    assert {answer["Answer"] for answer in answers} <= {"1", "2", "3", "4"}


def write_taigi(folder: Path) -> None:
    """The three files of the preset: paragraphs, questions with and without answers, under the names they have there."""
    words = [row["text"] for row in make_rows(120)]
    articles = [{"title": f"t{i}", "author": "a", "text": " ".join(words[i : i + 8])} for i in range(0, 120, 3)]
    paragraphs = [article | {"paragraph_id": number} for article in articles for number in (1, 2)]
    (folder / "IMA-Taiwan").mkdir(parents=True)
    (folder / "IMA-Taiwan" / "articles.json").write_text(json.dumps(paragraphs), "utf-8")
    options = {f"選項{number}": key for number, key in enumerate(("a", "b", "c", "id"), 1)}
    asked = [{name: row[key] for name, key in options.items()} | row for row in make_questions(40)]
    labelled = [row | {"文章": row["story"], "問題": row["asked"], "正確答案": row["right"]} for row in asked]
    write_csv(folder / "AI_conv.csv", labelled)
    unlabelled = [row | {"ID": row["id"], "前文": row["story"], "題幹": row["asked"]} for row in asked[:4]]
    write_csv(folder / "1001-question-v3.csv", unlabelled)
