"""What `check` finds out about a recipe's data, as plain values. Of the test split there are counts only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tunebench.data.scripts import ScriptFindings


@dataclass(frozen=True)
class FileFindings:
    """The file of a split as it was read. ``unsound`` counts the rows that training refuses by what is wrong with them."""

    file: str
    split: str
    encoding: str | None
    delimiter: str | None
    remark: str | None
    columns: list[str]
    rows: int
    unsound: dict[str, int]
    doubled_ids: int
    examples: list[str]


@dataclass(frozen=True)
class Lengths:
    """How long texts are, measured on ``measured`` rows; ``cut`` of them, by label, are longer than ``max_length``.

    ``quantiles`` is None for the test split, ``cut`` where nothing is cut.
    """

    measured: dict[str, int]
    cut: dict[str, int] | None
    quantiles: dict[str, int] | None

    @property
    def cut_share(self) -> float:
        """Share of the measured rows that are cut."""
        return sum((self.cut or {}).values()) / max(1, sum(self.measured.values()))


@dataclass(frozen=True)
class SplitFindings:
    """A split: its sound rows, where they come from, and what stands twice in it.

    ``repeated`` rows have a text that an earlier row has; ``contradictory`` ones a text that also stands under another
    label. ``left_out`` rows are more than ``max_train_samples``. ``majority`` is the share of rows that have the most
    frequent label of the training rows, the accuracy of always answering it.
    """

    source: str
    rows: int
    left_out: int
    labels: dict[str, int]
    majority: float
    repeated: int
    contradictory: int
    lengths: Lengths


@dataclass(frozen=True)
class Shared:
    """Rows of a later split that stand in an earlier one: ``exact`` of all, ``near`` of the ``looked_up`` among the others."""

    later: str
    earlier: str
    rows: int
    exact: int
    looked_up: int
    near: int

    @property
    def share(self) -> float:
        """The share of rows that stand there exactly or nearly, the latter estimated where not all were looked up."""
        near = self.near / max(1, self.looked_up) * (self.rows - self.exact)
        return (self.exact + near) / max(1, self.rows)


@dataclass(frozen=True)
class Gate:
    """A figure that must not be more than ``limit``; a share where ``is_share``, else a number. ``remedy`` is what to do then."""

    name: str
    value: float
    limit: float
    is_share: bool
    remedy: str

    @property
    def passed(self) -> bool:
        """Whether the figure is within the limit."""
        return self.value <= self.limit


@dataclass(frozen=True)
class Findings:
    """All that was found. ``unit`` is what lengths are counted in; ``refused`` is why `train` would not begin.

    ``scripts`` is what the base's tokenizer makes of a sample of the training texts, empty without a base; ``cleaned`` how
    many texts of a split the cleaning of a corpus changed or dropped, by reason.
    """

    recipe: str
    task: str
    unit: str
    max_length: int | None
    files: list[FileFindings]
    splits: dict[str, SplitFindings]
    shared: list[Shared]
    scripts: list[ScriptFindings]
    cleaned: dict[str, dict[str, int]]
    look_alikes: list[tuple[str, str]]
    examples: list[str]
    refused: list[str]
    gates: list[Gate]
    warnings: list[str]
    notes: list[str]

    def failed(self) -> list[Gate]:
        """The gates that did not pass."""
        return [gate for gate in self.gates if not gate.passed]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        shown = asdict(self)
        shown["gates"] = [{**asdict(gate), "passed": gate.passed} for gate in self.gates]
        shown["shared"] = [{**asdict(item), "share": round(item.share, 6)} for item in self.shared]
        return {**shown, "passed": not self.failed()}


def percent(share: float) -> str:
    """A share as ``1.2 %``."""
    return f"{100 * share:.1f} %"
