"""The side of those who ask: studio and chat load no torch, and a model that needs too much memory ends another process."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunebench.errors import TunebenchError
from tunebench.runs.answering import Answering

YIELDING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
"""Threads that wait give their core away: beside a training that has all cores, a text takes 0.07 s instead of 1.7 s."""


class Asking:
    """Asks the runs of a folder. The process that answers starts with the first question, and anew where it has died.

    Any thread may ask; one question is answered at a time. Every verb raises TunebenchError in the words of what went wrong.
    Runs are named as in commands: by their name in the folder or by a path. Relative data and bases of a recipe's text are
    looked for beside the recipes of the studio, ``RUNS/.studio/recipes``.
    """

    def __init__(self, runs: Path) -> None:
        self._runs = os.path.abspath(runs)
        self._lock = threading.Lock()
        self._answering: Answering | None = None

    def start(self) -> None:
        """Start the process now, so that it imports what takes seconds while nobody waits for it. Returns at once."""
        if self._lock.acquire(blocking=False):  # whoever asks at this moment has started it
            try:
                self._started()
            finally:
                self._lock.release()

    def predict(
        self, names: Sequence[str], texts: Sequence[str], *, backend: str | None = None, calibrated: bool = False
    ) -> list[dict[str, Any]]:
        """What several runs say of the same texts, one dict per run, in order.

        ``run``, ``device`` (``cpu`` or ``cuda``), ``backend``, ``load_seconds`` (0.0 where the model was open), ``seconds``
        of computing, and ``answers`` as ``jobs.predict_texts`` gives them; or ``run`` and ``error``: a run that cannot answer
        keeps no other from answering.
        """
        asked = {"names": list(names), "texts": list(texts), "backend": backend, "calibrated": calibrated}
        return list(self._ask("predict", asked)["runs"])

    def choose(self, name: str, passage: str, question: str, choices: Sequence[str]) -> dict[str, Any]:
        """The option that a multiple-choice run takes: ``jobs.choose``, with times and device as in ``predict``."""
        return self._ask("choose", {"name": name, "passage": passage, "question": question, "choices": list(choices)})

    def why(self, name: str, text: str) -> dict[str, Any]:
        """Which words the answer of a run hangs on.

        ``words``: each with ``text``, ``start``, ``end`` and ``weight``, by how much the ``probability`` of the ``predicted``
        label falls without it (negative where it rises). Places are those in ``text`` of the answer, which is the given text
        as the run's recipe cleans it. ``cut``: further words were not looked at. ``truncated``: the run did not read the whole
        text; words that it did not read weigh 0. ``seconds`` of computing, and the rest as in ``predict``.
        """
        return self._ask("why", {"name": name, "text": text})

    def params(self, recipe_text: str) -> dict[str, Any]:
        """What the recipe of one stage would train and save, by kind of layer: ``jobs.params``. No weights are needed."""
        return self._ask("params", {"recipe": recipe_text})

    def plan(self, recipe_text: str) -> dict[str, Any]:
        """Parameters, memory, disk and steps that a recipe needs: ``jobs.plan`` without its probe."""
        return self._ask("plan", {"recipe": recipe_text})

    def close(self) -> None:
        """End the process, also while it answers: whoever waits for it gets an error. A later question starts another."""
        if (answering := self._answering) is not None:
            answering.kill()
        with self._lock:
            self._end()

    def _ask(self, verb: str, asked: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            answering = self._started()
            try:
                return answering.ask({"verb": verb, "runs": self._runs, **asked})
            except TunebenchError:
                raise
            except BaseException:  # such as Ctrl-C: the answer still to come must not be taken for that to the next question
                self._end()
                raise

    def _started(self) -> Answering:
        if self._answering is not None and not self._answering.is_alive():
            self._end()
        if self._answering is None:
            self._answering = Answering("tunebench.asking.process", YIELDING)
        return self._answering

    def _end(self) -> None:
        if self._answering is not None:
            self._answering.close()
            self._answering = None
