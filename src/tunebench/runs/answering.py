"""A process of its own that answers requests, one JSON line each, until its standard input ends; both sides of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from tunebench.errors import TunebenchError


class Answering:
    """Client side: ``python -m module``, started at once. ``close`` ends it."""

    def __init__(self, module: str, environment: Mapping[str, str] | None = None) -> None:
        """``environment`` is set for the process where the user has set nothing else."""
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed by close()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**(environment or {}), **os.environ},
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request. Raises TunebenchError with what went wrong there, or with the last words of a dead process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline() or "{}")
        except (BrokenPipeError, ValueError):  # it died, before or while it answered
            answer = {}
        if answer.get("error") or not answer:
            raise TunebenchError(answer.get("error") or self._last_words())
        return dict(answer)

    def is_alive(self) -> bool:
        """Say whether the process can still be asked."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process from another thread than the one that asks, which then gets an error."""
        self._process.kill()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def _last_words(self) -> str:
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        killed = "the process was killed; is the memory too small?" if code < 0 else f"the process ended with exit code {code}"
        return lines[-1] if lines else killed


def serve(open_answers: Callable[[], Callable[[dict[str, Any]], dict[str, Any]]]) -> None:
    """Server side: what ``open_answers`` gives answers every request; it may import what takes long while none has come yet."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print goes to the log, never between the answers
    answer = open_answers()
    for line in sys.stdin:
        try:
            found = answer(json.loads(line))
        except TunebenchError as error:
            found = {"error": str(error)}
        except Exception as error:  # noqa: BLE001 - told to the client, which raises it
            found = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(found) + "\n")
        answers.flush()
