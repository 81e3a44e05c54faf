"""Parameter counts and plans of recipes that are being filled in: asked of the answering process, beside the page."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Protocol

from tunebench.errors import TunebenchError

_KEPT = 200


class Counting(Protocol):
    """What is asked: the answering process, or a stand-in."""

    def params(self, recipe_text: str) -> dict[str, Any]:
        """The report of `tunebench params`."""

    def plan(self, recipe_text: str) -> dict[str, Any]:
        """That of `tunebench plan`, not timed."""


@dataclass
class Estimate:
    """What is known of a recipe by now; a part that could not be had is told in ``errors``."""

    params: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None
    errors: tuple[str, ...] = ()
    is_whole: bool = False


class Estimates:
    """Answers by the text of the recipe. The newest question goes first; of older ones that nobody waits for, none is asked."""

    def __init__(self, counting: Counting) -> None:
        self._counting = counting
        self._known: OrderedDict[str, Estimate] = OrderedDict()
        self._wanted: str | None = None
        self._is_at_work = False
        self._lock = threading.Lock()

    def of(self, recipe_text: str) -> Estimate:
        """What is known now, at once; what is missing is asked for."""
        with self._lock:
            found = self._known.get(recipe_text)
            if found is not None and found.is_whole:
                return found
            self._wanted = recipe_text
            if not self._is_at_work:
                self._is_at_work = True
                threading.Thread(target=self._work, daemon=True).start()
            return found or Estimate()

    def _work(self) -> None:
        try:
            while (text := self._next()) is not None:
                self._answer(text)
        finally:
            self._is_at_work = False

    def _answer(self, text: str) -> None:
        found, errors = Estimate(), list[str]()
        for part in ("params", "plan"):
            try:
                setattr(found, part, getattr(self._counting, part)(text))
            except (TunebenchError, OSError) as error:
                errors.append(str(error))
            self._keep(text, found)
        found.errors, found.is_whole = tuple(dict.fromkeys(errors)), True

    def _next(self) -> str | None:
        with self._lock:
            text, self._wanted = self._wanted, None
            if text is None or ((known := self._known.get(text)) is not None and known.is_whole):
                self._is_at_work = False
                return None
            return text

    def _keep(self, text: str, found: Estimate) -> None:
        with self._lock:
            self._known[text] = found
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
