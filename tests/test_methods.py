"""What trains under each method, on tiny random models; what PEFT is kept from doing."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tunebench.errors import InputError
from tunebench.model.methods import (
    apply_method,
    count_parameters,
    deployed_parameters,
    expected_warnings,
    merge_adapter,
    trainable_state,
)
from tunebench.model.tasks import MODEL_CLASSES, text_logits
from tunebench.recipe.adapters import C3a, Ia3, LnTuning, Lora
from tunebench.recipe.architectures import ARCHITECTURES
from tunebench.recipe.load import method_from
from tunebench.recipe.methods import ADAPTERS, Full, Head, Majority, Method
from tunebench.recipe.resolve import resolve_method

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SETTINGS = {
    "bert": TINY,
    "roberta": TINY,
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "llama": TINY | {"num_key_value_heads": 1},
}
METHODS = {
    "lora": Lora(),
    "lora-all-linear": Lora(target_modules="all-linear", use_rslora=True),
    "lora-bias-all": Lora(bias="all"),
    "lora-dora": Lora(target_modules="all-linear", use_dora=True),
    "lora-bias-lora_only": Lora(bias="lora_only"),
    "ia3": Ia3(),
    "ia3-all-linear": Ia3(target_modules="all-linear"),
}
# What the defaults ask of a layer, brought down to layers of 32 units.
SIZES = {"road": ["group_size=8"], "randlora": ["r=8"], "vblora": ["vector_length=8"], "fourierft": ["n_frequency=50"]}
SIZES |= {"waveft": ["n_frequency=50"], "c3a": ["block_size=8"], "miss": ["r=8"]}
EVERY = [(kind, pooling) for kind in ("bert", "distilbert", "roberta") for pooling in ("cls", "mean")]


def tiny(kind: str, pooling: str) -> PreTrainedModel:
    torch.manual_seed(7)
    config = AutoConfig.for_model(kind, vocab_size=100, pad_token_id=0, **SETTINGS[kind])
    model = AutoModelForCausalLM.from_config(config) if pooling == "none" else MODEL_CLASSES[pooling].from_config(config)
    return model.eval()


def composed(kind: str, pooling: str, method: Method) -> torch.nn.Module:
    return apply_method(tiny(kind, pooling), resolve_method(method, ARCHITECTURES[kind], pooling), pooling).eval()


def disturb(model: torch.nn.Module) -> None:
    """Stand in for training: move every trainable weight."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for tensor in trainable_state(model).values():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))


@torch.no_grad()
def logits(model: torch.nn.Module, pooling: str) -> torch.Tensor:
    ids = torch.arange(2, 26).reshape(2, 12)
    return text_logits(model, pooling, ids, torch.ones_like(ids))


def trained_modules(model: torch.nn.Module) -> set[str]:
    """Last parts of the names of modules saved whole, by what trains in them."""
    return {
        name.split(".modules_to_save.")[0].rpartition(".")[2] for name in trainable_state(model) if ".modules_to_save." in name
    }


@pytest.mark.parametrize(("kind", "pooling"), EVERY)
def test_full_trains_every_parameter(kind: str, pooling: str) -> None:
    model = composed(kind, pooling, Full())
    assert trainable_state(model).keys() == dict(model.named_parameters()).keys()
    total, trainable = count_parameters(model)
    assert total == trainable == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("kind", "pooling"), EVERY)
def test_head_trains_the_head_and_nothing_else(kind: str, pooling: str) -> None:
    names = trainable_state(composed(kind, pooling, Head()))
    assert {name.split(".")[0] for name in names} == set(ARCHITECTURES[kind].head(pooling))


@pytest.mark.parametrize(("kind", "pooling"), EVERY)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_saved_adapter_holds_all_that_trains_and_reopens_and_merges_the_same(
    kind: str, pooling: str, method: Method, tmp_path: Path
) -> None:
    base = copy.deepcopy(tiny(kind, pooling))
    model = composed(kind, pooling, method)
    assert trained_modules(model) == set(ARCHITECTURES[kind].head(pooling))
    disturb(model)
    before = logits(model, pooling)
    assert not torch.equal(before, logits(base, pooling))

    model.save_pretrained(str(tmp_path), save_embedding_layers=False)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    for name, tensor in trainable_state(model).items():
        own = name.replace(".modules_to_save", "").replace("magnitude_vector.default.weight", "magnitude_vector")
        assert torch.equal(saved[own.replace(".default", "")], tensor), name

    with expected_warnings():
        reopened = PeftModel.from_pretrained(base, str(tmp_path)).eval()
    assert torch.equal(logits(reopened, pooling), before)
    merged = merge_adapter(model)
    assert not any("original_module" in name or "lora" in name or "ia3" in name for name in merged.state_dict())
    assert merged.state_dict().keys() == tiny(kind, pooling).state_dict().keys()
    torch.testing.assert_close(logits(merged, pooling), before, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("kind", "pooling"), EVERY)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_an_adapter_is_not_part_of_the_total_and_a_saved_head_counts_once(kind: str, pooling: str, method: Method) -> None:
    plain = sum(parameter.numel() for parameter in tiny(kind, pooling).parameters())
    model = composed(kind, pooling, method)
    total, trainable = count_parameters(model)
    assert total == plain
    assert trainable == sum(tensor.numel() for tensor in trainable_state(model).values())
    assert not any("original_module" in name for name in deployed_parameters(model))


@pytest.mark.parametrize("method", [Lora(target_modules="all-linear"), Ia3(target_modules="all-linear")])
def test_all_linear_on_distilbert_leaves_the_head_to_be_saved_whole(method: Method) -> None:
    names = trainable_state(composed("distilbert", "cls", method))
    assert not any("classifier" in name and ("lora_" in name or "ia3_" in name) for name in names)
    assert any(".lin1." in name for name in names)


@pytest.mark.parametrize(("kind", "saved"), [("distilbert", ["classifier"]), ("distilbert", []), ("bert", []), ("roberta", [])])
def test_modules_to_save_is_taken_exactly_although_peft_adds_to_it(kind: str, saved: list[str]) -> None:
    model = composed(kind, "cls", Lora(target_modules="all-linear", modules_to_save=saved))
    assert trained_modules(model) == set(saved)
    assert model.peft_config["default"].modules_to_save == (saved or None)


@pytest.mark.parametrize("method", [Lora, C3a])
def test_a_pattern_that_also_fits_the_head_leaves_the_head_alone(method: type[Lora] | type[C3a]) -> None:
    sizes = {} if method is Lora else {"block_size": 8}
    model = composed("distilbert", "cls", method(target_modules=r".*(q_lin|classifier)", modules_to_save=[], **sizes))
    names = [name for name, _ in model.named_parameters() if f".{model.base_model.prefix}" in name]
    assert names
    assert all(".q_lin." in name for name in names)


@pytest.mark.parametrize("kind", [kind for kind in ADAPTERS if kind != "ln_tuning"])
def test_a_target_that_also_fits_the_saved_head_leaves_the_head_alone(kind: str) -> None:
    model = composed("roberta", "cls", method_from(kind, [*SIZES.get(kind, ()), 'target_modules=["dense"]']))
    prefix = model.base_model.prefix
    names = [name for name in dict(model.named_parameters()) if f".{prefix}" in name]
    assert not any("classifier" in name for name in names)
    assert any(f"intermediate.dense.{prefix}" in name for name in names)
    assert trained_modules(model) == {"classifier"}


def test_norms_are_all_norms_but_those_of_the_saved_head() -> None:
    names = [name for name in trainable_state(composed("bert", "cls", LnTuning())) if ".modules_to_save." not in name]
    assert len(names) == 2 * (1 + 2 * TINY["num_hidden_layers"])
    assert all(".LayerNorm.ln_tuning_layers.default." in name for name in names)
    some = trainable_state(composed("bert", "cls", LnTuning(target_modules=["output.LayerNorm"])))
    assert not any("embeddings" in name for name in some)


@pytest.mark.parametrize(
    ("kind", "setting", "reason"),
    [
        ("c3a", "block_size=24", "input size is 32 and the block size is 24"),
        ("road", "group_size=64", "divisible by group_size (64)"),
        ("vblora", "vector_length=5", "`in_features` 32 must be divisible by `vector_length` 5"),
        ("miss", "r=64", "`r` (64) must be less than or equal to in_features (32)"),
        ("fourierft", "n_frequency=2000", "the value passed is 2000 and the product is 1024"),
    ],
)
def test_a_size_that_does_not_fit_the_layers_of_the_base_is_refused(kind: str, setting: str, reason: str) -> None:
    with pytest.raises(InputError) as refusal:
        composed("bert", "cls", method_from(kind, [setting]))
    assert refusal.value.subject == "method"
    assert f"'{kind}' does not fit this base: " in str(refusal.value)
    assert reason in str(refusal.value)


def test_all_linear_on_a_decoder_means_the_seven_projections() -> None:
    model = composed("llama", "none", Lora(target_modules="all-linear"))
    projections = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert model.peft_config["default"].target_modules == projections
    assert not any("lm_head" in name for name in trainable_state(model))


def test_the_same_seed_gives_the_same_adapter() -> None:
    one, other = (trainable_state(composed("bert", "cls", Lora(target_modules="all-linear"))) for _ in range(2))
    assert list(one) == list(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("method", "key", "parts"),
    [
        (Lora(target_modules=["query", "quary"]), "method.target_modules", ["'quary'", "'query'", "key, value, dense"]),
        (Lora(target_modules=["attention"]), "method.target_modules", ["BertAttention", "linear layers"]),
        (Lora(target_modules=["classifier"]), "method.target_modules", ["'classifier' fits no module"]),
        (Lora(modules_to_save=["clasifier"]), "method.modules_to_save", ["nearest is 'classifier'", "dense"]),
        (Ia3(target_modules="(["), "method.target_modules", ["no valid pattern"]),
        (Ia3(target_modules=r".*\.nothing"), "method.target_modules", ["fits no module"]),
        (Ia3(target_modules=["key"], feedforward_modules=["value"]), "method.feedforward_modules", ["'value'", "here are key"]),
        (
            LnTuning(target_modules=["query"]),
            "method.target_modules",
            ["'query' fits", "Linear; expected norms, such as LayerNorm"],
        ),
        (LnTuning(target_modules=["LayerNorn"]), "method.target_modules", ["fits no module; nearest is 'LayerNorm'"]),
        (Lora(target_modules=["LayerNorm"]), "method.target_modules", ["of type LayerNorm", "expected linear layers"]),
        (Majority(), "method.kind", ["majority"]),
    ],
)
def test_a_name_that_fits_nothing_is_refused_with_those_that_exist(method: Method, key: str, parts: list[str]) -> None:
    with pytest.raises(InputError) as refusal:
        composed("bert", "cls", method)
    assert refusal.value.subject == key
    assert [part for part in parts if part not in str(refusal.value)] == []


def test_head_is_refused_on_a_model_without_one() -> None:
    with pytest.raises(InputError, match="LlamaForCausalLM has none"):
        composed("llama", "none", Head())
