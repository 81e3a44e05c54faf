"""No test touches the user's state or the network: the cache is moved, hubs are off.

Fast tests have an empty cache of their own. Tests marked ``slow`` find the starter files of the real cache in
another one; what they derive stays there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunebench.runs.cache import HOME_VARIABLE, cache_root

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
REAL_CACHE = cache_root()


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache for the session, also for fixtures of wider scope; offline for this process and those it starts."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in OFFLINE.items():
            patch.setenv(name, value)
        patch.setenv(HOME_VARIABLE, str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def starter_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that borrows the starter files of the real one; for fixtures of slow tests that are wider than a test."""
    home = tmp_path_factory.mktemp("starter-home")
    (home / "starter").symlink_to(REAL_CACHE / "starter")
    return home


@pytest.fixture(autouse=True)
def state_of_slow_tests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow tests find the starter files."""
    if request.node.get_closest_marker("slow") is not None:
        monkeypatch.setenv(HOME_VARIABLE, str(request.getfixturevalue("starter_home")))
