"""The adapters: few new weights beside a base that stays as it is. Every kind, its settings under PEFT's names.

Which kinds are here, and why their defaults are what they are, says docs/methods.md. A new kind is one class here, its name in
``AdapterMethod``, and one line in ``CONFIGS`` of ``model/adapters.py``.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from tunebench.recipe.closed import Names, Spec

ALL_LINEAR = "all-linear"
ALL_NORM = "all-norm"

_PISSA_ROUNDS = "pissa_niter_[1-9][0-9]?"
_STARTS: list[Any] = [True, "gaussian", "pissa", "olora"]


def _known_start(value: Any) -> Any:
    if value is True or (isinstance(value, str) and (value in _STARTS or re.fullmatch(_PISSA_ROUNDS, value))):
        return value
    found = str(value).lower() if isinstance(value, bool) else repr(value)
    raise ValueError(f"expected true, gaussian, pissa, pissa_niter_4 (or another number of rounds) or olora, found {found}")


Start = Annotated[
    bool | str,
    BeforeValidator(_known_start),
    WithJsonSchema({"anyOf": [{"enum": _STARTS}, {"type": "string", "pattern": f"^{_PISSA_ROUNDS}$"}]}),
]


class Adapter(Spec):
    """What the adapters have in common."""

    title: ClassVar[str]
    rate: ClassVar[float]
    """The peak learning rate where a recipe gives none."""

    kind: str
    target_modules: Names | Literal["all-linear"] | str | None = Field(
        None,
        description="Modules that get an adapter: ends of names, one pattern for whole names, or `all-linear`; "
        "the default follows the architecture.",
    )
    modules_to_save: list[str] | None = Field(None, description="New modules trained and saved whole; the default is the head.")


class Lora(Adapter):
    """Low-rank adaptation: W + B·A beside frozen weights (Hu et al. 2021, arXiv 2106.09685)."""

    title: ClassVar[str] = "LoRA"
    rate: ClassVar[float] = 5e-4

    kind: Literal["lora"] = "lora"
    r: int = Field(8, ge=1, description="Rank of the update.")
    lora_alpha: float = Field(16, gt=0, description="Scale of the update: alpha / r, or alpha / sqrt(r) with `use_rslora`.")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the update.")
    bias: Literal["none", "all", "lora_only"] = Field("none", description="Which biases are trained too.")
    use_rslora: bool = Field(False, description="Rank-stabilised scale (arXiv 2312.03732).")
    use_dora: bool = Field(False, description="Train size and direction of every weight row apart (DoRA, arXiv 2402.09353).")
    init_lora_weights: Start = Field(
        True,
        description="Where A and B begin: `true` and `gaussian` draw A and set B to zero; `pissa` takes the largest singular "
        "parts of W (arXiv 2404.02948), `pissa_niter_4` nearly these, faster; `olora` its QR decomposition (arXiv 2406.01775). "
        "Saved is always plain LoRA on the unchanged base, of rank 2r after `pissa` and `olora`.",
    )
    loraplus_lr_ratio: float | None = Field(
        None, ge=1, description="B is trained at this many times the learning rate (LoRA+, arXiv 2402.12354)."
    )


class Ia3(Adapter):
    """Learned rescaling of keys, values and feed-forward activations (Liu et al. 2022, arXiv 2205.05638)."""

    title: ClassVar[str] = "IA3"
    rate: ClassVar[float] = 5e-3

    kind: Literal["ia3"] = "ia3"
    feedforward_modules: list[str] | str | None = Field(
        None, description="Those of `target_modules` whose input is rescaled instead of the output."
    )


class Oft(Adapter):
    """Orthogonal finetuning: inputs are turned, block by block, by learned rotations (arXiv 2306.07280)."""

    title: ClassVar[str] = "OFT"
    rate: ClassVar[float] = 5e-4

    kind: Literal["oft"] = "oft"
    oft_block_size: int = Field(32, ge=2, description="Inputs that are turned together; larger blocks, more weights.")
    module_dropout: float = Field(0.0, ge=0, lt=1, description="Share of the blocks that stay unturned in a training step.")


class Hra(Adapter):
    """Householder reflections: W is reflected r times in learned directions (arXiv 2405.17484)."""

    title: ClassVar[str] = "HRA"
    rate: ClassVar[float] = 2e-3

    kind: Literal["hra"] = "hra"
    r: int = Field(8, ge=2, multiple_of=2, description="Reflections; an even number, so that they cancel out at the start.")
    apply_GS: bool = Field(False, description="Keep the directions at right angles (Gram-Schmidt).")


class Road(Adapter):
    """Rotary adaptation: pairs of outputs are turned and scaled (arXiv 2409.00119)."""

    title: ClassVar[str] = "RoAd"
    rate: ClassVar[float] = 5e-3

    kind: Literal["road"] = "road"
    variant: Literal["road_1", "road_2", "road_4"] = Field("road_1", description="Weights per output: 1, 2 or 4.")
    group_size: int = Field(64, ge=2, multiple_of=2, description="Outputs from which pairs are made; divides a module's outputs.")


class Loha(Adapter):
    """Hadamard product of two low-rank updates, so the rank may reach r² (arXiv 2108.06098)."""

    title: ClassVar[str] = "LoHa"
    rate: ClassVar[float] = 2e-3

    kind: Literal["loha"] = "loha"
    r: int = Field(8, ge=1, description="Rank of either update.")
    alpha: int = Field(8, ge=1, description="Scale of the update: alpha / r.")
    rank_dropout: float = Field(0.0, ge=0, lt=1, description="Share of the update's rows left out in a training step.")


class Lokr(Adapter):
    """Kronecker product of a small and a low-rank matrix (arXiv 2309.14859)."""

    title: ClassVar[str] = "LoKr"
    rate: ClassVar[float] = 2e-3

    kind: Literal["lokr"] = "lokr"
    r: int = Field(8, ge=1, description="Rank of the larger factor.")
    alpha: int = Field(8, ge=1, description="Scale of the update: alpha / r.")
    decompose_factor: int = Field(-1, ge=-1, description="Side of the small factor; -1 takes the two nearest to each other.")
    rank_dropout: float = Field(0.0, ge=0, lt=1, description="Share of the update's rows left out in a training step.")


class Delora(Adapter):
    """Low-rank update of bounded size: its direction and its strength are learned apart (arXiv 2503.18225)."""

    title: ClassVar[str] = "DeLoRA"
    rate: ClassVar[float] = 5e-4

    kind: Literal["delora"] = "delora"
    r: int = Field(8, ge=1, description="Rank of the update.")
    delora_lambda: int = Field(15, ge=1, description="The strength at the start: a bound on the update's size.")
    module_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the update.")


class Gralora(Adapter):
    """LoRA in blocks: W is cut into k × k parts with a low-rank update each (arXiv 2505.20355)."""

    title: ClassVar[str] = "GraLoRA"
    rate: ClassVar[float] = 5e-4

    kind: Literal["gralora"] = "gralora"
    r: int = Field(32, ge=1, description="Rank of all the parts of a row together; `gralora_k` divides it.")
    alpha: int = Field(64, ge=1, description="Scale of the update: alpha / r.")
    gralora_k: int = Field(2, ge=1, description="Parts per side; divides a module's inputs and outputs.")
    gralora_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the update.")


class Randlora(Adapter):
    """A full-rank update from frozen random matrices with learned scales (arXiv 2502.00987)."""

    title: ClassVar[str] = "RandLoRA"
    rate: ClassVar[float] = 2e-4

    kind: Literal["randlora"] = "randlora"
    r: int = Field(32, ge=1, description="Rank of one random matrix; a smaller one means more of them, hence more weights.")
    randlora_alpha: int = Field(640, ge=1, description="Scale of the update: alpha / r.")
    randlora_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the update.")


class Vera(Adapter):
    """One pair of frozen random matrices for all layers, with learned scales per layer (arXiv 2310.11454)."""

    title: ClassVar[str] = "VeRA"
    rate: ClassVar[float] = 5e-3

    kind: Literal["vera"] = "vera"
    r: int = Field(256, ge=1, description="Rank of the random matrices.")
    vera_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the update.")
    d_initial: float = Field(0.1, gt=0, description="The inner scales at the start.")


class Vblora(Adapter):
    """LoRA whose matrices are mixed from one bank of vectors that all layers share (arXiv 2405.15179)."""

    title: ClassVar[str] = "VB-LoRA"
    rate: ClassVar[float] = 2e-3

    kind: Literal["vblora"] = "vblora"
    r: int = Field(4, ge=1, description="Rank of the update.")
    num_vectors: int = Field(256, ge=2, description="Vectors in the bank.")
    vector_length: int = Field(64, ge=1, description="Length of a vector; divides a module's inputs and outputs.")
    topk: int = Field(2, ge=1, description="Vectors that are mixed into one.")
    vblora_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the update.")


class Fourierft(Adapter):
    """A few learned coefficients of the update's Fourier transform (arXiv 2405.03003)."""

    title: ClassVar[str] = "FourierFT"
    rate: ClassVar[float] = 1e-2

    kind: Literal["fourierft"] = "fourierft"
    n_frequency: int = Field(1000, ge=1, description="Coefficients per module.")
    scaling: float = Field(150.0, gt=0, description="Scale of the update.")


class Waveft(Adapter):
    """A few learned coefficients of the update's wavelet transform (arXiv 2505.12532)."""

    title: ClassVar[str] = "WaveFT"
    rate: ClassVar[float] = 2e-4

    kind: Literal["waveft"] = "waveft"
    n_frequency: int = Field(2592, ge=1, description="Coefficients per module.")
    scaling: float = Field(25.0, gt=0, description="Scale of the update.")


class C3a(Adapter):
    """Circular convolution: the update is made of circulant blocks, one learned row each (arXiv 2407.19342)."""

    title: ClassVar[str] = "C3A"
    rate: ClassVar[float] = 5e-3

    kind: Literal["c3a"] = "c3a"
    block_size: int = Field(64, ge=1, description="Side of a block; divides a module's inputs and outputs.")


class Miss(Adapter):
    """One small matrix that is repeated over shards of W (MiSS, arXiv 2409.15371)."""

    title: ClassVar[str] = "MiSS"
    rate: ClassVar[float] = 2e-4

    kind: Literal["miss"] = "miss"
    r: int = Field(64, ge=1, description="Rows of the matrix; at most a module's inputs.")
    miss_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the update.")


class LnTuning(Adapter):
    """Only the normalisation layers are trained (arXiv 2312.11420); their `target_modules` are `all-norm` or names of such."""

    title: ClassVar[str] = "LN tuning"
    rate: ClassVar[float] = 1e-3

    kind: Literal["ln_tuning"] = "ln_tuning"


AdapterMethod = (
    Lora
    | Ia3
    | Oft
    | Hra
    | Road
    | Loha
    | Lokr
    | Delora
    | Gralora
    | Randlora
    | Vera
    | Vblora
    | Fourierft
    | Waveft
    | C3a
    | Miss
    | LnTuning
)
