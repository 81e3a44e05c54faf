"""The presets for IMDb: exactly the settings they are named after, and each one trains on a tiny base of its architecture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from tiny import World

from tunebench import jobs
from tunebench.data.labels import LabelMap
from tunebench.events import Evaluated, Event, Step
from tunebench.model import bundle
from tunebench.model.methods import trainable_state
from tunebench.recipe.load import load_recipe, presets
from tunebench.recipe.resolve import flatten, resolve

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
SETTINGS: dict[str, dict[str, Any]] = {
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
DISTIL_LAYER = "base_model.model.distilbert.transformer.layer.0"
IN_LAYER_0: dict[str, set[str]] = {
    "imdb-bert-lora": {f"{BERT_LAYER}.attention.self.{name}.{part}" for name in ("query", "value") for part in LORA_A_AND_B},
    "imdb-bert-ia3": {
        f"{BERT_LAYER}.{name}.ia3_l.default" for name in ("attention.self.key", "attention.self.value", "output.dense")
    },
    "imdb-distilbert-lora": {f"{DISTIL_LAYER}.attention.{name}.{part}" for name in ("q_lin", "v_lin") for part in LORA_A_AND_B},
    "imdb-distilbert-lora-attention": {
        f"{DISTIL_LAYER}.attention.{name}.{part}" for name in ("q_lin", "k_lin", "v_lin", "out_lin") for part in LORA_A_AND_B
    },
}
"""What trains in the first of the layers, by preset; ``full`` trains everything."""
HEADS = {"bert": {"classifier"}, "distilbert": {"pre_classifier", "classifier"}}


def architecture(name: str) -> str:
    return name.split("-")[1]


def on_tiny(name: str, world: World) -> list[str]:
    """Overrides that put a preset on the tiny base of its architecture and on its texts, and leave its own settings alone."""
    data = {"train": str(world.data), "validation": {"fraction": 0.2}, "test": {"fraction": 0.2}, "id": "id"}
    return [f"base.model={world.bases[architecture(name)]}", "base.max_length=32", f"data={json.dumps(data)}", "report_to=none"]


def test_the_table_covers_every_preset_for_imdb() -> None:
    assert set(SETTINGS) == {name for name in presets() if name.startswith("imdb-")}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_preset_has_the_settings_it_is_named_after(name: str) -> None:
    settings = flatten(resolve(load_recipe(name), architecture(name)).model_dump(mode="json"))
    expected = TRAINER | SETTINGS[name] | {"name": name}
    assert {key: settings.get(key) for key in expected} == expected


@pytest.mark.parametrize("name", SETTINGS)
def test_exactly_the_named_modules_train(name: str, world: World) -> None:
    recipe = resolve(load_recipe(name, on_tiny(name, world)), architecture(name))
    model, new = bundle.compose(recipe, LabelMap(("negative", "positive"), "positive"), recipe.seed)
    trained = {key.removesuffix(".weight").removesuffix(".bias") for key in trainable_state(model)}
    if recipe.method.kind == "full":
        assert all(parameter.requires_grad for parameter in model.parameters())
        return
    head = {f"base_model.model.{part}.modules_to_save.default" for part in HEADS[architecture(name)]}
    second = {key.replace(".layer.0.", ".layer.1.") for key in IN_LAYER_0[name]}
    assert trained == IN_LAYER_0[name] | second | head
    assert bundle.unsaved_layers(model, new) == []


@pytest.mark.parametrize("name", SETTINGS)
def test_two_steps_of_a_preset_leave_a_proved_run(name: str, world: World, warm: None, tmp_path: Path) -> None:
    events: list[Event] = []
    overrides = [*on_tiny(name, world), "train.max_steps=2"]
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
    assert saved == first | {key.replace(".layer.0.", ".layer.1.") for key in first} | heads
