"""A base's weights in memory, with a new head for the labels at hand. Safetensors only; no code out of model folders."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from tunebench.data.labels import LabelMap
from tunebench.errors import InputError, listing
from tunebench.model.quantized import quantization_config
from tunebench.model.tasks import MODEL_CLASSES
from tunebench.predict.padding import Padding, choose_padding
from tunebench.recipe.architectures import ARCHITECTURES
from tunebench.recipe.resolve import CAUSAL
from tunebench.recipe.spec import Quantization

_SAFELY: dict[str, Any] = {
    "dtype": torch.float32,
    "use_safetensors": True,
    "local_files_only": True,
    "trust_remote_code": False,
}


def load_pretrained(
    folder: Path,
    labels: LabelMap,
    pooling: str,
    quantization: Quantization | None = None,
    attention_dropout: float | None = None,
) -> tuple[PreTrainedModel, list[str]]:
    """The float32 model with a head for ``labels``, and the names of parameters the checkpoint did not hold.

    ``quantization`` rounds the layers of a causal language model to 4 or 8 bits; ``attention_dropout`` replaces the base's own.

    Those were drawn from torch's generator: seed it first. Raises InputError for damaged or foreign weights, and where more
    than a head is missing: the base would be random.
    """
    with _quiet(folder, pooling):
        config: Any = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        set_attention_dropout(config, attention_dropout)
        how = _SAFELY | {"config": config, "output_loading_info": True}
        if pooling == CAUSAL:
            how |= {} if quantization is None else {"quantization_config": quantization_config(quantization)}
            model, report = MODEL_CLASSES[pooling].from_pretrained(str(folder), **how)
            _check_body(folder, model, sorted(report["missing_keys"]), pooling)
            model.config.pad_token_id = padding_of(folder, model).id
            return model, []
        config.id2label = dict(enumerate(labels.names))
        config.label2id = {name: i for i, name in enumerate(labels.names)}
        model, report = MODEL_CLASSES[pooling].from_pretrained(
            str(folder),
            ignore_mismatched_sizes=True,  # a head for other labels is replaced; anything else is refused below
            **how,
        )
    new = sorted({*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])})
    _check_body(folder, model, new, pooling)
    if is_decoder(model):
        model.config.pad_token_id = padding_of(folder, model).id
        model.config.use_cache = False  # keys and values are for generating
    return model, new


def set_attention_dropout(config: PretrainedConfig, value: float | None) -> None:
    """Put ``value`` in place of a base's own dropout of attention weights, under the name its architecture has for it."""
    for name in ("attention_probs_dropout_prob", "attention_dropout"):
        if value is not None and hasattr(config, name):
            setattr(config, name, value)


def is_decoder(model: PreTrainedModel) -> bool:
    """Say whether the head reads the last token of a text, found by its padding token."""
    return ARCHITECTURES[model.config.model_type].decoder


def padding_of(folder: Path, model: PreTrainedModel) -> Padding:
    """The padding token of a decoder by the tokenizer in a folder."""
    return choose_padding(folder, model.config.vocab_size, model.config.pad_token_id)


def describe_causal(base: Path, folder: Path) -> None:
    """Write into ``folder`` what a float32 causal language model made of ``base`` is to be loaded by, beside its weights."""
    config: Any = AutoConfig.from_pretrained(str(base), local_files_only=True, trust_remote_code=False)
    config.pad_token_id = choose_padding(base, config.vocab_size, config.pad_token_id).id
    config.dtype = torch.float32
    with torch.device("meta"):
        config.architectures = [type(AutoModelForCausalLM.from_config(config)).__name__]
    config.save_pretrained(str(folder))
    if (base / "generation_config.json").is_file():
        shutil.copyfile(base / "generation_config.json", folder / "generation_config.json")


def load_merged(folder: Path, pooling: str) -> PreTrainedModel:
    """A complete model folder as plain transformers loads it: ``model/`` of a run, or ``merged/``."""
    with _quiet(folder, pooling):
        found: PreTrainedModel = MODEL_CLASSES[pooling].from_pretrained(str(folder), **_SAFELY)
    return found


def _check_body(folder: Path, model: PreTrainedModel, new: list[str], pooling: str) -> None:
    heads = ARCHITECTURES[model.config.model_type].may_lack(pooling)
    lacking = [name for name in new if not any(f".{head}." in f".{name}" for head in heads)]
    if lacking:
        raise InputError(
            str(folder),
            f"its safetensors hold no weights of the right shape for {listing(lacking, most=4)}, so the base would be random; "
            "they are of another architecture or size than config.json says, or not whole: fetch or save it again",
        )


@contextlib.contextmanager
def _quiet(folder: Path, pooling: str) -> Iterator[None]:
    """Load without bars and reports; what goes wrong is an InputError about the folder."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(str(folder), f"cannot be loaded as a {MODEL_CLASSES[pooling].__name__}: {error}") from None
    except SafetensorError as error:
        raise InputError(str(folder), f"its safetensors file is damaged ({error}); fetch or save it again") from None
