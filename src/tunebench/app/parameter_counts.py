"""What methods cost on well-known bases, counted in the background by the same counter as `tunebench params`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunebench.errors import TunebenchError
from tunebench.recipe.load import dump_yaml

BERT, DISTILBERT = "bert-base-uncased", "distilbert-base-uncased"


@dataclass(frozen=True)
class Case:
    """A base with a method and the settings that differ from its defaults."""

    base: str
    method: str
    settings: Mapping[str, int] = field(default_factory=dict)

    @property
    def recipe(self) -> str:
        """The recipe that is counted; its data are never read."""
        method = {"kind": self.method, **self.settings}
        data = {"train": "starter:reviews", "validation": {"fraction": 0.1}}
        return dump_yaml({"name": "counted", "base": {"model": self.base}, "data": data, "method": method})

    @property
    def name(self) -> str:
        """The method with its settings: ``lora r=8``."""
        return " ".join([self.method, *(f"{key}={value}" for key, value in self.settings.items())])


CASES = (
    Case(BERT, "full"),
    Case(BERT, "lora", {"r": 16}),
    Case(BERT, "lora", {"r": 8}),
    Case(BERT, "lora", {"r": 4}),
    Case(BERT, "ia3"),
    Case(BERT, "head"),
    Case(DISTILBERT, "full"),
    Case(DISTILBERT, "lora", {"r": 8}),
    Case(DISTILBERT, "ia3"),
)


@dataclass(frozen=True)
class Count:
    """One case, counted: ``weights`` are the method's own, ``trainable`` those and the new head, ``total`` base and head.

    ``saved_bytes`` is what is kept of it, in float32.
    """

    case: Case
    weights: int
    trainable: int
    total: int
    saved_bytes: int

    @property
    def times_fewer(self) -> float:
        """How many times fewer weights than the whole model has."""
        return self.total / self.weights


class Counting:
    """Counts all cases in a thread, as the process that counts takes seconds to start; ``counts`` grows meanwhile."""

    def __init__(self, ask: Callable[[str], Mapping[str, Any]], cases: Sequence[Case] = CASES) -> None:
        self.counts: list[Count] = []
        self.error: str | None = None
        self._ask, self._cases = ask, cases
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._thread.start()

    def is_done(self) -> bool:
        """Say whether nothing more will come."""
        return not self._thread.is_alive()

    def wait(self) -> None:
        """Return when nothing more will come."""
        self._thread.join()

    def _count(self) -> None:
        try:
            for case in self._cases:
                self.counts.append(count_of(case, self._ask(case.recipe)))
        except (TunebenchError, OSError) as error:
            self.error = str(error)


def count_of(case: Case, report: Mapping[str, Any]) -> Count:
    """The figures of a case out of the report of `tunebench params`."""
    trainable, total = int(report["trainable_parameters"]), int(report["total_parameters"])
    return Count(case, int(report["adapter_parameters"]) or trainable, trainable, total, int(report["saved_bytes"]))
