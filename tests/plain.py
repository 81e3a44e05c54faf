"""A process that cannot import tunebench opens saved models by the lines of their own cards.

``plain_probabilities`` runs this file as a script; that half imports what the cards import and nothing else.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Saved:
    """A model folder of a run, texts for it, and what the card's ``BASE`` is to be where it has one."""

    run: Path
    folder: str
    texts: list[str]
    base: Path | None = None


def plain_probabilities(models: list[Saved], scratch: Path) -> list[list[list[float]]]:
    """For every model, row for row, the probability of every label."""
    request = scratch / "request.json"
    items = [{"run": str(model.run), "folder": model.folder, "texts": model.texts, "base": str(model.base)} for model in models]
    request.write_text(json.dumps(items), encoding="utf-8")
    done = subprocess.run([sys.executable, "-I", __file__, str(request)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[list[list[float]]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _answer(item: dict[str, Any]) -> list[list[float]]:
    """Run the card's python block in the run directory, on other texts."""
    os.chdir(item["run"])
    block = re.search(r"```python\n(.*?)```", Path(item["folder"], "README.md").read_text("utf-8"), re.DOTALL)
    assert block is not None
    code, replaced = re.subn(r"(?m)^texts = .*$", lambda _: f"texts = {item['texts']!r}", block.group(1))
    assert replaced == 1
    code = re.sub(r"(?m)^BASE = .*$", lambda _: f"BASE = {item['base']!r}", code)
    names: dict[str, Any] = {}
    exec(compile(code, "card", "exec"), names)
    answer: list[list[float]] = names["probabilities"].tolist()
    return answer


if __name__ == "__main__":
    sys.modules["tunebench"] = None  # type: ignore[assignment]  # whoever imports it now fails
    answers = [_answer(item) for item in json.loads(Path(sys.argv[1]).read_text("utf-8"))]
    assert not [name for name in sys.modules if name.startswith("tunebench.")]
    sys.stdout.write("\n" + json.dumps(answers) + "\n")
