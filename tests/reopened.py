"""A fresh process that cannot import tunebench opens many saved adapters with plain peft, on bases that no one has touched.

``logits_in_a_fresh_process`` runs this file as a script. Every base is opened once and copied, so that hundreds of adapters
cost seconds.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def logits_in_a_fresh_process(adapters: Sequence[tuple[Path, Path]], ids: list[list[int]], scratch: Path) -> list[np.ndarray]:
    """Logits of the ids ``(B, T)``, all of one length, for every (base, adapter); 0 is padding."""
    request, answer = scratch / "request.json", scratch / "logits.npz"
    request.write_text(json.dumps({"adapters": [[str(part) for part in pair] for pair in adapters], "ids": ids}), "utf-8")
    done = subprocess.run(
        [sys.executable, "-I", __file__, str(request), str(answer)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with np.load(answer) as found:
        return [found[str(i)] for i in range(len(adapters))]


def _answer(request: dict[str, Any]) -> dict[str, np.ndarray]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    torch.set_num_threads(1)
    ids = torch.tensor(request["ids"])
    found: dict[str, np.ndarray] = {}
    bases: dict[str, Any] = {}
    for number, (base, adapter) in enumerate(request["adapters"]):
        if base not in bases:
            bases[base] = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2, dtype=torch.float32)
            bases[base].config.pad_token_id = 0
        model = PeftModel.from_pretrained(copy.deepcopy(bases[base]), adapter).eval()
        with torch.no_grad():
            found[str(number)] = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.numpy()
    return found


if __name__ == "__main__":
    sys.modules["tunebench"] = None  # type: ignore[assignment]  # whoever imports it now fails
    warnings.simplefilter("ignore")
    np.savez(sys.argv[2], **_answer(json.loads(Path(sys.argv[1]).read_text("utf-8"))))
