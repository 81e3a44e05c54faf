"""The published figures come out, counted without weights and without a hub; new layers nobody saves are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, BertConfig, BertModel, LlamaConfig

from tunebench.errors import InputError
from tunebench.model.methods import apply_method, count_parameters
from tunebench.model.parameters import parameter_table
from tunebench.model.residual import save_adapter
from tunebench.recipe.adapters import Ia3, Lora
from tunebench.recipe.architectures import ARCHITECTURES
from tunebench.recipe.load import method_from
from tunebench.recipe.methods import ADAPTERS, Full, Head, Method, Tfidf
from tunebench.recipe.resolve import resolve_method

BERT, DISTILBERT, ROBERTA, MODERNBERT = 109_483_778, 66_955_010, 124_647_170, 149_606_402
LLAMA_8B, LLAMA_13B = 8_030_261_248, 13_015_864_320
SEVEN = Lora(r=64, target_modules="all-linear")


@pytest.mark.parametrize(
    ("model", "method", "total", "adapter", "trainable", "percent"),
    [
        ("bert-base-uncased", Lora(), BERT, 294_912, 296_450, 0.271),
        ("BERT-base", Ia3(), BERT, 55_296, 56_834, 0.052),
        ("bert-base-uncased", Full(), BERT, 0, BERT, 100),
        ("google-bert/bert-base-uncased", Head(), BERT, 0, 1_538, 0.001),
        ("distilbert-base-uncased", Lora(), DISTILBERT, 147_456, 739_586, 1.105),
        ("distilbert", Ia3(), DISTILBERT, 27_648, 619_778, 0.926),
        ("roberta-base", Lora(), ROBERTA, 294_912, 887_042, 0.712),
        ("roberta-base", Ia3(), ROBERTA, 55_296, 647_426, 0.519),
        ("answerdotai/ModernBERT-base", Lora(), MODERNBERT, 540_672, 542_210, 0.362),
        ("modernbert-base", Ia3(), MODERNBERT, 76_032, 77_570, 0.052),
        ("meta-llama/Meta-Llama-3-8B", Lora(), LLAMA_8B, 3_407_872, 3_407_872, 0.042),
        ("LLaMA-3-8B", Ia3(), LLAMA_8B, 524_288, 524_288, 0.007),
        ("meta-llama/Llama-2-13B-hf", SEVEN, LLAMA_13B, 250_347_520, 250_347_520, 1.923),
        ("llama-2-13b", Ia3(), LLAMA_13B, 962_560, 962_560, 0.007),
    ],
)
def test_known_bases_have_their_published_figures(
    model: str, method: Method, total: int, adapter: int, trainable: int, percent: float
) -> None:
    report = parameter_table(model, method)
    assert report.total_parameters == total
    assert report.adapter_parameters == adapter
    assert report.trainable_parameters == trainable
    assert report.trainable_percent == pytest.approx(percent, abs=0.0005)
    assert report.warnings == ()


def test_the_usual_ia3_targets_would_also_take_the_attention_output() -> None:
    usual = Ia3(target_modules=["key", "value", "output.dense"], feedforward_modules=["output.dense"])
    assert parameter_table("bert-base", usual).adapter_parameters == 64_512


def test_rows_add_up_and_an_adapter_saves_what_it_trains() -> None:
    report = parameter_table("bert-base", Lora())
    assert sum(row.total for row in report.rows) == report.total_parameters + report.adapter_parameters
    assert sum(row.trainable for row in report.rows) == report.trainable_parameters
    assert report.saved_bytes == 4 * report.trainable_parameters
    groups = {row.group: row.total for row in report.rows}
    assert groups["head"] == report.head_parameters == 1_538
    assert groups["pooler"] == 768 * 768 + 768
    assert groups["normalisation"] == (1 + 2 * 12) * 2 * 768
    assert groups["adapter"] == 294_912
    assert "other" not in groups


@pytest.mark.parametrize("kind", ADAPTERS)
def test_every_adapter_is_counted_without_weights_as_it_lies_and_is_saved(kind: str, tmp_path: Path) -> None:
    config = BertConfig(vocab_size=100, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128)
    config.save_pretrained(tmp_path / "base")
    method = method_from(kind, ["r=2"] if kind in ("lora", "hra") else ["r=8"] if kind == "randlora" else [])
    report = parameter_table(str(tmp_path / "base"), method)
    resolved = resolve_method(method, ARCHITECTURES["bert"], "cls")
    model = apply_method(AutoModelForSequenceClassification.from_config(config), resolved, "cls")
    assert isinstance(model, PeftModel)
    assert (report.total_parameters, report.trainable_parameters) == count_parameters(model)
    save_adapter(model, tmp_path / "adapter")
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert report.saved_bytes == sum(tensor.numel() * tensor.element_size() for tensor in saved.values())
    assert {row.group for row in report.rows if row.saved} == {"head", "adapter"}


def test_pissa_trains_one_rank_and_saves_two() -> None:
    report = parameter_table("bert-base", Lora(init_lora_weights="pissa"))
    assert report.adapter_parameters == 294_912
    assert report.saved_bytes == 4 * (2 * 294_912 + 1_538)


def test_full_and_head_save_the_whole_model() -> None:
    for method in (Full(), Head()):
        assert parameter_table("distilbert", method).saved_bytes == 4 * DISTILBERT


def test_mean_pooling_and_labels_decide_the_head() -> None:
    assert parameter_table("distilbert", Lora(), "mean", num_labels=5).head_parameters == 5 * 768 + 5
    assert parameter_table("distilbert", Lora(), "cls", num_labels=5).head_parameters == 768 * 768 + 768 + 5 * 768 + 5


@pytest.mark.parametrize(
    ("model", "saved", "lost"),
    [
        ("distilbert", ["classifier"], ["pre_classifier"]),
        ("distilbert", [], ["pre_classifier", "classifier"]),
        ("roberta-base", [], ["classifier"]),
    ],
)
def test_a_new_layer_that_is_neither_trained_nor_saved_is_named(model: str, saved: list[str], lost: list[str]) -> None:
    report = parameter_table(model, Lora(modules_to_save=saved))
    assert [warning.split("'")[1] for warning in report.warnings] == lost
    assert all("random after a reload" in warning for warning in report.warnings)
    assert report.warnings[0] in report.as_text()


def test_json_and_text_say_the_same() -> None:
    report = parameter_table("llama-3-8b", Lora())
    read = json.loads(json.dumps(report.as_dict()))
    assert read["total_parameters"] == LLAMA_8B
    assert read["rows"][-1] == {"group": "adapter", "total": 3_407_872, "trainable": 3_407_872, "saved": 13_631_488}
    text = report.as_text()
    assert "8,030,261,248" in text
    assert "3,407,872 (0.042 % of the total)" in text
    table = text.split("\n\n")[1].splitlines()
    assert len({len(line) for line in table}) == 1


@pytest.fixture
def tiny_bert() -> BertConfig:
    torch.manual_seed(7)
    return BertConfig(vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)


def test_a_folder_is_compared_with_the_header_of_its_safetensors(tiny_bert: BertConfig, tmp_path: Path) -> None:
    BertModel(tiny_bert, add_pooling_layer=False).save_pretrained(tmp_path)
    assert [warning.split("'")[1] for warning in parameter_table(str(tmp_path), Lora()).warnings] == ["bert.pooler"]
    kept = Lora(modules_to_save=["pooler", "classifier"])
    assert parameter_table(str(tmp_path), kept).warnings == ()
    assert parameter_table(str(tmp_path), Lora(), "mean").warnings == ()
    assert parameter_table(str(tmp_path), Full()).warnings == ()


def test_a_folder_in_old_spelling_is_recognised(tiny_bert: BertConfig, tmp_path: Path) -> None:
    BertModel(tiny_bert).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    old = {
        "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in load_file(path).items()
    }
    save_file(old, path)
    assert parameter_table(str(tmp_path), Lora()).warnings == ()


def test_a_head_of_the_checkpoint_is_new_only_where_its_shape_differs(tiny_bert: BertConfig, tmp_path: Path) -> None:
    tiny_bert.num_labels = 5
    AutoModelForSequenceClassification.from_config(tiny_bert).save_pretrained(tmp_path)
    assert parameter_table(str(tmp_path), Lora(modules_to_save=[]), num_labels=5).warnings == ()
    assert len(parameter_table(str(tmp_path), Lora(modules_to_save=[]), num_labels=2).warnings) == 1


def test_a_decoder_folder_with_tied_embeddings_counts_as_causal_lm(tmp_path: Path) -> None:
    config = LlamaConfig(vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    config.tie_word_embeddings = True
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path)
    report = parameter_table(str(tmp_path), Lora())
    assert report.pooling == "none"
    assert report.num_labels is None
    assert report.total_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert report.warnings == ()


def test_no_weights_are_needed(tiny_bert: BertConfig, tmp_path: Path) -> None:
    tiny_bert.save_pretrained(tmp_path)
    report = parameter_table(str(tmp_path), Ia3())
    assert report.adapter_parameters == 2 * (32 + 32 + 64)
    assert report.warnings == ()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "has no config.json"),
        ("{", "not readable as JSON"),
        ('{"model_type": "t5"}', "model_type 't5'; the architectures whose modules are known here are bert, distilbert"),
        ("{}", "model_type None"),
    ],
)
def test_a_folder_that_describes_no_known_model_is_refused(config: str | None, message: str, tmp_path: Path) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError, match=message):
        parameter_table(str(tmp_path), Lora())


def test_damaged_weights_are_refused(tiny_bert: BertConfig, tmp_path: Path) -> None:
    tiny_bert.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(InputError, match="not readable as safetensors"):
        parameter_table(str(tmp_path), Lora())


def test_a_base_that_is_nowhere_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"no folder, no known base \(bert-base-uncased"):
        parameter_table("./no-such-folder", Lora())


def test_a_baseline_and_an_unknown_pooling_are_refused() -> None:
    with pytest.raises(InputError, match="baseline 'tfidf'"):
        parameter_table("bert-base", Tfidf())
    with pytest.raises(InputError, match="expected cls or mean, found 'max'"):
        parameter_table("bert-base", Lora(), "max")
