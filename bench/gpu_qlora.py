"""QLoRA on the shape of Llama 3 8B with random weights: memory, tokens per second, and whether the loss falls.

Settings of the preset imdb-llama3-qlora: nf4, LoRA of rank 16 on q_proj and v_proj, batch 1 × 16, rows of 512 tokens, the
forward pass in bfloat16. Measured with all activations kept, and with gradient checkpointing. Writes 16 GB of weights into
``--folder`` (a temporary one without it), quantises while it loads them, and measures what the rounding took. Needs a GPU
and the extra quantization; refuses without. Prints a table and, last, one JSON object.

    python bench/gpu_qlora.py [--kind nf4] [--steps 12] [--layers 32] [--folder DIR] [--gate]
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from tunebench.errors import TunebenchError
from tunebench.model.methods import apply_method, keep_fewer_activations, trainable_state
from tunebench.model.quantized import computing_quantized, quantization_config, require_quantization, rounding_loss
from tunebench.recipe.adapters import Lora
from tunebench.runs.environment import hardware, versions

METHOD = Lora(r=16, lora_alpha=32, lora_dropout=0.05, target_modules=["q_proj", "v_proj"], modules_to_save=[])
LENGTH, ACCUMULATED, RATE, SEED = 512, 16, 2e-4, 42
WORDS = 64
"""Tokens that the rows are drawn from: few enough for a frozen random base to learn which they are."""
MOST_GIB, GIB = 16, 2**30


def llama3_8b(layers: int) -> LlamaConfig:
    """The configuration of Meta-Llama-3-8B, with ``layers`` in place of its 32."""
    return LlamaConfig(
        vocab_size=128_256,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        tie_word_embeddings=False,
        dtype="bfloat16",
    )


def write_weights(config: LlamaConfig, folder: Path, device: str) -> int:
    """Random bfloat16 weights, a file per layer, so that no more than that is ever in memory; returns their number."""
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(str(folder))
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in AutoModelForCausalLM.from_config(config).state_dict().items()}
    files: dict[str, list[str]] = {}
    for name in shapes:
        layer = name.split(".")[2] if ".layers." in name else name.replace(".", "-")
        files.setdefault(f"model-{layer}.safetensors", []).append(name)
    draw = torch.Generator(device).manual_seed(SEED)
    for file, names in files.items():
        save_file({name: _drawn(name, shapes[name], draw) for name in names}, folder / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, names in files.items() for name in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    return sum(math.prod(shape) for shape in shapes.values())


def _drawn(name: str, shape: torch.Size, draw: torch.Generator) -> torch.Tensor:
    if "norm" in name:
        return torch.ones(shape, dtype=torch.bfloat16)
    return (torch.randn(shape, generator=draw, device=draw.device) * 0.02).to("cpu", torch.bfloat16)


def load(folder: Path, kind: Any) -> PreTrainedModel:
    """The base as a run loads it: float32 where it is not quantised."""
    config = quantization_config(kind)
    found: PreTrainedModel = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32, quantization_config=config)
    found.config.use_cache = False
    return found


def train(model: nn.Module, steps: int, device: str) -> tuple[list[float], float]:
    """Mean loss per step, and tokens per second without the first two steps."""
    draw = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.AdamW(list(trainable_state(model).values()), lr=RATE, weight_decay=0.0)
    losses, seconds = [], []
    model.train()
    for _ in range(steps):
        begun, total = time.perf_counter(), 0.0
        for _ in range(ACCUMULATED):
            ids = torch.randint(0, WORDS, (1, LENGTH), generator=draw).to(device)
            with computing_quantized(model, "bfloat16"), torch.autocast(device, dtype=torch.bfloat16):
                loss = model(input_ids=ids, labels=ids).loss / ACCUMULATED
                loss.backward()
            total += loss.item()  # which also waits for the device
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
        seconds.append(time.perf_counter() - begun)
    return losses, LENGTH * ACCUMULATED / statistics.median(seconds[2:] or seconds)


def measure(folder: Path, kind: Any, steps: int, device: str, *, fewer_activations: bool) -> dict[str, Any]:
    """One training from the files on: seconds to load, peak memory, tokens per second, course of the loss."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    torch.manual_seed(SEED)
    begun = time.perf_counter()
    base = load(folder, kind)
    seconds, held = time.perf_counter() - begun, torch.cuda.max_memory_allocated()
    rounding = rounding_loss(base, folder) if not fewer_activations else None
    model = apply_method(base, METHOD, "none")
    if fewer_activations:
        keep_fewer_activations(model)
    torch.cuda.reset_peak_memory_stats()
    losses, speed = train(model, steps, device)
    found = {
        "gradient_checkpointing": fewer_activations,
        "load_seconds": round(seconds, 1),
        "load_peak_gib": round(held / GIB, 2),
        "train_peak_gib": round(torch.cuda.max_memory_allocated() / GIB, 2),
        "trainable": sum(tensor.numel() for tensor in trainable_state(model).values()),
        "tokens_per_second": round(speed, 1),
        "losses": [round(loss, 4) for loss in losses],
        "falls": losses[-1] < losses[0] - 0.01,
    }
    if rounding is not None:
        found["rounding"] = {"relative": rounding.relative, "largest": rounding.largest, "mean": rounding.mean}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kind", choices=["nf4", "int8"], default="nf4")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--folder", type=Path, help="where the random weights go, and are taken from a second time")
    parser.add_argument("--gate", action="store_true", help="exit 1 where the loss does not fall, or 16 GiB do not suffice")
    args = parser.parse_args()
    try:
        require_quantization(args.kind)
    except TunebenchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        number = write_weights(llama3_8b(args.layers), folder, "cuda")
        found = [measure(folder, args.kind, args.steps, "cuda", fewer_activations=fewer) for fewer in (False, True)]
    print(f"{'checkpointing':>13}  {'load GiB':>8}  {'train GiB':>9}  {'tokens/s':>9}  {'first loss':>10}  {'last':>8}")
    for item in found:
        first, last = item["losses"][0], item["losses"][-1]
        print(
            f"{item['gradient_checkpointing']!s:>13}  {item['load_peak_gib']:8.2f}  {item['train_peak_gib']:9.2f}  "
            f"{item['tokens_per_second']:9.1f}  {first:10.4f}  {last:8.4f}"
        )
    fits = max(max(item["load_peak_gib"], item["train_peak_gib"]) for item in found) <= MOST_GIB
    passed = fits and all(item["falls"] for item in found)
    report = {
        "bench": "gpu_qlora",
        "kind": args.kind,
        "layers": args.layers,
        "weights": number,
        "rows": {"length": LENGTH, "per_step": ACCUMULATED},
        "hardware": hardware(),
        "versions": versions(("torch", "transformers", "peft", "bitsandbytes")),
        "measured": found,
        "fits_16_gib": fits,
        "passed": passed,
    }
    print(json.dumps(report))
    sys.exit(1 if args.gate and not passed else 0)


if __name__ == "__main__":
    main()
