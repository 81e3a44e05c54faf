"""A base's weights in memory, with a new head for the labels at hand. Safetensors only; no code out of model folders."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from tunebench.data.labels import LabelMap
from tunebench.errors import InputError
from tunebench.model.tasks import MODEL_CLASSES

_SAFELY: dict[str, Any] = {
    "dtype": torch.float32,
    "use_safetensors": True,
    "local_files_only": True,
    "trust_remote_code": False,
}


def load_pretrained(folder: Path, labels: LabelMap, pooling: str) -> tuple[PreTrainedModel, list[str]]:
    """The float32 model with a head for ``labels``, and the names of parameters the checkpoint did not hold.

    Those were drawn from torch's generator: seed it first. Raises InputError for damaged or foreign weights.
    """
    with _quiet(folder, pooling):
        model, report = MODEL_CLASSES[pooling].from_pretrained(
            str(folder),
            num_labels=len(labels.names),
            id2label=dict(enumerate(labels.names)),
            label2id={name: i for i, name in enumerate(labels.names)},
            output_loading_info=True,
            **_SAFELY,
        )
    return model, sorted(report["missing_keys"])


def load_merged(folder: Path, pooling: str) -> PreTrainedModel:
    """A complete model folder as plain transformers loads it: ``model/`` of a run, or ``merged/``."""
    with _quiet(folder, pooling):
        found: PreTrainedModel = MODEL_CLASSES[pooling].from_pretrained(str(folder), **_SAFELY)
    return found


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
