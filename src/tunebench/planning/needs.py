"""What is needed, in terms that add up, and whether it is there."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from tunebench.errors import InputError

Resource = Literal["gpu", "ram", "disk"]
PROOF_PROCESS = "process of the proof"
"""What stands beside the training process, and is no part of its own peak."""
_UNITS = {f"{letter}b": 1000**power for power, letter in enumerate("mgt", 2)}
_UNITS |= {f"{letter}ib": 1024**power for power, letter in enumerate("mgt", 2)}
_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?) ?(?P<unit>[mgt]i?b)", re.IGNORECASE)


class Term(NamedTuple):
    """Bytes for one thing, and how they come about."""

    name: str
    bytes: int
    why: str


@dataclass(frozen=True)
class Need:
    """What is in use of a resource at once, during one part of a stage."""

    resource: Resource
    stage: str
    during: str
    terms: tuple[Term, ...]

    @property
    def bytes(self) -> int:
        """All terms together."""
        return sum(term.bytes for term in self.terms)

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        terms = [term._asdict() for term in self.terms]
        return {"resource": self.resource, "during": self.during, "bytes": self.bytes, "terms": terms}


@dataclass(frozen=True)
class Limit:
    """How much of a resource there is, and who says so."""

    resource: Resource
    bytes: int
    said_by: str


@dataclass(frozen=True)
class Shortage:
    """A part of a stage that needs more than there is, and what would change that."""

    stage: str
    during: str
    bytes: int
    remedies: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """Whether a resource suffices: the most that is needed at once, how much there is (None where nobody says), what is short."""

    resource: Resource
    needed: int
    limit: Limit | None
    shortages: tuple[Shortage, ...]

    @property
    def suffices(self) -> bool | None:
        """Whether there is enough; None where it is not known how much there is."""
        return None if self.limit is None else not self.shortages


@dataclass(frozen=True)
class StagePlan:
    """One training: what it changes, how long it is, what it needs.

    ``rows`` is None where the data is not at hand, and every step then as large as ``max_length`` allows. ``seconds`` holds
    ``start``, ``train`` (evaluations among it), ``score`` and ``total`` where a probe measured them.
    """

    name: str
    task: str
    method: str
    base: str
    parameters: dict[str, int]
    saved_bytes: int
    precision: str
    rows: int | None
    steps: int
    rows_per_step: int
    tokens_per_step: int
    largest_batch: tuple[int, int]
    evaluations: int
    needs: tuple[Need, ...]
    seconds: dict[str, float] | None
    probe: dict[str, Any] | None
    notes: tuple[str, ...] = ()

    def peak_bytes(self, resource: Resource) -> int | None:
        """Most that the training process itself has in use at once: as the probe measured it, else as it adds up."""
        measured = (self.probe or {}).get({"gpu": "peak_gpu_memory_bytes", "ram": "peak_memory_bytes"}.get(resource, ""))
        own = [need.terms for need in self.needs if (need.resource, need.during) == (resource, "training")]
        summed = [sum(term.bytes for term in terms if term.name != PROOF_PROCESS) for terms in own]
        return int(measured) if measured else max(summed, default=None)


@dataclass(frozen=True)
class Plan:
    """All stages of a recipe, and whether what they need is there."""

    recipe: str
    device: str
    stages: tuple[StagePlan, ...]
    verdicts: tuple[Verdict, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        shown = asdict(self)
        for stage, own in zip(shown["stages"], self.stages, strict=True):
            stage["needs"] = [need.as_dict() for need in own.needs]
        shown["verdicts"] = [asdict(item) | {"suffices": item.suffices} for item in self.verdicts]
        return shown


def parse_size(text: str) -> int:
    """Bytes of ``16GB``, ``512 MiB`` or ``1.5TB``; InputError for anything else."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or not float(found["number"]):
        raise InputError("size", f"expected a number with MB, GB, TB, MiB, GiB or TiB, such as 16GB, found {text!r}")
    return int(float(found["number"]) * _UNITS[found["unit"].lower()])
