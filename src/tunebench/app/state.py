"""What all pages share: the runs folder, the answering process, the list of runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import streamlit as st

from tunebench.app.server import RUNS_VARIABLE
from tunebench.asking.client import Asking
from tunebench.detached.queue import STUDIO
from tunebench.runs.chain import Chain
from tunebench.runs.index import list_runs, summary
from tunebench.runs.run import Run

_DECIDING = ("events.jsonl", "metrics.json", "manifest.json", "notes.json", ".lock")


def runs_folder() -> Path:
    """The folder whose runs are shown."""
    return Path(os.environ.get(RUNS_VARIABLE, "runs"))


def own_folder(name: str) -> Path:
    """A folder of the studio itself, made where it is missing: ``uploads``, ``recipes``, ``comparisons``."""
    folder = runs_folder() / STUDIO / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@st.cache_resource(on_release=lambda asking: asking.close())
def asking() -> Asking:
    """The process that answers for models; one for all visits, started when it is first asked."""
    return Asking(runs_folder())


def run_lines() -> list[dict[str, Any]]:
    """One line about every run, as `tunebench runs` has it; what has not changed is not read again."""
    return [_line(str(run.path), _stamp(run), _run=run) for run in list_runs(runs_folder())]


def finished_runs() -> list[str]:
    """Names of the runs that can be asked, newest first."""
    lines = [line for line in run_lines() if line["status"] == "finished"]
    return [line["run"] for line in sorted(lines, key=lambda line: -_changed(Path(line["path"])))]


@st.cache_data(max_entries=2000, show_spinner=False)
def _line(path: str, stamp: tuple[int, ...], _run: Run | Chain) -> dict[str, Any]:
    return summary(_run)


def _stamp(run: Run | Chain) -> tuple[int, ...]:
    """Changes whenever the line about a run may; a running one is never taken for unchanged, as it may end without a word."""
    found = []
    for name in _DECIDING:
        try:
            status = (run.path / name).stat()
        except OSError:
            found += [0, 0]
        else:
            found += [status.st_mtime_ns, status.st_size]
    return (*found, int(run.is_locked()))


def _changed(path: Path) -> float:
    try:
        return (path / "events.jsonl").stat().st_mtime
    except OSError:
        return 0.0
