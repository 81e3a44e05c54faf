"""A GGUF file of a tiny Llama, as llama.cpp's converter would write one: names, permuted queries and keys, byte-level words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tiny import BAD, FILLER, GOOD

SIZES = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "post_attention_layernorm": "ffn_norm",
    "input_layernorm": "attn_norm",
}


CHAT = (
    "{% for m in messages %}<|begin|>{{ m.role }} {{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|begin|>{% endif %}"
)


def write_gguf(path: Path, *, seed: int = 7) -> dict[str, np.ndarray]:
    """Write the file and return the weights it stands for, by their names in transformers; matrices are rounded to Q8_0."""
    import gguf
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokens, merges = _words()
    vocabulary = len(tokens)
    config = AutoConfig.for_model("llama", vocab_size=vocabulary, max_position_embeddings=64, initializer_range=0.2, **SIZES)
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    weights = {name: tensor.numpy().copy() for name, tensor in AutoModelForCausalLM.from_config(config).state_dict().items()}
    torch.set_rng_state(state)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer: Any = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(SIZES["hidden_size"])
    writer.add_block_count(SIZES["num_hidden_layers"])
    writer.add_feed_forward_length(SIZES["intermediate_size"])
    writer.add_head_count(SIZES["num_attention_heads"])
    writer.add_head_count_kv(SIZES["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(32)
    writer.add_vocab_size(vocabulary)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<") and len(token) > 1 else 1 for token in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template(CHAT)
    rounded = {}
    for name, weight in weights.items():
        kind = gguf.GGMLQuantizationType.Q8_0 if weight.ndim == 2 else gguf.GGMLQuantizationType.F32
        packed = gguf.quants.quantize(_permuted(name, weight), kind)
        writer.add_tensor(_renamed(name), packed, raw_dtype=kind)
        rounded[name] = _permuted(name, gguf.quants.dequantize(packed, kind), back=True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return rounded


def _words() -> tuple[list[str], list[str]]:
    """Tokens and merges of a byte-level BPE that knows the words of the tiny world."""
    from tokenizers.pre_tokenizers import ByteLevel

    tokens, merges = ["<|begin|>", "<|end|>", "<|reserved_1|>", *sorted(ByteLevel.alphabet())], []
    for word in (*GOOD, *BAD, *FILLER):
        for start in ("", "Ġ"):
            letters = [*start, *word]
            for i in range(1, len(letters)):
                left, right = "".join(letters[:i]), letters[i]
                if left + right not in tokens:
                    tokens.append(left + right)
                    merges.append(f"{left} {right}")
    return tokens, merges


def _renamed(name: str) -> str:
    own = name.removesuffix(".weight")
    if own.startswith("model.layers."):
        number, _, own = own.removeprefix("model.layers.").partition(".")
        return f"blk.{number}.{NAMES[own]}.weight"
    return f"{NAMES[own]}.weight"


def _permuted(name: str, weight: np.ndarray, *, back: bool = False) -> np.ndarray:
    """Rotary halves of queries and keys interleaved, as llama.cpp wants them, or put back."""
    heads = {"q_proj": SIZES["num_attention_heads"], "k_proj": SIZES["num_key_value_heads"]}.get(name.split(".")[-2])
    if heads is None:
        return weight
    half = weight.shape[0] // heads // 2
    parts = (heads, half, 2) if back else (heads, 2, half)
    return np.ascontiguousarray(weight.reshape(*parts, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape))
