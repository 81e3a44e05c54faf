"""A process that answers without models: it gives back what it was asked, or waits, fails or dies as it is told."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunebench.errors import InputError
from tunebench.runs.answering import serve


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    text = request["text"]
    if text == "refuse":
        raise InputError("text", "refused")
    if text == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if text.startswith("wait "):
        Path(text.removeprefix("wait ")).write_text("waiting")
        time.sleep(60)
    # An answer may have its own key "error", which is None where all is well: an answer to a question with options does.
    return {"error": None, "text": text, "process": os.getpid(), "spins": os.environ.get("OMP_WAIT_POLICY")}


def _ready() -> Callable[[dict[str, Any]], dict[str, Any]]:
    return _answer


if __name__ == "__main__":
    serve(_ready)
