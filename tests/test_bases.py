"""Bases that cannot be used: each is one clear error (exit 2) before a run is begun, and no file is changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from shelf import tunebench
from test_hostile_input import digests
from tiny import World, write_base, write_recipe
from tiny_gguf import write_gguf

from tunebench import binding, jobs
from tunebench.errors import InputError
from tunebench.runs.bases import base_digest, weight_names
from tunebench.runs.cache import folder_digest
from tunebench.runs.run import Run

Capture = pytest.CaptureFixture[str]
Spoil = Callable[[Path], object]


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), encoding="utf-8")


def rename_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({name.replace("encoder", "decoder"): tensor for name, tensor in weights.items()}, folder / "model.safetensors")


def drop_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: weights[name] for name in weights if "layer.1.output.dense.weight" not in name}, folder / "model.safetensors"
    )


def make_adapter(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base"}), encoding="utf-8")


def grow_vocabulary(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    tokenizer["model"]["vocab"] |= {f"word{i}": 200 + i for i in range(9)}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")


def pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


SPOILED: dict[str, tuple[str, Spoil, list[str]]] = {
    "no config": ("bert", lambda at: (at / "config.json").unlink(), ["has no config.json"]),
    "nothing": (
        "bert",
        lambda at: [path.unlink() for path in at.iterdir()],
        ["2 faults", "has no config.json", "nothing like it"],
    ),
    "config no JSON": ("bert", lambda at: (at / "config.json").write_text("{"), ["config.json: not readable as JSON"]),
    "config a list": ("bert", lambda at: (at / "config.json").write_text("[1]"), ["config.json: not readable as JSON"]),
    "unknown architecture": ("bert", lambda at: edit(at / "config.json", model_type="t5"), ["its architecture is 't5'", "bert"]),
    "no architecture": ("bert", lambda at: edit(at / "config.json", model_type=None), ["its architecture is None"]),
    "no tokenizer": ("bert", lambda at: (at / "tokenizer.json").unlink(), ["has no tokenizer.json; save the base"]),
    "tokenizer cut short": ("bert", lambda at: cut(at / "tokenizer.json", 0.5), ["tokenizer.json: not a readable tokenizer"]),
    "vocabulary too large": ("bert", grow_vocabulary, ["ids go up to 208", "embeddings for 128 only"]),
    "weights cut short": ("bert", lambda at: cut(at / "model.safetensors", 0.9), ["model.safetensors is damaged or cut short"]),
    "weights empty": ("bert", lambda at: cut(at / "model.safetensors", 0), ["model.safetensors is damaged or cut short"]),
    "weights of zeros": ("bert", lambda at: (at / "model.safetensors").write_bytes(b"\0" * 999), ["is damaged or cut short"]),
    "weights a web page": ("bert", lambda at: (at / "model.safetensors").write_text("<html>"), ["is damaged or cut short"]),
    "pickle only": ("bert", pickle_only, ["found only pytorch_model.bin; pickled weights are never loaded"]),
    "shard missing": ("mistral", lambda at: (at / "model-00003-of-00006.safetensors").unlink(), ["lacks model-00003-of-00006"]),
    "shards bad": (
        "mistral",
        lambda at: [cut(at / f"model-0000{i}-of-00006.safetensors", 0.5) for i in (2, 4)],
        ["2 faults", "model-00002-of-00006.safetensors is damaged", "model-00004-of-00006.safetensors is damaged"],
    ),
    "index cut short": (
        "mistral",
        lambda at: cut(at / "model.safetensors.index.json", 0.5),
        ["index.json: not readable as JSON"],
    ),
    "index of nothing": (
        "mistral",
        lambda at: edit(at / "model.safetensors.index.json", weight_map={}),
        ["names no files (weight_map)"],
    ),
    "index that leads outside": (
        "mistral",
        lambda at: edit(at / "model.safetensors.index.json", weight_map={"a": "../../x.safetensors"}),
        ["lacks ../../x.safetensors"],
    ),
    "an adapter": ("bert", make_adapter, ["is an adapter, not a base; give the base it was made for (org/base)"]),
    "too long": ("roberta", lambda at: edit(at / "config.json", max_position_embeddings=20), ["32 is more than", "(18)"]),
}
LATER: dict[str, tuple[Spoil, list[str]]] = {
    "weights of another kind": (rename_weights, ["hold no weights of the right shape for bert.encoder.layer.0.attention"]),
    "weights of another size": (lambda at: edit(at / "config.json", hidden_size=48, num_attention_heads=3), ["right shape for"]),
    "one weight missing": (
        drop_weight,
        ["right shape for bert.encoder.layer.1.output.dense.weight, so the base would be random"],
    ),
}
"""What only loading the weights can tell: the run has been begun, and can be begun again."""


@pytest.fixture
def base(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A copy of a tiny base under the current folder, with a recipe for it."""
    monkeypatch.chdir(tmp_path)

    def copied(kind: str) -> Path:
        write_recipe(tmp_path / "r.yaml", data=world.data, base=Path("base"))
        if kind in world.bases:
            return Path(shutil.copytree(world.bases[kind], tmp_path / "base"))
        return write_base(tmp_path / "base", kind)

    return copied


def refused(capsys: Capture, words: list[str], *arguments: str) -> None:
    capsys.readouterr()
    code, out, err = tunebench(capsys, *arguments)
    assert (code, out) == (2, ""), err
    assert [word for word in words if word not in err] == []
    assert err.count("error: ") == 1


@pytest.mark.parametrize("name", SPOILED)
def test_an_unsound_base_is_refused_before_anything_is_begun(name: str, base: Callable[[str], Path], capsys: Capture) -> None:
    kind, spoil, words = SPOILED[name]
    spoil(base(kind))
    before = digests(Path())
    refused(capsys, words, "train", "r.yaml")
    assert digests(Path()) == before


@pytest.mark.parametrize("name", LATER)
def test_weights_that_do_not_fit_are_never_replaced_by_random_ones(
    name: str, base: Callable[[str], Path], warm: None, capsys: Capture
) -> None:
    spoil, words = LATER[name]
    spoil(base("bert"))
    before = digests(Path("base"))
    refused(capsys, words, "train", "r.yaml")
    assert digests(Path("base")) == before
    assert Run(Path("runs/r")).status() == "failed"
    assert not (Path("runs/r") / "adapter").exists()


def test_a_gguf_file_that_was_cut_short_is_refused(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    write_gguf(Path("model.gguf"))
    cut(Path("model.gguf"), 0.5)
    write_recipe(Path("r.yaml"), data=world.data, base=Path("model.gguf"))
    refused(capsys, ["model.gguf: not readable as GGUF", "it is damaged or cut short"], "train", "r.yaml")
    assert not Path("runs").exists()


def test_a_run_directory_given_as_base_is_told_apart(tiny_run: Callable[..., Run], world: World, tmp_path: Path) -> None:
    run = tiny_run("bert", "lora", "cls")
    for given, words in (
        (run.path, "is a run directory, not a base; give its model/"),
        (run.weights, "is an adapter, not a base"),
    ):
        recipe = write_recipe(tmp_path / "r.yaml", data=world.data, base=given)
        with pytest.raises(InputError, match=words):
            binding.bind(str(recipe))


def test_a_classifier_for_other_labels_is_a_base_and_its_head_is_replaced(
    tiny_run: Callable[..., Run], world: World, warm: None, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(tiny_run("bert", "full", "cls").weights, tmp_path / "model"))
    weights = load_file(source / "model.safetensors")
    weights |= {
        "classifier.weight": weights["classifier.weight"].repeat(3, 1),
        "classifier.bias": weights["classifier.bias"].repeat(3),
    }
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    labels = {"id2label": {str(i): f"L{i}" for i in range(6)}, "label2id": {f"L{i}": i for i in range(6)}}
    edit(source / "config.json", **labels)
    recipe = write_recipe(tmp_path / "again.yaml", data=world.data, base=source)
    run = jobs.train(str(recipe), [], tmp_path / "runs", lambda event: None).run
    assert run.metrics["proofs"][0]["passed"]
    assert load_file(run.weights / "adapter_model.safetensors")["base_model.model.classifier.weight"].shape == (2, 32)


def test_an_adapter_made_for_another_base_is_never_laid_on_this_one(
    world: World, warm: None, tmp_path: Path, capsys: Capture
) -> None:
    base = Path(shutil.copytree(world.bases["bert"], tmp_path / "base"))
    recipe = write_recipe(tmp_path / "r.yaml", data=world.data, base=base)
    run = jobs.train(str(recipe), [], tmp_path / "runs", lambda event: None).run
    shutil.rmtree(base)
    write_base(base, "bert", seed=8)
    for arguments in (["predict", str(run.path), "--text", "x"], ["evaluate", str(run.path)], ["merge", str(run.path)]):
        refused(capsys, ["was trained on another", str(base)], *arguments)
    shutil.rmtree(base)
    refused(capsys, ["no such folder"], "predict", str(run.path), "--text", "x")


def test_an_adapter_whose_shapes_do_not_fit_its_base_is_refused(
    world: World, warm: None, tmp_path: Path, capsys: Capture
) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", data=world.data, base=world.bases["bert"])
    run = jobs.train(str(recipe), [], tmp_path / "runs", lambda event: None).run
    path = run.weights / "adapter_model.safetensors"
    save_file(
        {name: tensor[:, :-1].contiguous() if "lora_A" in name else tensor for name, tensor in load_file(path).items()}, path
    )
    refused(capsys, ["holds other files than the ones that were scored"], "predict", str(run.path), "--text", "x")
    run.write_json("manifest.json", run.manifest | {"end_weights": run.weights_digest()})
    refused(capsys, ["does not fit its base"], "predict", str(run.path), "--text", "x")


def test_a_base_in_several_files_is_read_and_digested_whole(tmp_path: Path) -> None:
    folder = write_base(tmp_path / "base", "mistral")
    assert len(weight_names(folder)) > 10
    before = base_digest(folder)
    edit(folder / "model.safetensors.index.json", metadata={})
    assert base_digest(folder) != before


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "spm.model", "tokenizer.model", "model.safetensors.index.json"])
def test_every_file_a_tokenizer_may_be_made_of_counts_for_the_digest(name: str, world: World, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(world.bases["bert"], tmp_path / "base"))
    before = folder_digest(folder)
    (folder / "README.md").write_text("a card")
    assert folder_digest(folder) == before
    (folder / name).write_text("{}")
    assert folder_digest(folder) != before
