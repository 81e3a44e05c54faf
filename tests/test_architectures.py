"""The laws on every architecture that the wide tables leave out: one tiny run per kind of method, both ways of pooling.

Decoders read the last token that is no padding: which token pads, and that no text is read elsewhere for it, is shown here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plain import Saved, plain_probabilities
from safetensors.torch import load_file
from scored import scored_probabilities, scored_texts
from tiny import (
    ALL_ARCHITECTURES,
    DECODERS,
    FURTHER,
    GEMMA_LIKE,
    HALF,
    LLAMA_LIKE,
    METHODS,
    World,
    make_rows,
    write_base,
    write_recipe,
)
from tiny_gguf import write_gguf

from tunebench import binding, jobs
from tunebench.data.labels import LabelMap
from tunebench.errors import InputError
from tunebench.model import bundle
from tunebench.model.parameters import parameter_table
from tunebench.model.pretrained import load_pretrained
from tunebench.predict.padding import Padding, choose_padding
from tunebench.recipe.architectures import ARCHITECTURES, max_positions
from tunebench.recipe.load import method_from
from tunebench.runs.run import Run

Key = tuple[str, str, str]
Trained = Callable[..., Run]


def mean_of(kind: str) -> str:
    return "mean" if ARCHITECTURES[kind].head("mean") else "cls"


ADAPTED: list[Key] = [key for kind in FURTHER for key in ((kind, "lora", "cls"), (kind, "ia3", mean_of(kind)))]
WHOLE: list[Key] = [key for kind in FURTHER for key in ((kind, "full", "cls"), (kind, "head", mean_of(kind)))]
CUT = {side: ("bert", side, "cls") for side in ("left", "middle")}
GGUF: Key = ("gguf", "lora", "cls")
LONG = " ".join(["very", "cold"] * 40)
TEXTS = [row["text"] for row in make_rows(21, seed=11)] + ["good", LONG, "a", f"dull {LONG}"]
LABELS = LabelMap(("negative", "positive"), None)


@pytest.fixture(scope="module")
def trained(world: World, warm: None) -> Trained:
    """Trains a tiny run at its first use, and merges its adapter."""
    known: dict[Key, Run] = {}

    def run(*key: str) -> Run:
        kind, method, pooling = key
        if (kind, method, pooling) not in known:
            base = world.folder / kind
            if kind == "gguf":
                base = base / "model.gguf"
                write_gguf(base)
            elif not base.exists():
                write_base(base, kind)
            name = world.folder / "recipes" / f"{'-'.join(key)}.yaml"
            recipe = write_recipe(name, data=world.data, base=base, method=METHODS.get(method, METHODS["lora"]))
            cut = [f"base.truncation_side={method}", "base.max_length=9"] if method in CUT else []
            made = jobs.train(str(recipe), [f"base.pooling={pooling}", *cut], world.folder / "runs", lambda event: None).run
            if made.weights.name == "adapter":
                jobs.merge(str(made.path), made.path.parent, lambda event: None)
            known[kind, method, pooling] = made
        return known[kind, method, pooling]

    return run


@pytest.fixture(scope="module")
def opened_plainly(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], np.ndarray]:
    """Probabilities of every saved folder out of one process that cannot import tunebench, by run and folder."""
    models: dict[tuple[str, ...], Saved] = {}
    for key in [*ADAPTED, *WHOLE, *CUT.values(), GGUF]:
        run = trained(*key)
        for folder in ("adapter", "merged") if run.weights.name == "adapter" else ("model",):
            models[(*key, folder)] = Saved(run.path, folder, scored_texts(run))
    found = plain_probabilities(list(models.values()), tmp_path_factory.mktemp("plain"))
    return {key: np.array(rows) for key, rows in zip(models, found, strict=True)}


def test_every_architecture_that_is_offered_is_tested() -> None:
    assert set(ARCHITECTURES) == set(ALL_ARCHITECTURES)


@pytest.mark.parametrize("key", [*ADAPTED, *WHOLE, GGUF], ids="-".join)
def test_another_process_finds_the_logits_that_were_scored(trained: Trained, key: Key) -> None:
    run = trained(*key)
    assert [proof["name"] for proof in run.metrics["proofs"]] == ["reload", "merge"][: 1 + (key not in WHOLE)]
    assert all(proof["passed"] and proof["label_flips"] == 0 for proof in run.metrics["proofs"])
    assert run.metrics["proofs"][0]["largest_difference"] <= 1e-6
    assert "random after a reload" not in (run.path / "events.jsonl").read_text("utf-8")


@pytest.mark.parametrize("key", [*ADAPTED, *WHOLE, *CUT.values(), GGUF], ids="-".join)
def test_plain_peft_and_transformers_give_the_probabilities_that_were_scored(
    trained: Trained, opened_plainly: dict[tuple[str, ...], np.ndarray], key: Key
) -> None:
    run = trained(*key)
    assert np.ptp(scored_probabilities(run)[:, 0]) > 0.01  # there is something to get wrong
    for folder in ("adapter", "merged") if run.weights.name == "adapter" else ("model",):
        assert np.abs(opened_plainly[(*key, folder)] - scored_probabilities(run)).max() <= 1e-5, folder


@pytest.mark.parametrize("key", ADAPTED, ids="-".join)
def test_batches_order_and_padding_change_no_probability(trained: Trained, key: Key) -> None:
    run = trained(*key)
    texts = TEXTS + ([f"{TEXTS[0]}{end_of_text(key[0])}", f"{end_of_text(key[0])}{TEXTS[1]}"] if key[0] in DECODERS else [])
    alone = bundle.open_scorer(run, batch_size=1).score(texts).probabilities
    assert np.ptp(alone[:, 0]) > 0.01
    together = bundle.open_scorer(run, batch_size=32)
    assert np.abs(together.score(texts).probabilities - alone).max() <= 1e-5
    assert np.abs(bundle.open_scorer(run, batch_size=3).score(texts[::-1]).probabilities[::-1] - alone).max() <= 1e-5


def end_of_text(kind: str) -> str:
    return {LLAMA_LIKE: "</s>", GEMMA_LIKE: "<eos>"}.get(DECODERS[kind], "<|endoftext|>")


@pytest.mark.parametrize("kind", DECODERS)
def test_a_text_that_ends_with_the_end_of_text_token_is_read_at_that_token(trained: Trained, kind: str) -> None:
    scorer = bundle.open_scorer(trained(kind, "lora", "cls"))
    text, end = "a good and very funny film", end_of_text(kind)
    plain, ended, doubled = scorer.score([text, text + end, text + end + end]).logits
    assert scorer.encoder.encode([text + end]).ids[0][:-1] == scorer.encoder.encode([text]).ids[0]
    assert np.abs(ended - plain).max() > 1e-3
    assert np.abs(doubled - ended).max() > 1e-3


@pytest.mark.parametrize("kind", DECODERS)
def test_the_padding_token_stands_in_every_saved_folder(trained: Trained, kind: str) -> None:
    expected = {LLAMA_LIKE: ("<unk>", 0), GEMMA_LIKE: ("<pad>", 0)}.get(DECODERS[kind], ("<|vision_pad|>", 3))
    adapted, whole = trained(kind, "lora", "cls").path, trained(kind, "full", "cls").path
    for folder in (adapted / "adapter", adapted / "merged", whole / "model"):
        tokenizer = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
        assert (tokenizer["pad_token"], tokenizer.get("padding_side", "right")) == (expected[0], "right")
        if folder.name != "adapter":
            config = json.loads((folder / "config.json").read_text("utf-8"))
            assert (config["pad_token_id"], config["use_cache"]) == (expected[1], False)


@pytest.mark.parametrize("kind", HALF)
def test_a_base_in_bfloat16_is_trained_and_saved_in_float32(trained: Trained, kind: str) -> None:
    for method in ("full", "lora"):
        (path,) = trained(kind, method, "cls").weights.glob("*.safetensors")
        assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float32}


def write_tokens(folder: Path, added: list[str], **names: Any) -> Path:
    """A tokenizer of a few words whose special tokens are ``added``."""
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.WordLevel({"good": 0, "bad": 1, "odd": 2}, unk_token="odd"))
    tokenizer.add_special_tokens(added)
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(names), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("added", "names", "configured", "expected"),
    [
        (["<e>", "<pad>"], {"eos_token": "<e>", "pad_token": "<pad>"}, None, Padding("<pad>", 4)),
        (["<e>", "<p>"], {"eos_token": "<e>", "pad_token": {"content": "<p>", "lstrip": False}}, None, Padding("<p>", 4)),
        (["<e>", "<p>"], {"eos_token": "<e>"}, 4, Padding("<p>", 4)),
        (["<e>", "<|reserved_7|>", "<|fill_pad|>"], {"eos_token": "<e>", "pad_token": "<e>"}, 3, Padding("<|fill_pad|>", 5)),
        (["<e>", "<|reserved_7|>", "<|reserved_8|>"], {"eos_token": "<e>"}, -1, Padding("<|reserved_7|>", 4)),
        (["<e>", "<u>"], {"eos_token": "<e>", "unk_token": "<u>", "pad_token": "<e>"}, None, Padding("<u>", 4)),
        (["<e>"], {"eos_token": "<e>", "pad_token": "<e>"}, None, Padding("<e>", 3)),
        (
            ["<e>"] + [f"<{i}>" for i in range(99)] + ["<pad>"],
            {"eos_token": "<e>", "pad_token": "<pad>"},
            None,
            Padding("<e>", 3),
        ),
    ],
)
def test_padding_is_never_the_end_of_text_where_another_token_will_do(
    added: list[str], names: dict[str, Any], configured: int | None, expected: Padding, tmp_path: Path
) -> None:
    assert choose_padding(write_tokens(tmp_path, added, **names), 50, configured) == expected


def test_a_tokenizer_without_any_token_to_pad_with_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"names no token that could fill up a batch; set pad_token"):
        choose_padding(write_tokens(tmp_path, ["<b>"], bos_token="<b>"), 50)


LAYER = {  # layer 0's modules that LoRA and IA3 work on by default, as a human would list them
    "xlm-roberta": ("attention.self.query attention.self.value", "attention.self.key attention.self.value output.dense"),
    "deberta": ("attention.self.in_proj", "attention.self.in_proj output.dense"),
    "deberta-v2": (
        "attention.self.query_proj attention.self.value_proj",
        "attention.self.key_proj attention.self.value_proj output.dense",
    ),
    "modernbert": ("attn.Wqkv", "attn.Wqkv mlp.Wo"),
}
LAYER |= dict.fromkeys(DECODERS, ("self_attn.q_proj self_attn.v_proj", "mlp.down_proj self_attn.k_proj self_attn.v_proj"))


@pytest.mark.parametrize("kind", FURTHER)
def test_the_default_targets_are_the_ones_meant_in_every_layer(trained: Trained, kind: str) -> None:
    for (method, pooling), expected in zip((("lora", "cls"), ("ia3", mean_of(kind))), LAYER[kind], strict=True):
        (path,) = trained(kind, method, pooling).weights.glob("*.safetensors")
        adapted = [
            found for name in load_file(path) if (found := re.fullmatch(r".*layers?\.(\d+)\.(.+)\.(lora_A.*|ia3_l.*)", name))
        ]
        assert {found[2] for found in adapted if found[1] == "0"} == set(expected.split())
        assert len(adapted) == 2 * len(expected.split())  # two layers


@pytest.mark.parametrize("kind", FURTHER)
def test_what_is_new_is_the_head_and_all_of_it_is_saved(trained: Trained, world: World, kind: str) -> None:
    for method, pooling in (("lora", "cls"), ("ia3", mean_of(kind))):
        run = trained(kind, method, pooling)
        _, new = load_pretrained(world.folder / kind, LABELS, pooling)
        (path,) = run.weights.glob("*.safetensors")
        saved = {name.removeprefix("base_model.model.") for name in load_file(path) if "lora_" not in name and "ia3_" not in name}
        assert new
        assert set(new) == saved


@pytest.mark.parametrize("kind", ALL_ARCHITECTURES)
def test_attention_dropout_is_the_base_s_own_unless_the_recipe_names_one(kind: str, tmp_path: Path) -> None:
    quiet, loud = (write_base(tmp_path / name, kind, dropout=0) for name in ("quiet", "loud"))
    config = json.loads((loud / "config.json").read_text("utf-8"))
    names = {"attention_dropout", "attention_probs_dropout_prob"} & set(config)
    (loud / "config.json").write_text(json.dumps(config | dict.fromkeys(names, 0.5)), "utf-8")

    def logits(base: Path, dropout: float | None) -> torch.Tensor:
        torch.manual_seed(1)
        model, _ = load_pretrained(base, LABELS, "cls", attention_dropout=dropout)
        torch.manual_seed(2)
        found: torch.Tensor = model.train()(input_ids=torch.arange(5, 25).reshape(2, 10)).logits
        return found

    assert torch.equal(logits(quiet, 0.5), logits(loud, None))
    assert torch.equal(logits(quiet, None), logits(loud, 0))
    assert not torch.equal(logits(loud, None), logits(loud, 0))


@pytest.mark.parametrize("method", ["lora", "head"])
def test_a_pooler_that_the_checkpoint_lacks_is_trained_and_saved_with_the_head(
    world: World, warm: None, tmp_path: Path, method: str
) -> None:
    from transformers import AutoModelForMaskedLM

    AutoModelForMaskedLM.from_pretrained(str(world.bases["bert"])).save_pretrained(str(tmp_path / "base"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "base" / name).write_bytes((world.bases["bert"] / name).read_bytes())
    recipe = write_recipe(tmp_path / "r.yaml", data=world.data, base=tmp_path / "base", method=METHODS[method])
    run = jobs.train(str(recipe), [], tmp_path / "runs", lambda event: None).run
    _, new = load_pretrained(tmp_path / "base", LABELS, "cls")
    assert {name.split(".")[-3] for name in new if "pooler" in name} == {"pooler"}
    if method == "lora":
        assert run.recipe.method.modules_to_save == ["pooler", "classifier"]  # type: ignore[union-attr]
    torch.manual_seed(run.recipe.seed)
    drawn, _ = load_pretrained(tmp_path / "base", LABELS, "cls")
    scorer: Any = bundle.open_scorer(run)
    weights = dict(scorer.backend.model.named_parameters())
    pooler = next(weights[name] for name in weights if ".pooler." in name and "original" not in name and name.endswith("weight"))
    assert not torch.equal(pooler, drawn.bert.pooler.dense.weight)


def test_modernbert_keeps_the_pretrained_head_where_the_checkpoint_has_one() -> None:
    kept, lost = ["model.layers.0.mlp.Wo.weight", "head.dense.weight"], ["model.layers.0.mlp.Wo.weight", "lm_head.weight"]
    for pooling in ("cls", "mean"):
        assert ARCHITECTURES["modernbert"].over(kept).head(pooling) == ["classifier"]
        assert ARCHITECTURES["modernbert"].over(lost).head(pooling) == ["head", "classifier"]


def test_pooling_that_transformers_has_no_head_for_is_refused(world: World, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", data=world.data, base=write_base(tmp_path / "base", "gemma3_text"))
    with pytest.raises(
        InputError, match="'mean' needs a head per token, which transformers does not have for 'gemma3_text'; use cls"
    ):
        binding.bind(str(recipe), ["base.pooling=mean"])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_deberta_is_refused_in_half_precision_in_which_it_overflows(world: World, tmp_path: Path, precision: str) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", data=world.data, base=write_base(tmp_path / "base", "deberta"))
    with pytest.raises(InputError, match="deberta overflows in half precision"):
        binding.bind(str(recipe), [f"train.{precision}=true"])
    assert binding.bind(str(recipe)).recipe.settings.bf16 is False


@pytest.mark.parametrize(
    ("model", "total"),
    [
        ("xlm-roberta-base", 278_045_186),
        ("microsoft/deberta-v3-base", 184_423_682),
        ("smollm2-135m", 134_515_008),
        ("qwen2.5-0.5b", 494_032_768),
        ("qwen3-0.6b", 596_049_920),
        ("gemma-2-2b", 2_614_341_888),
        ("gemma-3-1b", 999_885_952),
    ],
)
def test_known_shapes_have_the_parameters_that_are_published(model: str, total: int) -> None:
    assert parameter_table(model, method_from("lora", [])).total_parameters == total


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514}, 512),
        ({"model_type": "deberta-v2", "max_position_embeddings": 512, "position_biased_input": False}, None),
        ({"model_type": "deberta", "max_position_embeddings": 512}, 512),
        ({"model_type": "modernbert", "max_position_embeddings": 8192}, 8192),
        ({"model_type": "llama"}, None),
    ],
)
def test_positions_are_counted_as_each_architecture_does(config: dict[str, Any], expected: int | None) -> None:
    assert max_positions(config) == expected


def test_relative_positions_go_beyond_those_of_the_config(trained: Trained, world: World, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", data=world.data, base=world.folder / "deberta-v2")
    trained("deberta-v2", "lora", "cls")
    assert binding.bind(str(recipe), ["base.max_length=100"]).recipe.base.max_length == 100  # type: ignore[union-attr]
    text = " ".join(["good", "plot"] * 45)
    scorer = bundle.open_scorer(trained("deberta-v2", "lora", "cls"))
    scorer.encoder._tokenizer.enable_truncation(100)
    alone, *_ = scorer.score([text, "a", "dull"]).logits
    assert np.isfinite(alone).all()
    assert np.abs(alone - scorer.score([text]).logits[0]).max() <= 1e-5
