"""Make the README's pictures of the studio: real runs, the real server, a real browser. Needs the starter files and Chromium."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browsing import Studio, Tab, chromium  # noqa: E402 - how the tests start the studio and a browser
from PIL import Image  # noqa: E402

from tunebench import jobs as verbs  # noqa: E402
from tunebench.detached.queue import jobs, stop, submit  # noqa: E402
from tunebench.runs.cache import cache_root  # noqa: E402

OUT = ROOT / "docs" / "images"
PRESETS = ("starter-majority", "starter-tfidf", "starter-head", "starter-ia3", "starter-lora")
SHOWN = ("starter-lora", "starter-ia3", "starter-tfidf")
TEXT = "A warm and funny film with a moving lead, even if the plot is a little tired."
POINTS = 120
MOST_BYTES, MOST_IN_ALL = 200_000, 1_200_000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        os.chdir(folder)  # so that the pictures show `runs` and no path of this machine
        for preset in PRESETS:
            print(f"training {preset}")
            verbs.train(preset, [], runs, lambda event: None)
        studio = Studio(Path("runs"), cache_root())
        studio.start()
        try:
            with chromium() as browser:
                take_all(browser, studio, runs)
        finally:
            for job in jobs(runs):
                stop(job)
            studio.stop()
    sizes = {path.name: path.stat().st_size for path in OUT.glob("*.png")}
    print("\n".join(f"{name}: {size / 1000:.0f} kB" for name, size in sorted(sizes.items())))
    if max(sizes.values()) > MOST_BYTES or sum(sizes.values()) > MOST_IN_ALL:
        sys.exit("the pictures are too large for the repository")


def take_all(browser: Any, studio: Studio, runs: Path) -> None:
    """All pictures: in English and light, one dark, one for each of the other languages."""
    english = Tab(browser, studio, OUT)
    counted = english.page.get_by_text("bert-base-uncased").first
    counted.wait_for(state="attached", timeout=240_000)
    take(english, "overview")
    compare(english)
    take(english, "compare", height=1500)
    try_it(english)
    take(english, "try-it", height=1150)
    training(english, runs)
    take(english, "training")
    dark = Tab(browser, studio, OUT, theme="dark")
    try_it(dark)
    take(dark, "try-it-dark", height=1150)
    for language in ("zh-Hant", "zh-Hans"):
        take(Tab(browser, studio, OUT, language=language), f"overview.{language}")


def compare(tab: Tab) -> None:
    tab.go("Compare")
    for name in SHOWN:
        tab.pick("Runs to compare", name)
    tab.press("Compare")
    tab.page.get_by_role("heading", name="Scores", exact=True).wait_for(timeout=240_000)
    tab.settled()


def try_it(tab: Tab) -> None:
    tab.go("Try it")
    tab.page.get_by_role("button", name="Clear all").click()
    tab.settled()
    for name in SHOWN[:2]:
        tab.pick("Runs", name)
    tab.page.get_by_role("textbox", name="Text", exact=True).fill(TEXT)
    tab.press("Classify")
    tab.sees("confidence", long=True)
    tab.press("Why?")
    tab.page.locator("mark").first.wait_for()
    tab.settled()


def training(tab: Tab, runs: Path) -> None:
    """A training at work, with the curves that it has drawn so far."""
    command = ["train", "starter-lora", "--set", "name=reviews", "--set", "train.num_train_epochs=4", "--runs", str(runs)]
    submit(runs, [command], kind="train", run="reviews")
    tab.go("Training lab")
    tab.points_beyond(POINTS)
    tab.page.get_by_role("heading", name="Jobs", exact=True).evaluate("heading => heading.scrollIntoView()")


def take(tab: Tab, name: str, height: int = 900) -> None:
    """The upper part of a page, in few colours so that the file is small."""
    tab.page.set_viewport_size({"width": 1280, "height": height})
    tab.page.mouse.move(0, 0)
    tab.page.wait_for_timeout(1500)  # what moves comes to rest
    image = Image.open(io.BytesIO(tab.page.screenshot())).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    OUT.mkdir(parents=True, exist_ok=True)
    image.save(OUT / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
