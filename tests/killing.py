"""A process that has imported everything and forks a fresh `tunebench` for every request, so that twenty can be killed.

One request per line of standard input: a JSON list of arguments and the file for what is printed. It answers with the
process id, and once that process is gone with its exit code (negative: killed by that signal). In the forked process the
saved model is proved without a process of its own, and no curves are drawn.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any


class Nursery:
    """Client side. Use as a context manager."""

    def __enter__(self) -> Nursery:
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.kill()
        self._server.communicate()

    def start(self, arguments: list[str], log: Path) -> int:
        """Begin `tunebench ARGUMENTS`; the process id."""
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps([arguments, str(log)]) + "\n")
        self._server.stdin.flush()
        return self._answer()

    def wait(self) -> int:
        """The exit code of the process begun last."""
        return self._answer()

    def _answer(self) -> int:
        assert self._server.stdout is not None
        return int(self._server.stdout.readline())


def _run(arguments: list[str], log: str) -> None:
    import pytest
    import torch

    from tunebench import cli
    from tunebench.compare import curves
    from tunebench.model import bundle, worker
    from tunebench.runs.run import Run

    class Here:
        def __enter__(self) -> Here:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def logits(self, run: Path, form: str, texts: list[str], batch_size: int) -> Any:
            return bundle.open_scorer(Run(run), form, batch_size).score(texts).logits

    torch.set_num_threads(1)  # a forked process must not use the thread pool of its parent
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    patch = pytest.MonkeyPatch()
    patch.setattr(worker, "ProofWorker", Here)
    patch.setattr(curves, "draw_curves", lambda *_: None)
    patch.setattr(sys, "argv", ["tunebench", *arguments])
    cli.main()


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def main() -> None:
    """Server side."""
    import sklearn.linear_model  # noqa: F401 - warm

    import tunebench.model.bundle
    import tunebench.train.session  # noqa: F401

    for line in sys.stdin:
        arguments, log = json.loads(line)
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            code = 1
            try:
                _run(arguments, log)
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _say(child)
        _say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main()
