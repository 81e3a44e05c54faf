"""The README of an export: what it is, how near to the run it was proved to be, and lines of Python that need no tunebench."""

from __future__ import annotations

from typing import Any

_ENGINE = {
    "onnx": (
        """os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # nothing is sent to anybody
import onnxruntime""",
        """engine = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])""",
        """engine.run(None, {"input_ids": np.array([row])})[0][0]""",
    ),
    "openvino": (
        """sys.modules["openvino_telemetry"] = None  # nothing is sent to anybody
import openvino""",
        """hints = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "128"}
engine = openvino.compile_model("model.xml", "CPU", hints)""",
        """engine([np.array([row])])[0][0]""",
    ),
}
_CUT = """tokenizer.enable_truncation(told["max_length"], direction=told["truncation_side"])
rows = [tokenizer.encode(text).ids for text in texts]"""
_CUT_MIDDLE = """rows, most, half = [tokenizer.encode(text).ids for text in texts], told["max_length"], told["max_length"] // 2
rows = [row if len(row) <= most else row[: most - half] + row[-half:] for row in rows]"""


def export_card(told: dict[str, Any], run: str, cleaning: str) -> str:
    """The page for what ``export.json`` tells; ``cleaning`` says what the recipe does to texts first."""
    kind, packages = told["format"].removesuffix("-int8"), "onnxruntime" if "onnx" in told["format"] else "openvino"
    first, opened, answer = _ENGINE[kind]
    cut = _CUT_MIDDLE if told["truncation_side"] == "middle" else _CUT
    system = "import json\nimport sys\n" if kind == "openvino" else "import json\nimport os\n"
    return f"""# {run}, as {told["format"]}

{_verdict(told)}

## Use without tunebench

With `pip install {packages} tokenizers numpy`, in this folder:

```python
{system}
import numpy as np
from tokenizers import Tokenizer
{first}

texts = ["a text to classify"]
told = json.load(open("export.json", encoding="utf-8"))
tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.no_padding()
{cut}
{opened}
logits = np.array([{answer} for row in rows], dtype=np.float64)
odds = np.exp(logits - logits.max(axis=1, keepdims=True))
probabilities = odds / odds.sum(axis=1, keepdims=True)  # columns in the order of told["labels"]
```

One row at a time: the graph has no attention mask, so rows of unequal length cannot share a call. Texts are cut at
{told["max_length"]} tokens.{cleaning}
"""


def _verdict(told: dict[str, Any]) -> str:
    """What was proved and scored, in two sentences."""
    proved, rows, scores = told["proof"], f"{told['rows']:,} {told['split']} rows", told["scores"]
    shown = {side: f"{found['accuracy']['value']:.4f}" for side, found in scores.items()}
    lines = [] if told["passed"] else [f"**This export failed its proof and is not to be used:** {told['why']}.\n"]
    lines.append(
        f"Proof on {proved['rows']} rows against {proved['against']}: largest logit difference "
        f"{proved['largest_difference']:.2g}, {proved['label_flips']} label flips."
    )
    lines.append(f"On {rows}: accuracy {shown['export']} against torch's {shown['torch']}, {told['label_flips']:,} labels flip.")
    return "\n".join(lines)
