"""Which one to take: rules over the rows of a comparison and the forms that their models were timed in.

A *candidate* is a row in one form: ``torch``, the saved model as it was scored; ``torch-merged``, proved to be the same; or an
export, which counts with what it lost on validation itself. The rules (``RULES``) are printed beside the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tunebench.compare.statements import Statement, told_p
from tunebench.runs.exports import MOST_LOST, TORCH, TORCH_MERGED

FAMILIES = ("constant", "rule", "linear", "encoder", "causal LM")
"""From the simplest to the most complex."""
_BASELINES = FAMILIES[:3]
SAME_SIZE, SAME_SPEED = 1.1, 1.05
"""Factors up to which models count as equally large, and forms as equally fast."""
RULES = (
    "What failed, did not pass its proof, was not scored itself or misses a limit is left out; a figure that is not known meets "
    "no limit.",
    "Of the rest the best accuracy on the test rows leads; an export has that of its run less what it lost on validation.",
    "Those that cannot be told from the leader (not distinguishable after Holm, and the interval of the difference holds 0), are "
    "no more complex and lost at most 0.4 points by their form are as good. Complexity is, in order: constant, rule, linear, "
    "encoder, causal LM; then parameters in all, where up to a tenth more counts as the same.",
    "Of these the fastest is taken, by its median latency for one text, and of those within 5 % of that the smallest; where a "
    "row was not timed, the smallest of all: the simplest family, then fewest parameters, then fewest bytes saved.",
    "Baselines are rows like all others, and may win.",
)
Row = dict[str, Any]


@dataclass(frozen=True)
class Limits:
    """What has to hold of what is taken: least accuracy (0 to 1), most median latency of one text, most memory; no GPU."""

    min_accuracy: float | None = None
    max_latency_ms: float | None = None
    max_memory_bytes: float | None = None
    no_gpu: bool = False


@dataclass(frozen=True)
class Candidate:
    """A row in one form: its accuracy on the test rows less what the form ``lost`` on validation, and what was timed of it."""

    row: Row
    backend: str
    accuracy: float
    lost: float
    figures: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name of its row."""
        return str(self.row["run"])

    @property
    def form(self) -> str | None:
        """The backend it is taken as; of a baseline there is one form, without a name."""
        return None if self.row["family"] in _BASELINES else self.backend

    @property
    def latency(self) -> float | None:
        """Median milliseconds for one text; None where it was not timed."""
        return self.figures.get("p50_ms")

    @property
    def size(self) -> tuple[int, int, int]:
        """Family, parameters, bytes saved: what smaller and larger mean."""
        return FAMILIES.index(self.row["family"]), self.row["total_parameters"], self.row["adapter_bytes"]


def candidates(rows: Sequence[Row], limits: Limits) -> tuple[list[Candidate], list[dict[str, Any]]]:
    """Who may be taken, best accuracy first, and who may not, with the reason (``run``, ``backend``, ``reason``)."""
    found, refused = [], []
    for row in rows:
        if row["error"] is not None:
            refused.append({"run": row["run"], "backend": None, "reason": f"failed: {row['error']}"})
            continue
        for backend, figures in ({TORCH: {}} | row["forms"]).items():
            lost = 0.0 if backend in (TORCH, TORCH_MERGED) else _lost(figures)
            one = Candidate(row, backend, row["accuracy"] - (lost or 0.0), lost or 0.0, figures)
            reasons = ["was not scored itself"] if lost is None else _missed(one, limits)
            if (figures.get("proof") or {}).get("passed") is False:
                reasons = ["failed its proof, and is never used"]
            if reasons:
                refused.append({"run": row["run"], "backend": one.form, "reason": "; ".join(reasons)})
            else:
                found.append(one)
    return sorted(found, key=lambda one: -one.accuracy), refused


def _lost(figures: Mapping[str, Any]) -> float | None:
    """What a form lost in accuracy on validation against the saved one; None where it was not scored. Gains are not counted."""
    own, saved = figures.get("accuracy"), figures.get("reference_accuracy")
    return None if own is None or saved is None else max(0.0, float(saved) - float(own))


def _missed(one: Candidate, limits: Limits) -> list[str]:
    """The limits that a candidate misses, or cannot be shown to keep."""
    missed, timed = [], f"is not known; time it with: tunebench bench {one.row['cells'][0]['path']}"
    memory, latency = one.figures.get("peak_memory_bytes"), one.latency
    if limits.no_gpu and one.row["needs_gpu"]:
        missed.append("needs a GPU")
    if limits.no_gpu and one.figures.get("peak_gpu_memory_bytes") is not None:
        memory, latency, timed = None, None, "without a GPU is not known; it was timed on one"
    if limits.min_accuracy is not None and one.accuracy < limits.min_accuracy:
        missed.append(f"its accuracy is {one.accuracy:.4f}, the limit {limits.min_accuracy:g}")
    if limits.max_latency_ms is not None and (latency is None or latency > limits.max_latency_ms):
        missed.append(
            f"its latency {timed}" if latency is None else f"takes {latency:.3g} ms, the limit is {limits.max_latency_ms:g} ms"
        )
    if limits.max_memory_bytes is not None and (memory is None or memory > limits.max_memory_bytes):
        told = f"takes {memory / 1e6:,.0f} MB, the limit is {limits.max_memory_bytes / 1e6:,.0f} MB" if memory is not None else ""
        missed.append(told or f"its memory {timed}")
    return missed


def choose(
    found: Sequence[Candidate], refused: Sequence[dict[str, Any]], made: Sequence[Statement], limits: Limits
) -> dict[str, Any]:
    """The verdict: ``take`` and ``backend`` (None where nothing is left), ``why``, the rules, and who was left out.

    ``made`` must hold a statement about every candidate's row against that of the first candidate.
    """
    verdict = {"limits": asdict(limits), "rules": list(RULES), "refused": list(refused)}
    if not found:
        return verdict | {"take": None, "backend": None, "why": "Nothing meets the limits; what each misses is told below."}
    leader = found[0]
    against = {
        statement["worse"] if statement["better"] == leader.name else statement["better"]: statement
        for statement in made
        if leader.name in (statement["better"], statement["worse"])
    }
    equal = [one for one in found if _as_good(one, leader, against)]
    taken = _easiest(equal)
    why = _why(taken, leader, equal, against.get(taken.name)) + _plainly(taken, found)
    return verdict | {"take": taken.name, "backend": taken.form, "why": why}


def _as_good(one: Candidate, leader: Candidate, against: Mapping[str, Statement]) -> bool:
    if one is leader:
        return True
    if one.lost > MOST_LOST or (one.name != leader.name and _worse(against[one.name])):
        return False
    family, parameters, _ = one.size
    highest, most, _ = leader.size
    return family < highest or (family == highest and parameters <= SAME_SIZE * most)


def _worse(statement: Statement) -> bool:
    """Say whether a difference is seen: Holm's method may hide it among many statements, its own interval does not."""
    return bool(statement["distinguishable"] or statement["low"] > 0 or statement["high"] < 0)


def _easiest(equal: Sequence[Candidate]) -> Candidate:
    """The fastest where every row was timed in some form, else the smallest; of equals the most accurate."""

    def order(one: Candidate) -> tuple[Any, ...]:
        return (*one.size, float("inf") if one.latency is None else one.latency, -one.accuracy, one.backend, one.name)

    timed = [one for one in equal if one.latency is not None]
    if {one.name for one in timed} == {one.name for one in equal}:
        best = min(one.latency for one in timed if one.latency is not None)
        return min((one for one in timed if one.latency is not None and one.latency <= SAME_SPEED * best), key=order)
    return min(equal, key=order)


def _why(taken: Candidate, leader: Candidate, equal: Sequence[Candidate], statement: Statement | None) -> str:
    """The verdict in one or two sentences."""
    speed = "" if taken.latency is None else f", {taken.latency:.3g} ms for one text"
    lost = f", {100 * taken.lost:.1f} points less on validation than the saved form" if taken.lost else ""
    figures = f"accuracy {taken.row['accuracy']:.4f}{lost}{speed}"
    if taken.name == leader.name:
        others = sorted({one.name for one in equal} - {taken.name})
        told = f"{taken.name} has the best accuracy of what meets the limits ({figures})"
        told += f"; by these rules no better, though not to be told from it: {', '.join(others)}." if others else "."
    else:
        assert statement is not None
        gap = f"{100 * statement['difference']:.1f} points, {told_p(statement['p_holm'])}"
        better = _better(taken, equal, leader)
        told = f"{taken.name} cannot be told from {leader.name}, the best in accuracy ({gap}), and is {better} ({figures})."
    return told


def _plainly(taken: Candidate, found: Sequence[Candidate]) -> str:
    """That a baseline wins, where it was set against something else than baselines."""
    if taken.row["family"] not in _BASELINES or all(one.row["family"] in _BASELINES for one in found):
        return ""
    return (
        f" A baseline ({taken.row['method']}) wins here: on these rows nothing more complex that meets the limits is shown to be "
        "worth its cost."
    )


def _better(taken: Candidate, equal: Sequence[Candidate], leader: Candidate) -> str:
    """What is better about the one taken than about the most accurate row."""
    times = [one.latency for one in equal if one.name == leader.name and one.latency is not None]
    words = ["faster"] if taken.latency is not None and times and taken.latency * SAME_SPEED < min(times) else []
    words += ["simpler" if taken.size[0] < leader.size[0] else "smaller"] if taken.size < leader.size else []
    return " and ".join(words) or "no worse otherwise"
