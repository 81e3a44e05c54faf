"""What is saved of a trained model, and how it comes back: adapter, whole model, merged model, checkpoint.

Every folder opens without tunebench: ``adapter/`` with plain peft, ``model/`` and ``merged/`` with plain transformers.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from tunebench.data.labels import LabelMap
from tunebench.errors import InputError, TunebenchError
from tunebench.model.methods import apply_method, expected_warnings, merge_adapter, trainable_state
from tunebench.model.pretrained import load_merged, load_pretrained
from tunebench.model.torch_backend import TorchBackend, to_device
from tunebench.predict.scorers import TokenScorer
from tunebench.predict.tokenize import TOKENIZER_FILES, TextEncoder
from tunebench.recipe.methods import ADAPTERS
from tunebench.recipe.spec import Recipe
from tunebench.runs.bases import base_digest, base_folder, portable_base
from tunebench.runs.run import Run


def compose(recipe: Recipe, labels: LabelMap, seed: int) -> tuple[nn.Module, list[str]]:
    """Base, task head and method as one model ready to train, and the parameter names that are new.

    Torch is seeded before anything is built, so the same recipe starts from the same bytes.
    """
    assert recipe.base is not None
    torch.manual_seed(seed)
    model, new = load_pretrained(base_folder(recipe.base), labels, recipe.base.pooling)
    return to_device(apply_method(model, recipe.method, recipe.base.pooling)), new


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
    part = _fresh(run.weights)
    if isinstance(model, PeftModel):
        config = model.peft_config["default"]
        config.base_model_name_or_path = portable_base(recipe.base.model, run.path)
        config.revision = recipe.base.revision
        config.inference_mode = True
        model.save_pretrained(str(part), safe_serialization=True, save_embedding_layers=False)
        (part / "README.md").unlink(missing_ok=True)
    elif isinstance(model, PreTrainedModel):
        model.save_pretrained(str(part))
    return _finish(part, run.weights, base)


def save_merged(run: Run, folder: Path) -> None:
    """Fold a run's adapter into its base in float32 and write ``folder``, a plain transformers folder."""
    recipe = run.recipe
    assert recipe.base is not None
    merged = load_saved(run)
    if isinstance(merged, PeftModel):
        merged = merge_adapter(merged)
    part = _fresh(folder)
    merged.save_pretrained(str(part))
    _finish(part, folder, run.weights)


def load_saved(run: Run, form: str = "saved") -> Any:
    """A run's model from its files: ``saved`` (``adapter/`` on its base, or ``model/``) or a merged folder.

    Raises InputError where the base is not the one the run was trained on, byte for byte.
    """
    recipe, manifest = run.recipe, run.manifest
    assert recipe.base is not None
    if form != "saved":
        return to_device(load_merged(run.path / form, recipe.base.pooling))
    if recipe.method.kind not in ADAPTERS:
        return to_device(load_merged(run.weights, recipe.base.pooling))
    folder = base_folder(recipe.base)
    if base_digest(folder) != manifest["base"]["digest"]:
        raise InputError(
            str(run.path),
            f"was trained on another {recipe.base.model!r} than the one in {folder}; "
            "fetch the base at the revision that the manifest names",
        )
    base, _ = load_pretrained(folder, LabelMap.from_dict(manifest["labels"]), recipe.base.pooling)
    with expected_warnings():
        return to_device(PeftModel.from_pretrained(base, str(run.weights)))


def open_scorer(run: Run, form: str = "saved", batch_size: int | None = None) -> TokenScorer:
    """A scorer over a run's saved model: what ``predict``, ``evaluate`` and the proofs use."""
    recipe, manifest = run.recipe, run.manifest
    assert recipe.base is not None
    folder = run.weights if form == "saved" else run.path / form
    model = load_saved(run, form)
    encoder = TextEncoder(folder if (folder / "tokenizer.json").is_file() else base_folder(recipe.base), recipe.base.max_length)
    return make_scorer(model, recipe, encoder, len(manifest["labels"]["names"]), batch_size)


def make_scorer(
    model: nn.Module, recipe: Recipe, encoder: TextEncoder, num_labels: int, batch_size: int | None = None
) -> TokenScorer:
    """A scorer over a model in memory."""
    assert recipe.base is not None
    pad_id = getattr(model.config, "pad_token_id", None)
    if pad_id is None:
        raise InputError("base.model", "its config names no pad_token_id, so texts of unequal length cannot share a batch")
    backend = TorchBackend(model, recipe.base.pooling, int(pad_id))
    return TokenScorer(encoder, backend, num_labels, batch_size or recipe.settings.per_device_eval_batch_size)


def save_checkpoint(model: nn.Module, folder: Path) -> None:
    """Write the trainable weights, whole or not at all: ``checkpoint-<step>/trainable.safetensors``."""
    part = _fresh(folder)
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in trainable_state(model).items()},
        part / "trainable.safetensors",
    )
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)


def load_checkpoint(model: nn.Module, folder: Path) -> None:
    """Put a checkpoint's weights back into the model it was taken from."""
    own: dict[str, Tensor] = trainable_state(model)
    saved = load_file(folder / "trainable.safetensors")
    if own.keys() != saved.keys():
        raise TunebenchError(f"{folder}: holds other weights than this model trains; the run directory is damaged")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(saved[name])


def _fresh(target: Path) -> Path:
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    return part


def _finish(part: Path, target: Path, tokenizer_from: Path) -> Path:
    for name in TOKENIZER_FILES:
        if (tokenizer_from / name).is_file():
            shutil.copyfile(tokenizer_from / name, part / name)
    for path in part.iterdir():
        path.chmod(0o644)  # safetensors writes 0600, which nobody can serve or share
    shutil.rmtree(target, ignore_errors=True)
    os.replace(part, target)
    return target
