"""The size of a model and of what its training keeps, counted on shapes alone: no weights are read, nothing is computed.

The model is built on torch's ``meta`` device. A forward pass over fake tensors then tells every tensor that the backward pass
would find kept, for any architecture, adapter and precision, gradient checkpointing included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PretrainedConfig, PreTrainedModel

from tunebench.model.causal import causal_of
from tunebench.model.methods import apply_method, count_parameters, keep_fewer_activations
from tunebench.model.pretrained import set_attention_dropout
from tunebench.model.residual import to_plain_lora
from tunebench.model.sequences import LOGITS
from tunebench.model.tasks import MODEL_CLASSES
from tunebench.recipe.methods import ZeroShot
from tunebench.recipe.resolve import CAUSAL, pooling_of
from tunebench.recipe.spec import Recipe
from tunebench.train.precision import computing

FLOAT32 = 4
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Footprint:
    """Numbers of weights, and bytes.

    ``total`` is base and head, of which ``rounded`` are those that a quantised base holds in few bits; ``saved_bytes`` is the
    tensor data of what is saved. ``kept_bytes`` is what a micro-batch keeps for its backward pass, ``again_bytes`` what gradient
    checkpointing computes again at a time, ``largest_bytes`` the largest single tensor of these.
    """

    total: int
    trainable: int
    rounded: int
    saved_bytes: int
    vocabulary: int
    kept_bytes: int
    again_bytes: int
    largest_bytes: int


def model_on_meta(recipe: Recipe, config: PretrainedConfig, num_labels: int) -> Any:
    """The model that a resolved recipe trains, as shapes."""
    pooling = pooling_of(recipe)
    if pooling != CAUSAL:
        config.num_labels = num_labels
    set_attention_dropout(config, recipe.settings.attention_dropout)
    config.pad_token_id = config.pad_token_id or 0
    config.use_cache = False
    with torch.device("meta"):
        model: PreTrainedModel = MODEL_CLASSES[pooling].from_config(config, dtype=torch.float32)  # as all bases are loaded
        return model if isinstance(recipe.method, ZeroShot) else apply_method(model, recipe.method, pooling)


def footprint(recipe: Recipe, config: PretrainedConfig, num_labels: int, batch: tuple[int, int], precision: str) -> Footprint:
    """Count the model of a resolved recipe with micro-batches of ``batch`` = (rows, tokens) computed in ``precision``."""
    assert recipe.base is not None
    model = model_on_meta(recipe, config, num_labels)
    (total, trainable), matrices = count_parameters(model), _between(model)
    rounded = sum(matrix.numel() for matrix in matrices)
    if isinstance(recipe.method, ZeroShot):
        return Footprint(total, 0, rounded, 0, config.vocab_size, 0, 0, 0)
    body = causal_of(model).base_model if pooling_of(recipe) == CAUSAL else model
    model.train()
    quantized = matrices if recipe.base.quantization else []
    kept = _kept(body, batch, precision, quantized)
    again = 0
    if recipe.settings.gradient_checkpointing:
        again = sum(kept) // config.num_hidden_layers
        keep_fewer_activations(model)
        kept = _kept(body, batch, precision, quantized)
    saved = _saved_bytes(model)
    return Footprint(total, trainable, rounded, saved, config.vocab_size, sum(kept), again, max(kept, default=0))


def logit_bytes(vocabulary: int, tokens: int) -> int:
    """Logits over the vocabulary for as many tokens as are held at once, with softmax and gradients."""
    return 5 * FLOAT32 * min(max(LOGITS, vocabulary), vocabulary * tokens)


def _between(model: nn.Module) -> list[Tensor]:
    """The matrices that a quantised base rounds: those between embeddings and output layer."""
    output = causal_of(model).get_output_embeddings()
    layers = [module for module in model.modules() if type(module) is nn.Linear and module is not output]
    return [layer.weight for layer in layers if not layer.weight.requires_grad]


def _saved_bytes(model: Any) -> int:
    """Tensor data of ``adapter/`` or ``model/``; uses the model up."""
    if isinstance(model, PeftModel):
        to_plain_lora(model)
        saved: dict[str, Tensor] = get_peft_model_state_dict(model, save_embedding_layers=False)
    else:
        saved = dict(model.named_parameters())
    return sum(tensor.numel() * tensor.element_size() for tensor in saved.values())


def _kept(body: nn.Module, batch: tuple[int, int], precision: str, quantized: list[Tensor]) -> list[int]:
    """Sizes of the tensors that the forward pass of a micro-batch keeps for the backward pass, weights aside."""
    sizes: dict[int, int] = {}
    converted = {id(weight) for weight in quantized}
    with FakeTensorMode(allow_non_fake_inputs=True):
        state = {
            name: torch.empty(
                tensor.shape,
                # the layers of a quantised base give what they compute in, and convert no weights on the way
                dtype=_DTYPES[precision] if id(tensor) in converted else tensor.dtype,
                device="cpu",
                requires_grad=tensor.requires_grad,
            )
            for name, tensor in [*body.named_parameters(), *body.named_buffers()]
        }
        weights = {tensor.untyped_storage()._cdata for tensor in state.values()}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in weights:
                sizes[storage._cdata] = storage.nbytes()
            return tensor

        inputs = {name: torch.ones(batch, dtype=torch.long) for name in ("input_ids", "attention_mask")}
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), computing(precision, torch.device("cpu")):
            found = torch.func.functional_call(body, state, kwargs=inputs, tie_weights=True)
    del found  # which holds what was kept: storages that come and go could share an address
    return list(sizes.values())
