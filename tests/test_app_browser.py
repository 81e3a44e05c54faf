"""The studio once through a browser: what only a browser sees. The journeys of users are in tests/e2e."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from browsing import LACKING, Studio, Tab, chromium
from tiny import write_csv, write_recipe

from tunebench import jobs

pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"needs {', '.join(LACKING)}")
PAGES = ("Overview", "Data", "Training lab", "Try it", "Compare", "Runs")


def test_every_page_draws_without_a_word_in_the_console_and_without_torch(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "a.yaml", data=write_csv(tmp_path / "texts.csv"), name="a", method={"kind": "majority"})
    jobs.train(str(recipe), [], tmp_path / "runs", lambda event: None)
    studio = Studio(tmp_path / "runs", Path(os.environ["TUNEBENCH_HOME"]))
    studio.start()
    try:
        with chromium() as browser:
            tab = Tab(browser, studio, tmp_path)
            for title in PAGES:
                tab.go(title)
                assert tab.page.locator(r"input[aria-label*='\\']").count() == 0  # nobody is read an escape aloud
            tab.leave()
        assert [name for name in studio.libraries() if "torch" in name] == []
    finally:
        studio.stop()
    assert studio.left_behind() == []
