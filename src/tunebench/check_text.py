"""How `check` and `init` look on a terminal: tables of at most a hundred columns, and what is to be said in words."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from tunebench.data.findings import Findings, Gate, percent
from tunebench.data.gates import is_labelled
from tunebench.errors import listing
from tunebench.terminal import columns, printable

_WIDTH = 100
_WIDEST = 40


def findings_text(found: Findings) -> str:
    """What ``check`` prints: files, splits, labels, shared rows, lengths, gates, and in words what else is to be said."""
    tables = [_files_table(found), _splits_table(found), _labels_table(found), _shared_table(found)]
    tables += [_lengths_table(found), _scripts_table(found), _cleaned_table(found)]
    lists = (
        ("train would refuse this", [*found.refused, *(line for item in found.files for line in item.examples)]),
        ("look alike", [f"{rarer!r} and {commoner!r}" for rarer, commoner in found.look_alikes]),
        ("examples", found.examples),
        ("warnings", found.warnings),
        ("notes", [*(item.remark for item in found.files if item.remark), *found.notes]),
    )
    told = ["\n".join([title, *map(_item, lines)]) for title, lines in lists if lines]
    failed = len(found.failed())
    verdict = f"{failed} of {len(found.gates)} gates failed" if failed else f"all {len(found.gates)} gates passed"
    todo = [f"{gate.name}: {gate.remedy}" for gate in found.failed()]
    gates = [_gates_table(found.gates), *(["\n".join(["what to do", *map(_item, todo)])] if todo else [])]
    return "\n\n".join([f"{printable(found.recipe)}: {verdict}", *filter(None, tables), *told, *gates])


def draft_text(made: dict[str, Any]) -> str:
    """What ``init`` prints: what stands in the recipe, why, and what to do next."""
    settings = made["settings"] | made["settings"].get("base", {})
    rows = [
        (key, _setting(settings["model"] if key == "base" else settings.get(key, "")), why)
        for key, why in made["reasons"].items()
    ]
    lines = [f"{made['recipe']} is written", "", columns(rows, right=False), "", "next:", *(f"  {line}" for line in made["next"])]
    return "\n".join(printable(line, keep="\n") for line in lines)


def _setting(value: Any) -> str:
    """``{fraction: 0.1, stratify: true}`` as ``0.1``: the rest is said in words."""
    text = str(next(iter(value.values())) if isinstance(value, dict) else value)
    return text if len(text) <= _WIDEST else f"…{text[1 - _WIDEST :]}"


def _item(line: str) -> str:
    return textwrap.fill(printable(line), _WIDTH, initial_indent="  - ", subsequent_indent="    ", break_on_hyphens=False)


def _clipped(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _aligned(rows: Sequence[Sequence[str]], *numbers: int) -> str:
    """Columns of text, and those at the places ``numbers`` to the right."""
    widths = {i: max(len(row[i]) for row in rows) for i in numbers}
    return columns([[cell.rjust(widths.get(i, 0)) for i, cell in enumerate(row)] for row in rows], right=False)


def _files_table(found: Findings) -> str:
    rows = [
        (
            _clipped(item.file.rpartition("/")[2], 30),
            f"{item.rows:,}",
            f"{sum(item.unsound.values()) + item.doubled_ids:,}",
            item.encoding or "-",
            repr(item.delimiter) if item.delimiter else "-",
            _clipped(listing(item.columns, 6), _WIDEST),
        )
        for item in found.files
    ]
    return _aligned([("file", "rows", "unsound", "encoding", "delimiter", "columns"), *rows], 1, 2)


def _splits_table(found: Findings) -> str:
    rows = [
        (
            name,
            f"{part.rows:,}",
            f"{part.repeated:,}",
            f"{part.contradictory:,}",
            _clipped(part.source, 35) + (f", {part.left_out:,} rows left out" if part.left_out else ""),
        )
        for name, part in found.splits.items()
    ]
    return _aligned([("split", "rows", "repeated", "contradictory", "from"), *rows], 1, 2, 3)


def _labels_table(found: Findings, most: int = 15) -> str:
    """Rows and share of each label by split, and how much of it is cut in training."""
    if not is_labelled(found.splits["train"]):
        return ""
    labels = list(dict.fromkeys(name for part in found.splits.values() for name in part.labels))
    train = found.splits["train"].lengths
    rows: list[tuple[str, ...]] = [("label", *found.splits, *(["cut in train"] if train.cut is not None else []))]
    for label in labels[:most]:
        counts = [part.labels.get(label, 0) for part in found.splits.values()]
        shares = [f"{n:,} ({percent(n / part.rows)})" for n, part in zip(counts, found.splits.values(), strict=True)]
        cut = [percent(train.cut.get(label, 0) / max(1, train.measured.get(label, 0)))] if train.cut is not None else []
        rows.append((_clipped(label, 24), *shares, *cut))
    more = f"\n… and {len(labels) - most:,} more labels" if len(labels) > most else ""
    guess = ", ".join(f"{name} {percent(part.majority)}" for name, part in found.splits.items())
    return f"{columns(rows)}{more}\nalways answering {printable(_clipped(labels[0], 24))!r} is right in: {guess}"


def _shared_table(found: Findings) -> str:
    rows = [
        (f"{item.later} in {item.earlier}", f"{item.exact:,}", f"{item.near:,}", f"{item.looked_up:,}", percent(item.share))
        for item in found.shared
    ]
    return columns([("rows of one split in another", "exactly", "nearly", "looked up", "share"), *rows]) if rows else ""


def _lengths_table(found: Findings) -> str:
    head = ("p50", "p90", "p99", "max")
    cut = [f"over {found.max_length:,}", "share"] if found.max_length is not None else []
    rows = []
    for name, part in found.splits.items():
        sizes = part.lengths
        over = [f"{sum(sizes.cut.values()):,}", percent(sizes.cut_share)] if sizes.cut is not None else []
        quantiles = [f"{sizes.quantiles[key]:,}" if sizes.quantiles else "-" for key in head]
        rows.append((name, *quantiles, *over, f"{sum(sizes.measured.values()):,}"))
    return columns([(f"length in {found.unit}", *head, *cut, "measured"), *rows])


def _scripts_table(found: Findings, most: int = 8) -> str:
    """What the base's tokenizer makes of the training texts, script by script."""
    rows = [
        (item.script, percent(item.share), f"{item.tokens:.2f}", percent(item.in_bytes), percent(item.unknown))
        for item in found.scripts[:most]
    ]
    head = ("characters of train", "share", "tokens per character", "in bytes", "unknown")
    more = f"\n… and {len(found.scripts) - most} rarer scripts" if len(found.scripts) > most else ""
    return f"{columns([head, *rows])}{more}" if rows else ""


def _cleaned_table(found: Findings) -> str:
    """What cleaning would do to the texts of a corpus."""
    reasons = list(dict.fromkeys(reason for counts in found.cleaned.values() for reason in counts))
    rows = [(reason, *(f"{counts.get(reason, 0):,}" for counts in found.cleaned.values())) for reason in reasons]
    return columns([("texts that cleaning changes or drops", *found.cleaned), *rows]) if rows else ""


def _gates_table(gates: Sequence[Gate]) -> str:
    def shown(gate: Gate, value: float) -> str:
        return percent(value) if gate.is_share else f"{value:,.0f}"

    rows = [
        ("passed" if gate.passed else "FAILED", gate.name, shown(gate, gate.value), shown(gate, gate.limit)) for gate in gates
    ]
    return _aligned([("gate", "", "found", "at most"), *rows], 2, 3)
