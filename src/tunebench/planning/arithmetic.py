"""From a footprint to memory and disk, term by term. What is counted stands in ``footprint.py``; the rest is said here."""

from __future__ import annotations

from collections.abc import Sequence

from tunebench.planning.footprint import FLOAT32, Footprint, logit_bytes
from tunebench.planning.needs import PROOF_PROCESS, Need, Term
from tunebench.planning.workload import Workload
from tunebench.recipe.adapters import Lora
from tunebench.recipe.methods import ADAPTERS
from tunebench.recipe.spec import CAUSAL_TASKS, Recipe

GB = 10**9
PROCESS = 0.5 * GB
"""A process that has imported torch, transformers and peft."""
WAITING = 0.45 * GB
"""The process of the proof beside a training: it has imported the same, and waits (docs/plan.md)."""
GPU_PROCESS = 2.5 * GB
"""The same with CUDA's libraries loaded."""
KERNELS = 16 * 10**6
"""What a CPU process keeps per size of micro-batch: kernels made for it, and memory in pieces of that size (docs/plan.md)."""
CONTEXT = 0.6 * GB
"""What CUDA and its kernels take of a GPU."""
BYTES_PER_WEIGHT = {"nf4": 0.5 + 1 / 64 + 4 / 64 / 256, "int8": 1.0, None: float(FLOAT32)}
"""nf4: 4 bits, and for every 64 weights a scale of 8 bits, of which 256 share one of float32."""
WORKING = 3
"""Gradients on the way through the largest layer, in tensors of the largest size that is kept."""
TOKEN_BYTES = 36
"""A token id in a list of Python's."""
WEIGHTS_PER_FILE = 5 * 10**9
"""Of a base in several files the largest usual one: 10 GB in 16 bits."""
KEPT_CHECKPOINTS = 3
"""The best, the newest, and the next one while it is written."""


def weights_term(recipe: Recipe, found: Footprint) -> Term:
    """The base and its head in memory."""
    assert recipe.base is not None
    kind = recipe.base.quantization
    rest = found.total - found.rounded
    if kind is None:
        return Term("weights", FLOAT32 * found.total, f"{found.total:,} x 4 bytes")
    each = BYTES_PER_WEIGHT[kind]
    size = round(each * found.rounded) + FLOAT32 * rest
    return Term("weights", size, f"{found.rounded:,} x {each:.3f} bytes ({kind}), {rest:,} x 4 bytes (embeddings, norms, output)")


def training_terms(recipe: Recipe, found: Footprint, batch: tuple[int, int]) -> list[Term]:
    """What training adds to a process: weights, what changes them, and a micro-batch on its way forth and back."""
    rows, tokens = batch
    checkpointing = recipe.settings.gradient_checkpointing
    new = FLOAT32 * found.trainable if recipe.method.kind in ADAPTERS else 0
    terms = [
        weights_term(recipe, found),
        Term("adapter", new, f"{found.trainable:,} x 4 bytes"),
        Term("gradients", FLOAT32 * found.trainable, f"{found.trainable:,} x 4 bytes"),
        Term("AdamW", 2 * FLOAT32 * found.trainable, f"{found.trainable:,} x 8 bytes"),
        Term("activations", found.kept_bytes, f"{rows} x {tokens} tokens, counted" + (", checkpointed" if checkpointing else "")),
        Term("computed again", found.again_bytes, "one layer at a time, by gradient checkpointing"),
        Term("on the way back", WORKING * found.largest_bytes, f"{WORKING} x the largest activation"),
    ]
    if recipe.task in CAUSAL_TASKS:
        learned = rows * tokens if recipe.task in ("language-modeling", "instruction") else 4 * rows
        size = logit_bytes(found.vocabulary, learned)
        terms.append(Term("logits", size, "with softmax and gradients, as many as are held at once"))
    return [term for term in terms if term.bytes]


def memory_needs(
    stage: str, recipe: Recipe, found: Footprint, work: Workload, texts: tuple[int, int], *, gpu: bool, merge: bool
) -> list[Need]:
    """Memory of the parts of a stage. ``texts`` are characters and tokens of the data.

    A proof opens what was saved in a second process: that of the training while the model that was scored is still there, that
    of a merge once it is gone.
    """
    characters, tokens = texts
    held = Term("texts and tokens", 2 * characters + TOKEN_BYTES * tokens, f"{characters:,} characters, {tokens:,} tokens")
    process = Term("process", round(GPU_PROCESS if gpu else PROCESS), "torch, transformers, peft" + (", CUDA" if gpu else ""))
    waiting = Term(PROOF_PROCESS, round(WAITING), "waits, with the same imported")
    context = Term("CUDA", round(CONTEXT), "context and kernels")
    training = training_terms(recipe, found, work.largest_batch) if found.trainable else [weights_term(recipe, found)]
    model = [term for term in training if term.name in ("weights", "adapter")]
    kernels = Term("kernels", KERNELS * work.shapes, f"{work.shapes} sizes of micro-batches x {KERNELS // 10**6} MB")
    parts = {"training": training if gpu or not found.trainable else [*training, kernels], "proving": _again(model)}
    beside: list[Term] = []
    if merge:
        whole = Term("merged", FLOAT32 * found.total, f"{found.total:,} x 4 bytes: folded in float32")
        beside = [_file_of(whole)] if _is_folded_by_file(recipe) else []
        parts |= {"merging": [] if beside else [*model, whole], "proving the merge": _again([whole])}
    needs = []
    for during, terms in parts.items():
        twice = [waiting] if during == "training" else _again([process, context])
        if gpu:
            needs.append(Need("gpu", stage, during, (context, *twice[1:], *terms)))
        host = [*(beside if during == "merging" else []), *([] if gpu else terms)]
        needs.append(Need("ram", stage, during, (process, *twice[:1], held, *host)))
    return needs


def _is_folded_by_file(recipe: Recipe) -> bool:
    """Say whether an adapter is folded into its base file by file (model/streamed_merge.py): plain LoRA on a language model."""
    method = recipe.method
    plain = isinstance(method, Lora) and not (method.use_dora or method.modules_to_save or method.bias != "none")
    return plain and recipe.task in CAUSAL_TASKS


def _file_of(whole: Term) -> Term:
    return Term("merged, by file", min(whole.bytes, FLOAT32 * WEIGHTS_PER_FILE), "one file of the base at a time, in float32")


def _again(terms: Sequence[Term]) -> list[Term]:
    return [term._replace(name=f"{term.name}, again", why="in a second process, for the proof") for term in terms]


def disk_terms(recipe: Recipe, found: Footprint, fetched: int, *, merge: bool, scored: int) -> tuple[list[Term], list[Term]]:
    """What a stage writes: what stays, and what is there while it trains. ``fetched`` bytes of the base are not here yet."""
    stays = [Term("base", fetched, "fetched into the hub's cache")]
    stays.append(Term("saved model", found.saved_bytes, "adapter/" if recipe.method.kind in ADAPTERS else "model/"))
    stays.append(Term("predictions", scored, "the scored rows with their answers"))
    if merge:
        stays.append(Term("merged", FLOAT32 * found.total, f"{found.total:,} x 4 bytes: a merged model is written in float32"))
    kept = KEPT_CHECKPOINTS if recipe.settings.eval_strategy != "no" and recipe.settings.load_best_model_at_end else 2
    state = 3 * FLOAT32 * found.trainable
    passing = [Term("checkpoints", kept * state, f"{kept} x {found.trainable:,} x 12 bytes: weights and AdamW")]
    return [term for term in stays if term.bytes], [term for term in passing if term.bytes]
