"""No test touches the user's state or the network: the cache is moved, hubs are off.

Fast tests have an empty cache of their own. Tests marked ``slow`` find the starter files of the real cache in
another one; what they derive stays there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from killing import Nursery
from tiny import ARCHITECTURES, METHODS, World, write_base, write_csv, write_recipe
from warm import warm_jobs

from tunebench import jobs
from tunebench.runs.cache import HOME_VARIABLE, cache_root
from tunebench.runs.run import Run

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


@pytest.fixture(scope="session")
def warm() -> Iterator[None]:
    """From here on the jobs of this process share one proof worker; see warm.py."""
    with warm_jobs():
        yield


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """A process that forks the jobs which a test kills; see killing.py."""
    with Nursery() as server:
        yield server


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The tiny offline world in files."""
    folder = tmp_path_factory.mktemp("world")
    return World(folder, write_csv(folder / "texts.csv"), {kind: write_base(folder / kind, kind) for kind in ARCHITECTURES})


@pytest.fixture(scope="session")
def tiny_run(world: World, warm: None) -> Callable[..., Run]:
    """Trains a tiny run at its first use: ``tiny_run("bert", "lora", "cls")``. Shared by all tests; copy it to change it."""
    known: dict[tuple[str, str, str], Run] = {}

    def trained(architecture: str = "bert", method: str = "lora", pooling: str = "cls") -> Run:
        key = (architecture, method, pooling)
        if key not in known:
            recipe = write_recipe(
                world.folder / "recipes" / f"{'-'.join(key)}.yaml",
                data=world.data,
                base=world.bases[architecture],
                method=METHODS[method],
            )
            overrides = [f"base.pooling={pooling}"]
            known[key] = jobs.train(str(recipe), overrides, world.folder / "runs", lambda event: None).run
        return known[key]

    return trained


@pytest.fixture(scope="session")
def baseline_run(world: World) -> Callable[[str], Run]:
    """The run of a baseline on the same rows: ``baseline_run("tfidf")``; no torch is involved."""

    def trained(method: str) -> Run:
        recipe = write_recipe(world.folder / "recipes" / f"{method}.yaml", data=world.data, method={"kind": method})
        return jobs.train(str(recipe), [], world.folder / "runs", lambda event: None).run

    return trained


@pytest.fixture
def studio_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty runs folder that the studio looks at, and nothing in its memory of another one."""
    import streamlit

    from tunebench.app.server import RUNS_VARIABLE

    folder = tmp_path / "runs"
    folder.mkdir()
    monkeypatch.setenv(RUNS_VARIABLE, str(folder))
    streamlit.cache_resource.clear()
    yield folder
    streamlit.cache_resource.clear()
    streamlit.cache_data.clear()
