"""The studio over an empty folder, and tabs of a browser at it. Without Chromium or the starter files its tests are skipped.

Screenshots go to the folder that ``TUNEBENCH_SCREENSHOTS`` names, otherwise to that of the test.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import LACKING, Studio, Tab, chromium

from tunebench.detached.queue import jobs, stop


@pytest.fixture(scope="session")
def home(starter_home: Path) -> Path:
    if LACKING:
        pytest.skip(f"needs {', '.join(LACKING)}")
    if not (starter_home / "starter" / "minilm").is_dir():
        pytest.skip("needs the starter files: run `tunebench starter` first")
    return starter_home


@pytest.fixture
def studio(home: Path, tmp_path: Path) -> Iterator[Studio]:
    started = Studio(tmp_path / "runs", home)
    with ended(started):
        started.start()
        yield started


@contextlib.contextmanager
def ended(studio: Studio) -> Iterator[None]:
    """Whatever happens, neither the studio nor one of its jobs is left behind."""
    try:
        yield
    finally:
        for job in jobs(studio.runs):
            stop(job)
        until = time.monotonic() + 60
        while time.monotonic() < until and any(job.is_live() for job in jobs(studio.runs)):
            time.sleep(0.1)
        studio.stop()


@pytest.fixture(scope="module")
def chrome(home: Path) -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def open_tab(chrome: Any, tmp_path: Path) -> Iterator[Callable[..., Tab]]:
    """Opens a tab at a studio; tabs that a failed test leaves open are photographed and closed."""
    folder = Path(os.environ.get("TUNEBENCH_SCREENSHOTS") or tmp_path)
    tabs: list[Tab] = []

    def opened(studio: Studio, **look: Any) -> Tab:
        tabs.append(Tab(chrome, studio, folder, **look))
        return tabs[-1]

    yield opened
    for number, tab in enumerate(tabs):
        if not tab.is_closed():
            with contextlib.suppress(Exception):  # the test has failed already; this is for whoever looks into it
                tab.shoot(f"left-open-{number}")
            tab.close()
