"""A base's weights in memory, with a new head for the labels at hand. Safetensors only; no code out of model folders."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from tunebench.data.labels import LabelMap
from tunebench.errors import InputError
from tunebench.model.tasks import MODEL_CLASSES


def load_pretrained(folder: Path, labels: LabelMap, pooling: str) -> tuple[PreTrainedModel, list[str]]:
    """The float32 model with a head for ``labels``, and the names of parameters the checkpoint did not hold.

    Those were drawn from torch's generator: seed it first. Raises InputError for damaged or foreign weights.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        model, report = MODEL_CLASSES[pooling].from_pretrained(
            str(folder),
            num_labels=len(labels.names),
            id2label=dict(enumerate(labels.names)),
            label2id={name: i for i, name in enumerate(labels.names)},
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(str(folder), f"cannot be loaded as a {MODEL_CLASSES[pooling].__name__}: {error}") from None
    except Exception as error:
        if type(error).__name__ != "SafetensorError":
            raise
        raise InputError(str(folder), f"its safetensors file is damaged ({error}); fetch or save the base again") from None
    return model, sorted(report["missing_keys"])


def load_merged(folder: Path, pooling: str) -> PreTrainedModel:
    """A complete model folder as plain transformers loads it: ``model/`` of a run, or ``merged/``."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    found: PreTrainedModel = MODEL_CLASSES[pooling].from_pretrained(
        str(folder), dtype=torch.float32, use_safetensors=True, local_files_only=True, trust_remote_code=False
    )
    return found
