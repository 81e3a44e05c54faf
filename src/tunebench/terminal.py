"""How jobs look on a terminal: progress out of events, and results as text. Nothing here decides anything."""

from __future__ import annotations

import os
import shutil
import sys
import time
import unicodedata
from collections.abc import Sequence
from typing import Any, TextIO

from tunebench.data.labels import shown_name
from tunebench.events import Evaluated, Event, Looked, Noted, Proved, Resumed, Scored, Staged, Started, Step, Stopped, Warned

LONG_SECONDS = 30 * 60
"""Of a training on the CPU that takes longer, it is said after ``SETTLED_STEPS`` what would make it faster."""
SETTLED_STEPS = 10


class Progress:
    """A reader of events: one moving line with an ETA on a terminal, one line per ``every`` steps elsewhere."""

    def __init__(self, every: int, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._moves = self._stream.isatty()
        self._every = every
        self._total = 0
        self._width = 0
        self._hint_is_due = False

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Staged):
            self._every = event.logging_steps
            self._line(f"stage {event.position}/{event.stages} {event.name}: {event.task}")
        elif isinstance(event, Started):
            self._total, self._hint_is_due = event.total_steps, event.device == "cpu"
            share = 100 * event.trainable_parameters / max(1, event.total_parameters)
            self._line(
                f"{event.train_rows:,} training rows, {event.total_steps:,} steps; trainable parameters "
                f"{event.trainable_parameters:,} of {event.total_parameters:,} ({share:.2f} %)"
            )
        elif isinstance(event, Resumed):
            self._total = event.total_steps
            self._line(f"goes on after step {event.step:,} of {event.total_steps:,}")
        elif isinstance(event, Step):
            self._step(event)
        elif isinstance(event, Evaluated) and event.split == "validation":
            best, scores = "  best so far" if event.best else "", event.scores
            told = ", ".join(f"{name} {scores[name]:.4f}" for name in ("accuracy", "loss") if name in scores)
            self._line(f"step {event.step}: validation {told}{best}")
        elif isinstance(event, Stopped):
            self._line(
                f"{event.reason} after {event.step} steps and {clock(event.seconds)}; best step {event.best_step}"
                if event.step
                else (f"fitted in {event.seconds:.1f} s" if event.seconds else "nothing is trained")
            )
        elif isinstance(event, Scored):
            told = (
                f"accuracy {event.accuracy:.4f}"
                if event.accuracy is not None
                else f"perplexity per character {event.perplexity:.4f}"
            )
            self._line(f"{event.split}: {told} on {event.n:,} rows (look {event.look})")
        elif isinstance(event, Looked):
            self._line(f"{event.split}: rows are shown by {event.by} (look {event.look})")
        elif isinstance(event, Proved):
            self._line(
                f"proof {event.name}: {'passed' if event.passed else 'FAILED'}, largest logit difference "
                f"{event.largest_difference:.1e} on {event.rows} rows, {event.label_flips} label flips"
            )
        elif isinstance(event, Warned):
            self._line(f"warning: {event.message}")
        elif isinstance(event, Noted):
            self._line(event.message)

    def _step(self, event: Step) -> None:
        left = event.seconds / event.step * (self._total - event.step)
        text = (
            f"step {event.step}/{self._total}  epoch {event.epoch:.2f}  loss {event.loss:.4f}  lr {event.learning_rate:.2e}  "
            f"grad_norm {event.grad_norm:.2f}  ETA {clock(left)}"
        )
        if self._moves:
            text = text[: shutil.get_terminal_size().columns - 1]  # a line that wraps cannot be written over
            self._stream.write("\r" + text.ljust(self._width))
            self._stream.flush()
            self._width = len(text)
        elif event.step % self._every == 0 or event.step == self._total:
            self._line(text)
        if self._hint_is_due and event.step >= SETTLED_STEPS:
            self._hint_is_due = False
            if left > LONG_SECONDS:
                self._line(
                    f"this takes about {clock(left)} on the CPU; faster: data.max_train_samples, a smaller base.max_length, "
                    "or a GPU (`tunebench env` says why none is used)"
                )

    def _line(self, text: str) -> None:
        clear = "\r" + " " * self._width + "\r" if self._width else ""
        self._width = 0
        self._stream.write(clear + text + "\n")
        self._stream.flush()


class RowCounter:
    """Progress of a stream whose length is not known: rows done and rows per second, at most twice a second."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._begun = self._shown = time.monotonic()

    def __call__(self, rows: int) -> None:
        """Show how many rows are done."""
        now = time.monotonic()
        if self._stream.isatty() and now - self._shown > 0.5:
            self._stream.write(f"\r{rows:,} rows, {rows / (now - self._begun):,.0f} rows/s ")
            self._stream.flush()
            self._shown = now

    def done(self) -> None:
        """Clear the line."""
        if self._shown != self._begun:
            self._stream.write("\r" + " " * 60 + "\r")


def clock(seconds: float) -> str:
    """Seconds as ``12 s``, ``3:05`` or ``1:02:05``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def printable(text: str, keep: str = "") -> str:
    """The text with control characters written out: no label may break a line or steer the terminal."""
    return "".join(
        char if char in keep or unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp") else ascii(char)[1:-1] for char in text
    )


def language() -> str | None:
    """The reader's language as a tag such as ``zh-TW``, as the environment says; None where it says none."""
    said = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := os.environ.get(name))), "")
    tag = said.split(".")[0].split("@")[0].replace("_", "-")
    return None if tag in ("", "C", "POSIX") else tag


def columns(rows: Sequence[Sequence[Any]], *, right: bool = True) -> str:
    """Rows of cells as aligned columns: the first to the left, the others to the right."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right and i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def trained_text(found: dict[str, Any]) -> str:
    """What ``train`` prints at its end: the run and its score; of a chain every stage, and then the whole."""
    state = "is already finished; nothing to do" if found["already_finished"] else "is finished"
    stages = [trained_text(stage) for stage in found.get("stages", [])]
    return "\n".join([*stages, f"{found['path']} {state}" + ("" if stages else _test_score(found["metrics"].get("test")))])


def _test_score(test: dict[str, Any] | None) -> str:
    key = next((key for key in ("accuracy", "perplexity_per_character") if test and key in test), None)
    if test is None or key is None:
        return ""
    return f": test {key.replace('_', ' ')} {test[key]['value']:.4f} [{test[key]['low']:.4f}, {test[key]['high']:.4f}]"


def runs_text(rows: Sequence[dict[str, Any]]) -> str:
    """What ``runs`` prints: a line per run, and below them what is wrong with the damaged ones."""
    scores = ["accuracy", *(["perplexity"] if any(row["perplexity"] is not None for row in rows) else [])]
    head = ("run", "status", "base", "method", *scores, "path")
    cells = [tuple("-" if row[key] is None else f"{row[key]:.4f}" if key in scores else row[key] for key in head) for row in rows]
    return "\n".join(
        [columns([head, *cells], right=False), *(printable(row["error"].replace("\n  -", ";")) for row in rows if "error" in row)]
    )


def env_text(report: dict[str, Any]) -> str:
    """What `tunebench env` shows: the machine, what torch makes of it, versions, variables."""
    hardware, torch = report["hardware"], report["torch"]

    def gpu(found: dict[str, Any]) -> str:
        memory = "" if found["memory_bytes"] is None else f", {found['memory_bytes'] / 2**30:.1f} GiB"
        return f"{found['name']}{memory}, driver {found['driver']}"

    machine = {
        "platform": hardware["platform"],
        "processor": f"{hardware['processor']}, {hardware['cores']} cores",
        "memory": f"{hardware['memory_bytes'] / 2**30:.1f} GiB",
        "gpu": "; ".join(map(gpu, hardware["gpus"])) or "none that nvidia-smi knows",
        "torch uses": "; ".join(torch.get("gpus") or []) or ": ".join(filter(None, (torch["device"], torch["why"]))),
        "torch cuda": torch.get("cuda") or "none in this build",
        "torch threads": torch.get("threads") or "-",
    }
    groups = (machine, {name: found or "not installed" for name, found in report["versions"].items()}, report["variables"])
    width = max(len(name) for group in groups for name in group)
    return "\n\n".join(
        "\n".join(f"{name:<{width}}  {printable(str(found))}" for name, found in group.items()) for group in groups if group
    )


def perplexity_text(scores: dict[str, Any]) -> str:
    """What ``evaluate`` prints of a run without labels."""
    look = f"; look {scores['look']}" if "look" in scores else ""
    figures = [("", "value", "95 % interval")] + [
        (name, f"{scores[key]['value']:.4f}", f"[{scores[key]['low']:.4f}, {scores[key]['high']:.4f}]")
        for key, name in (
            ("perplexity_per_token", "Perplexity per token"),
            ("perplexity_per_character", "Perplexity per character"),
        )
    ]
    head = f"{scores['run']} on {scores['n']:,} texts of {scores['split']}: {scores['tokens']:,} tokens, "
    lost = {"truncated": "texts were cut at max_length", "unscored": "texts could not be scored"}
    notes = [f"{scores[key]:,} {words}" for key, words in lost.items() if scores[key]] + [*map(printable, scores["remarks"])]
    return "\n\n".join([f"{head}{scores['characters']:,} characters{look}", columns(figures), *notes])


def scores_text(scores: dict[str, Any]) -> str:
    """What ``evaluate`` prints: figures with intervals, the positive label, per-class scores, the confusion matrix."""
    shown = {name: shown_name(scores["labels"]["display"], name, language()) for name in scores["labels"]["names"]}
    look = f"; look {scores['look']}" if "look" in scores else ""
    positive = scores["positive_label"]
    averaged = f"positive label: {shown[positive]}" if positive else "precision, recall and F1 are macro averages"
    figures = [("", "value", "95 % interval")] + [
        (name, f"{scores[key]['value']:.4f}", f"[{scores[key]['low']:.4f}, {scores[key]['high']:.4f}]")
        for key, name in (
            ("accuracy", "Accuracy"),
            ("precision", "Precision"),
            ("recall", "Recall"),
            ("f1", "F1"),
            ("f1_macro", "Macro F1"),
        )
    ]
    classes = [("label", "precision", "recall", "F1", "rows")] + [
        (shown[name], *(f"{item[key]['value']:.4f}" for key in ("precision", "recall", "f1")), item["support"])
        for name, item in scores["per_label"].items()
    ]
    names = list(shown.values())
    matrix = [("true \\ predicted", *names)] + [
        (name, *row) for name, row in zip(names, scores["confusion"]["rows_gold_columns_predicted"], strict=True)
    ]
    notes = [
        f"{scores[key]:,} {text}"
        for key, text in (
            ("truncated", "texts were cut at max_length"),
            ("unscored", "rows could not be scored"),
            ("invalid", "generated answers named no label; they are wrong, or as prompt.on_invalid says"),
        )
        if scores[key]
    ]
    notes += map(printable, scores["remarks"])
    head = f"{scores['run']} on {scores['split']}: {scores['n']:,} rows{look}"
    return "\n\n".join([head, columns(figures), averaged, columns(classes), columns(matrix), *notes])


def predictions_text(found: Sequence[dict[str, Any]]) -> str:
    """A few predictions, one line each."""
    lines = []
    for item in found:
        if item["error"]:
            lines.append(f"error: {item['error']}")
            continue
        shown = {name: printable(shown_name(item["display"], name, language())) for name in item["display"]}
        others = "  ".join(
            f"{shown[name]} {value:.4f}" for name, value in sorted(item["probabilities"].items(), key=lambda pair: -pair[1])
        )
        cut = "  the text was cut at max_length" if item["truncated"] else ""
        cut += "  too unsure: abstain" if item.get("abstain") else ""
        lines.append(shown[item["predicted"]] + (f"  ({others})" if others else "") + cut)
    return "\n".join(lines)
