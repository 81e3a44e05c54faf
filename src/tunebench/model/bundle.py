"""What is saved of a trained model, and how it comes back: adapter, whole model, merged model, checkpoint.

Every folder opens without tunebench: ``adapter/`` with plain peft, ``model/`` and ``merged/`` with plain transformers.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from tunebench.data.labels import LabelMap
from tunebench.errors import InputError
from tunebench.model.int8 import to_int8
from tunebench.model.methods import apply_method, expected_warnings, merge_adapter, trainable_state
from tunebench.model.pretrained import describe_causal, is_decoder, load_merged, load_pretrained, padding_of
from tunebench.model.quantized import dequantize, rounder
from tunebench.model.residual import save_adapter
from tunebench.model.scoring import make_scorer, scoring
from tunebench.model.sharing import SharedBases
from tunebench.model.streamed_merge import can_stream, merge_files
from tunebench.model.torch_backend import to_device
from tunebench.predict.scorers import Scorer
from tunebench.predict.tokenizer_files import copy_tokenizer
from tunebench.recipe.methods import ADAPTERS, Head, ZeroShot
from tunebench.recipe.resolve import pooling_of
from tunebench.recipe.spec import CAUSAL_TASKS, Base, Recipe
from tunebench.runs.bases import base_digest, base_folder, portable_base
from tunebench.runs.run import Run
from tunebench.runs.stamps import stamp


def compose(recipe: Recipe, labels: LabelMap, seed: int) -> tuple[nn.Module, list[str]]:
    """Base, task head and method as one model ready to train, and the parameter names that are new.

    Torch is seeded before anything is built, so the same recipe starts from the same bytes.
    """
    assert recipe.base is not None
    torch.manual_seed(seed)
    dropout = recipe.settings.attention_dropout
    model, new = load_pretrained(base_folder(recipe.base), labels, pooling_of(recipe), recipe.base.quantization, dropout)
    if isinstance(recipe.method, ZeroShot):
        return to_device(model), new
    composed = apply_method(model, recipe.method, pooling_of(recipe))
    if isinstance(recipe.method, Head):
        for name in new:  # a pooler that the checkpoint lacks is part of the head
            composed.get_parameter(name).requires_grad = True
    return to_device(composed), new


def unsaved_layers(model: nn.Module, new: list[str]) -> list[str]:
    """New (randomly drawn) parameters that the method neither trains nor saves: they would differ after a reload."""
    if not isinstance(model, PeftModel):
        return []
    trained = {name.removeprefix("base_model.model.").replace(".modules_to_save.default", "") for name in trainable_state(model)}
    return [name for name in new if name not in trained]


def save_trained(model: nn.Module, run: Run, recipe: Recipe) -> Path:
    """Write ``adapter/`` or ``model/`` of a run, with tokenizer files; the folder appears whole."""
    assert recipe.base is not None
    base = base_folder(recipe.base)
    with _appearing(run.weights) as part:
        if isinstance(model, PeftModel):
            config = model.peft_config["default"]
            config.base_model_name_or_path = portable_base(recipe.base.model, run.path)
            config.revision = recipe.base.revision
            save_adapter(model, part)
        elif isinstance(model, PreTrainedModel) and not isinstance(recipe.method, ZeroShot):
            model.save_pretrained(str(part))
        copy_tokenizer(base, part, _tokenizer_settings(model, recipe.base, base))
    return run.weights


def save_merged(run: Run, folder: Path) -> None:
    """Fold a run's adapter into its base in float32 and write ``folder``, a plain transformers folder.

    LoRA on a causal language model is folded in file by file; what has a head of its own is small, and merged in memory.
    """
    recipe = run.recipe
    assert recipe.base is not None
    base = base_folder(recipe.base)
    if recipe.task in CAUSAL_TASKS and can_stream(base, run.weights):
        _check_base(run, base)
        with _appearing(folder) as part:
            kind = recipe.base.quantization
            merge_files(base, run.weights, part, None if kind is None else rounder(kind, base))
            describe_causal(base, part)
            copy_tokenizer(run.weights, part, {})
        return
    merged = load_saved(run, dequantized=recipe.base.quantization is not None)
    if isinstance(merged, PeftModel):
        merged = merge_adapter(merged)
    with _appearing(folder) as part:
        merged.save_pretrained(str(part))
        copy_tokenizer(run.weights, part, _tokenizer_settings(merged, recipe.base, run.weights))


def load_saved(run: Run, form: str = "saved", *, dequantized: bool = False, bases: SharedBases | None = None) -> Any:
    """A run's model from its files: ``saved`` (``adapter/`` on its base, or ``model/``) or a merged folder.

    ``dequantized`` puts float32 layers of the same weights in place of a base's quantised ones. With ``bases`` it is for
    prediction only, and shares the frozen matrices of its base with others.
    Raises InputError where the base is not the one the run was trained on, byte for byte.
    """
    recipe = run.recipe
    assert recipe.base is not None
    pooling = pooling_of(recipe)
    if form != "saved":
        return to_device(load_merged(run.path / form, pooling))
    if recipe.method.kind not in (*ADAPTERS, "zero-shot"):
        return to_device(load_merged(run.weights, pooling))
    folder = base_folder(recipe.base)
    base = _base_of(run, folder, bases)
    if dequantized:
        base = dequantize(base)
    if isinstance(recipe.method, ZeroShot):
        return to_device(base)
    try:
        with expected_warnings():
            return to_device(PeftModel.from_pretrained(base, str(run.weights)))
    except (RuntimeError, ValueError, KeyError) as error:
        raise InputError(str(run.weights), f"does not fit its base {folder}: {error}; train the run again") from None


def _base_of(run: Run, folder: Path, bases: SharedBases | None) -> PreTrainedModel:
    recipe, labels, pooling = run.recipe, LabelMap.from_dict(run.manifest["labels"]), pooling_of(run.recipe)
    assert recipe.base is not None
    quantization = recipe.base.quantization

    def load() -> PreTrainedModel:
        _check_base(run, folder)
        return load_pretrained(folder, labels, pooling, quantization)[0]

    if bases is None or quantization is not None:
        return load()
    checked = (stamp(folder), run.manifest["base"]["digest"])  # these very files had this digest when they were loaded
    return bases.of((checked, labels.names, pooling), load)


def _check_base(run: Run, folder: Path) -> None:
    if base_digest(folder) != run.manifest["base"]["digest"]:
        name = run.recipe.base.model if run.recipe.base else ""
        raise InputError(
            str(run.path),
            f"was trained on another {name!r} than the one in {folder}; fetch the base at the revision that the manifest names",
        )


def open_scorer(
    run: Run,
    form: str = "saved",
    batch_size: int | None = None,
    *,
    for_proof: bool = False,
    int8: bool = False,
    dequantized: bool = False,
    bases: SharedBases | None = None,
) -> Scorer:
    """A scorer over a run's saved model: what ``predict`` and ``evaluate`` use, and the proofs, which need logits."""
    recipe = scoring(run.recipe) if for_proof else run.recipe
    assert recipe.base is not None
    folder = run.weights if form == "saved" else run.path / form
    tokenizer = folder if (folder / "tokenizer.json").is_file() else base_folder(recipe.base)
    model = load_saved(run, form, dequantized=dequantized, bases=None if int8 else bases)  # int8 merges in place
    if int8:
        model, batch_size = to_int8(model), 1  # what padding does to the last bit, rounding makes visible
    return make_scorer(model, recipe, tokenizer, LabelMap.from_dict(run.manifest["labels"]), batch_size)


def scorer_for_proof(model: nn.Module, recipe: Recipe, labels: LabelMap) -> Scorer:
    """A scorer over a model in memory that gives the logits a proof compares."""
    assert recipe.base is not None
    return make_scorer(model, scoring(recipe), base_folder(recipe.base), labels)


@contextlib.contextmanager
def untrained(model: nn.Module, recipe: Recipe, labels: LabelMap) -> Iterator[Scorer]:
    """A scorer over the base as it was before training: without the adapter, or loaded anew."""
    assert recipe.base is not None
    folder = base_folder(recipe.base)
    if isinstance(model, PeftModel):
        with model.disable_adapter():
            yield make_scorer(model, recipe, folder, labels)
    else:
        yield make_scorer(
            to_device(load_pretrained(folder, labels, pooling_of(recipe), recipe.base.quantization)[0]), recipe, folder, labels
        )


@contextlib.contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A fresh folder to fill, which takes the place of ``target`` when the block ends, and goes where the block fails."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        yield part
        for path in part.iterdir():
            path.chmod(0o644)  # safetensors writes 0600, which nobody can serve or share
        shutil.rmtree(target, ignore_errors=True)
        os.replace(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _tokenizer_settings(model: Any, base: Base, tokenizer: Path) -> dict[str, str]:
    """What plain transformers has to be told to tokenize and pad as tunebench does."""
    sides = {"padding_side": "right", "truncation_side": "left" if base.truncation_side == "left" else "right"}
    return sides | ({"pad_token": padding_of(tokenizer, model).token} if is_decoder(model) else {})
