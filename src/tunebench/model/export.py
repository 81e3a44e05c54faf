"""A trained model as a graph that runs without torch: the merged float32 model in ONNX, and the same in 8-bit integers.

The graph takes ``input_ids`` ``(rows, tokens)`` and gives ``logits`` ``(rows, labels)``. It has no attention mask: rows are
computed alone, or beside rows of the same length, so nothing is ever padded and no neighbour can have a part in a row.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from tunebench.errors import TunebenchError
from tunebench.model.bundle import load_saved
from tunebench.model.methods import merge_adapter
from tunebench.predict.onnx_backend import open_onnxruntime
from tunebench.predict.openvino_backend import open_openvino
from tunebench.runs.run import Run

INPUT, OUTPUT = "input_ids", "logits"
GRAPH = "model.onnx"


class TextGraph(nn.Module):
    """Logits of texts without padding: the architecture's own head, or the mean of the tokens' logits."""

    def __init__(self, model: nn.Module, pooling: str) -> None:
        super().__init__()
        self.model, self.pooling = model, pooling

    def forward(self, input_ids: Tensor) -> Tensor:
        """Ids ``(B, T)`` to logits ``(B, K)``."""
        logits: Tensor = self.model(input_ids=input_ids).logits
        return logits.mean(1) if self.pooling == "mean" else logits


def merged_model(run: Run) -> Any:
    """A run's model in float32 on the CPU, its adapter folded in."""
    assert run.recipe.base is not None
    model = load_saved(run, dequantized=run.recipe.base.quantization is not None)
    whole = merge_adapter(model) if isinstance(model, PeftModel) else model
    return whole.float().cpu().eval()


def to_onnx(model: Any, pooling: str, folder: Path) -> Path:
    """Write ``model.onnx`` into a folder; TunebenchError where the exporter cannot follow the architecture.

    Attention is written out, which engines fuse again by themselves; torch's fused form would come out with guards in it.
    """
    model.set_attn_implementation("eager")
    graph, path = TextGraph(model, pooling).requires_grad_(requires_grad=False).eval(), folder / GRAPH
    ids = torch.arange(4, 4 + 2 * 9).reshape(2, 9) % int(model.config.vocab_size)
    free = torch.export.Dim.DYNAMIC
    try:
        with _quiet():
            torch.onnx.export(
                graph,
                (ids,),
                str(path),
                dynamo=True,
                dynamic_shapes={INPUT: {0: free, 1: free}},
                input_names=[INPUT],
                output_names=[OUTPUT],
                external_data=_is_large(model),
                verbose=False,
            )
    except Exception as error:
        kind = type(model).__name__
        raise TunebenchError(
            f"torch cannot write {kind} as a graph ({type(error).__name__}: {str(error).strip()[:300]})"
        ) from error
    _forget_sources(path)
    return path


def to_int8(graph: Path) -> None:
    """The graph with its matrix products in 8-bit integers, in its place: weights by output channel, activations as they come."""
    open_onnxruntime()
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415 - an extra, and slow to import

    with _quiet():
        quantize_dynamic(
            str(graph), str(graph), op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QInt8
        )


def save_openvino(graph: Path, folder: Path, *, int8: bool = False) -> None:
    """``model.xml`` and ``model.bin`` in a folder, in place of an ONNX file there.

    With ``int8`` weights are kept as 8-bit integers with a scale by output channel; activations get theirs while it runs, by
    token and group of channels (predict/openvino_backend.py), so nothing has to be calibrated.
    """
    openvino = open_openvino()
    model = openvino.Core().read_model(str(graph))
    if int8:
        import nncf  # noqa: PLC0415 - an extra, and slow to import

        said = io.StringIO()  # progress bars, which would stand between the lines of --json
        with _quiet(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    openvino.save_model(model, str(folder / "model.xml"), compress_to_fp16=False)
    del model
    for path in folder.glob(f"{GRAPH}*"):
        path.unlink()


def _is_large(model: nn.Module) -> bool:
    """Above what fits one protobuf file, weights lie beside the graph."""
    return sum(item.numel() * item.element_size() for item in model.parameters()) > 1_800_000_000


def _forget_sources(path: Path) -> None:
    """Take out what the exporter notes of each node: source files and lines of this installation."""
    import onnx  # noqa: PLC0415 - an extra

    model = onnx.load(str(path), load_external_data=False)
    for item in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph, model):
        del item.metadata_props[:]
        item.doc_string = ""
    onnx.save(model, str(path))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Neither torch's exporter nor the quantizer speaks: what matters is proved afterwards."""
    known = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(known)
