"""The verb ``bench``: rows per second, latency and memory of the forms of runs, in turns, so that all meet the same machine."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tunebench.benching.contestants import Asked, Contestant, contestants
from tunebench.benching.stopwatch import Stopwatch
from tunebench.errors import TunebenchError
from tunebench.runs import environment
from tunebench.runs.exports import BENCH, ENGINES
from tunebench.runs.run import FORMAT_VERSION, Run

SETTINGS = ("rows", "batch_size", "max_length", "texts", "threads", "hardware", "weights")
"""Figures taken with other settings than these, or of other weights, are not kept beside new ones."""
ROOM = 0.8
"""Share of the free memory that open forms may fill; beyond it the one that rested longest is closed, and opened again later."""
TORCH_BYTES, ENGINE_BYTES, WEIGHT_BYTES = 700_000_000, 300_000_000, 8
"""About what an open form takes: its libraries, and per weight itself and what a batch needs."""


@dataclass(eq=False)
class Entry:
    """One form of one run, and what its turns gave; ``error`` where it could not be timed."""

    contestant: Contestant
    backend: str
    turns: list[dict[str, Any]] = field(default_factory=list)
    load_seconds: list[float] = field(default_factory=list)
    error: str | None = None

    @property
    def name(self) -> str:
        """The run and the form."""
        return f"{self.contestant.run.name} {self.backend}"

    @property
    def bytes(self) -> int:
        """About how much memory it takes while it is open."""
        light = self.backend in ENGINES or self.contestant.run.recipe.base is None
        libraries = ENGINE_BYTES if light else TORCH_BYTES
        return libraries + WEIGHT_BYTES * int(self.contestant.run.metrics["parameters"]["total"])

    def figures(self) -> dict[str, Any]:
        """Medians over the rounds, with the smallest and the largest beside them; or the error."""
        if self.error is not None:
            return {"error": self.error}
        seconds = [turn["seconds"] for turn in self.turns]
        rows = len(self.contestant.items)
        series = {
            "rows_per_second": [rows / value for value in seconds],
            "seconds": seconds,
            **{f"p{q}_ms": [1000 * float(np.percentile(turn["latencies"], q)) for turn in self.turns] for q in (50, 99)},
        }
        gpu = [turn["peak_gpu_memory_bytes"] for turn in self.turns if turn["peak_gpu_memory_bytes"] is not None]
        return {
            **{name: float(np.median(values)) for name, values in series.items()},
            "rows_per_second": rows / float(np.median(seconds)),  # so that the two go together with an even number of rounds too
            "peak_memory_bytes": max(turn["peak_memory_bytes"] for turn in self.turns),
            "peak_gpu_memory_bytes": max(gpu, default=None),
            "load_seconds": float(np.median(self.load_seconds)),
            "rounds": len(self.turns),
            "unscored": self.turns[-1]["unscored"],
            "spread": {name: [min(values), max(values)] for name, values in series.items()},
        }


class OpenForms:
    """The processes of forms that are open, as many as the memory holds."""

    def __init__(self, asked: Asked, room: int) -> None:
        self._asked, self._room = asked, room
        self._open: dict[Entry, Stopwatch] = {}

    def __enter__(self) -> OpenForms:
        return self

    def __exit__(self, *_: object) -> None:
        for entry in list(self._open):
            self.close(entry)

    def get(self, entry: Entry) -> Stopwatch:
        """The process of a form, opened where it is not; others are closed for it where memory is short."""
        found = self._open.pop(entry, None)
        if found is None:
            while self._open and entry.bytes + sum(other.bytes for other in self._open) > self._room:
                self.close(next(iter(self._open)))
            who, asked = entry.contestant, self._asked
            found = Stopwatch(who.run.path, entry.backend, who.items, who.singles, asked.batch_size, asked.max_length)
            entry.load_seconds.append(found.load_seconds)
        self._open[entry] = found  # the one used last stands last
        return found

    def close(self, entry: Entry) -> None:
        """End the process of a form, if it has one."""
        if found := self._open.pop(entry, None):
            found.close()


def bench(runs: Sequence[Run], asked: Asked, say: Callable[[str], None]) -> dict[str, Any]:
    """Time every form of the runs, keep the figures in each run's ``bench.json``, and return all of them.

    A form that cannot be opened, or dies, has an ``error`` in place of figures, and the others go on.
    """
    entered = contestants(runs, asked)
    entries = [Entry(who, backend) for who in entered for backend in who.backends]
    _take_turns(entries, asked, say)
    hardware, threads = environment.hardware(), threads_here()
    remarks = [*_remarks(entered, asked), *(f"{entry.name}: {entry.error}" for entry in entries if entry.error)]
    found = []
    for who in entered:
        forms = {entry.backend: entry.figures() for entry in entries if entry.contestant is who}
        settings = _settings(who, asked, hardware, threads)
        stored = os.access(who.run.path, os.W_OK)
        if stored:
            store(who.run, settings, forms)
        else:
            remarks.append(f"{who.run.path} is read-only: timed, and not stored there")
        found.append(
            {"run": who.run.name, "path": str(who.run.path), "family": who.family, "stored": stored, **settings, "forms": forms}
        )
    common = {"batch_size": asked.batch_size, "rounds": asked.rounds, "threads": threads, "hardware": hardware}
    return {**common, "failed": sum(entry.error is not None for entry in entries), "runs": found, "remarks": remarks}


def _take_turns(entries: Sequence[Entry], asked: Asked, say: Callable[[str], None]) -> None:
    """A B C, A B C …: whatever the machine does besides meets all forms alike."""
    with OpenForms(asked, room()) as forms:
        for number in range(1, asked.rounds + 1):
            for entry in entries:
                if entry.error is not None:
                    continue
                try:
                    entry.turns.append(turn := forms.get(entry).time())
                except TunebenchError as error:
                    entry.error = str(error)
                    forms.close(entry)
                    say(f"[{number}/{asked.rounds}] {entry.name}: failed: {error}")
                    continue
                rate = len(entry.contestant.items) / turn["seconds"]
                say(f"[{number}/{asked.rounds}] {entry.name}: {rate:,.1f} rows/s")


def room() -> int:
    """How many bytes open forms may take together: of the machine's free memory, or of its GPU's where it has less."""
    free = environment.available_memory_bytes()
    return int(ROOM * min([free, *(gpu["memory_bytes"] or free for gpu in environment.gpus()[:1])]))


def threads_here() -> int:
    """How many threads a form may compute with, unless it decides otherwise."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdigit() and int(told) else int(environment.hardware()["cores"])


def _settings(who: Contestant, asked: Asked, hardware: dict[str, Any], threads: int) -> dict[str, Any]:
    return {
        "rows": len(who.items),
        "batch_size": asked.batch_size,
        "max_length": who.max_length,
        "texts": who.texts,
        "threads": threads,
        "hardware": hardware,
        "weights": who.run.manifest.get("end_weights"),
    }


def store(run: Run, settings: dict[str, Any], forms: dict[str, dict[str, Any]]) -> None:
    """Write ``bench.json`` of a run; forms timed before under the same settings stay in it."""
    try:
        known = json.loads((run.path / BENCH).read_text("utf-8"))
        same = all(known[name] == settings[name] for name in SETTINGS)
        kept = dict(known["forms"]) if same else {}
    except (OSError, ValueError, KeyError, TypeError):
        kept = {}
    timed = {name: figures for name, figures in forms.items() if "error" not in figures}
    if timed or kept:
        run.write_json(BENCH, {"format": FORMAT_VERSION, **settings, "forms": kept | timed})


def _remarks(entered: Sequence[Contestant], asked: Asked) -> list[str]:
    """What a reader of the table has to know."""
    found = [
        f"{who.run.name}: {asked.rows:,} rows were asked for, and {len(who.items):,} are there"
        for who in entered
        if asked.rows is not None and len(who.items) < asked.rows
    ]
    common = min(len(who.items) for who in entered)
    others = [who.run.name for who in entered[1:] if who.items[:common] != entered[0].items[:common]]
    if others:
        found.append(
            f"{', '.join(others)}: other texts than those of {entered[0].run.name}, so rows per second cannot be compared; "
            "give all runs the same ones with --data FILE"
        )
    if len({who.max_length for who in entered if who.max_length is not None}) > 1:
        found.append("the runs cut texts at different lengths (max_length); --max-length N cuts them alike")
    return found
