"""A GGUF file as an ordinary model folder: float32 safetensors, config and ``tokenizer.json``.

Run as a process of its own by ``runs/imports.py``, whose room holds no torch: ``python -m tunebench.model.convert FILE FOLDER``.
What is wrong with the file goes to standard output as one JSON line, with exit code 2.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer


def convert(source: Path, target: Path) -> None:
    """Dequantise ``source`` into the folder ``target``."""
    place: dict[str, Any] = {"gguf_file": source.name, "local_files_only": True}
    model: Any = AutoModelForCausalLM.from_pretrained(str(source.parent), **place, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(str(source.parent), **place)
    # transformers goes on taking the model for quantised, and would not save it, although its weights are plain by now
    model.hf_quantizer, model.is_quantized = None, False
    del model.config.quantization_config
    model.save_pretrained(str(target))
    tokenizer.save_pretrained(str(target))


def main() -> None:
    """Convert as told on the command line."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print stays apart from the answer
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except Exception as error:  # of many kinds, from gguf and transformers alike
        if isinstance(error, SafetensorError) or (isinstance(error, OSError) and error.errno is not None):
            raise  # about the disk, not the file
        answers.write(json.dumps({"fault": f"not readable as GGUF ({type(error).__name__}: {error})"}) + "\n")
        answers.flush()
        sys.exit(2)


if __name__ == "__main__":
    main()
