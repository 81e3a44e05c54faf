"""The studio in a browser, against its real server, with trainings of real weights: what users do, and what happens to them."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browsing import Studio, Tab, at_work_on
from conftest import ended
from tiny import write_csv, write_recipe

from tunebench import jobs as verbs
from tunebench.detached.queue import jobs

pytestmark = pytest.mark.e2e

OpenTab = Callable[..., Tab]
DONE = "Finished. The model is ready."
WEIGHTS = "adapter/adapter_model.safetensors"


def begin(tab: Tab, source: str, name: str, **fields: str) -> None:
    """Fill the form of the Training lab in, up to the click that starts."""
    tab.go("Training lab")
    tab.pick("Begin with", source)
    tab.field("Name of the run", name)
    for label, value in fields.items():
        tab.field(label.replace("_", " "), value)


def accuracy_of(run: Path) -> float:
    return float(json.loads((run / "metrics.json").read_text("utf-8"))["test"]["accuracy"]["value"])


def test_the_newcomers_path_from_an_empty_folder_to_a_report(studio: Studio, open_tab: OpenTab) -> None:
    tab = open_tab(studio)
    tab.shoot("newcomer-1-overview")
    tab.go("Data")
    tab.press("Starter reviews")
    tab.sees("Save and go to the Training lab", long=True)
    tab.shoot("newcomer-2-data")
    tab.field("Name of the recipe", "first")
    tab.press("Save and go to the Training lab")
    tab.arrives("Training lab")
    for label, value in {"Training samples": "1000", "Epochs": "1", "Learning rate": "0.002"}.items():
        tab.field(label, value)
    tab.sees("74,498")
    tab.press("Start training")
    seen = tab.points_beyond(0)
    seen = tab.points_beyond(seen)
    tab.shoot("newcomer-3-training")
    tab.leave()

    assert at_work_on("first")  # nobody looks, it goes on
    tab = open_tab(studio)
    tab.sees("At work: first")
    tab.go("Training lab")
    assert tab.points_beyond(0) >= seen
    tab.sees(DONE, long=True)
    tab.shoot("newcomer-4-finished")
    assert [job.run for job in jobs(studio.runs)] == ["first"]

    tab.go("Try it")
    tab.sees("first · lora")  # the new model, without being asked for
    tab.page.get_by_role("textbox", name="Text", exact=True).fill("a warm and funny film, beautifully played")
    tab.press("Classify")
    tab.sees("confidence", long=True)
    tab.press("Why?")
    tab.sees("falls without each word", long=True)
    tab.shoot("newcomer-5-tried")

    begin(tab, "starter-tfidf", "words", Training_samples="1000")
    tab.press("Start training")
    tab.holds("2 · words")
    tab.sees(DONE, long=True)
    tab.go("Compare")
    tab.pick("Runs to compare", "first")
    tab.pick("Runs to compare", "words")
    tab.press("Compare")
    tab.sees("Which one to take", long=True)
    tab.shoot("newcomer-6-compared")
    rows = {row["run"]: float(row["accuracy"]) for row in csv.DictReader(io.StringIO(tab.downloaded("Download CSV").decode()))}
    assert rows == pytest.approx({name: accuracy_of(studio.runs / name) for name in ("first", "words")})
    page = tab.downloaded("Download HTML").decode()
    assert page.lower().startswith("<!doctype html>")
    assert all(f"{value:.4f}" in page and name in page for name, value in rows.items())
    assert tab.downloaded("Download PDF").startswith(b"%PDF")
    tab.go("Overview")
    tab.shoot("newcomer-7-overview")
    tab.go("Runs")
    tab.shoot("newcomer-8-runs")
    tab.leave()
    assert [name for name in studio.libraries() if "torch" in name] == []


def test_a_training_outlives_its_server_and_stops_and_goes_on_to_the_same_weights(
    studio: Studio, open_tab: OpenTab, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tab, other = open_tab(studio), open_tab(studio)
    for one in (tab, other):
        begin(one, "starter-lora", "twice", Training_samples="2500")
        one.sees("74,498")  # counted: from here on the form is at rest, and knows nothing of the other tab
        one.settled()
    for one in (tab, other):
        one.button("Start training").evaluate("button => button.click()")
    tab.points_beyond(0)
    other.shoot("twice-second-tab")
    assert [(job.run, job.state()) for job in jobs(studio.runs)] == [("twice", "running")]
    assert len(at_work_on("twice")) == 1

    studio.kill()
    seen, working = tab.points(), at_work_on("twice")
    assert working
    studio.start()
    tab.connection("CONNECTED")
    assert tab.points_beyond(seen) > seen  # the tab that was open goes on
    tab.settled()
    assert at_work_on("twice") == working
    assert len(jobs(studio.runs)) == 1
    other.close()

    tab.press("Stop")
    tab.sees("Stopped. Continue goes on from the last checkpoint.", long=True)
    tab.shoot("twice-stopped")
    assert at_work_on("twice") == []
    assert not (studio.runs / "twice" / "metrics.json").exists()
    tab.press("Continue")
    tab.holds("2 · twice")
    tab.sees(DONE, long=True)
    tab.shoot("twice-continued")
    tab.leave()
    assert [job.state() for job in jobs(studio.runs)] == ["finished", "stopped"]

    monkeypatch.setenv("TUNEBENCH_HOME", str(home))
    recipe = str(studio.runs / ".studio" / "recipes" / "twice.yaml")
    command = [sys.executable, "-m", "tunebench.cli", "train", recipe, "--runs", str(tmp_path / "other")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert (studio.runs / "twice" / WEIGHTS).read_bytes() == (tmp_path / "other" / "twice" / WEIGHTS).read_bytes()
    assert accuracy_of(studio.runs / "twice") == accuracy_of(tmp_path / "other" / "twice")


def test_a_run_deleted_or_half_written_while_it_is_shown_is_told(studio: Studio, open_tab: OpenTab, tmp_path: Path) -> None:
    texts = write_csv(tmp_path / "texts.csv")
    recipe = write_recipe(tmp_path / "kept.yaml", data=texts, name="kept", method={"kind": "tfidf"})
    verbs.train(str(recipe), [], studio.runs, lambda event: None)
    for name in ("half", "gone"):
        shutil.copytree(studio.runs / "kept", studio.runs / name)
    (studio.runs / "gone" / "events.jsonl").touch()  # the newest one
    pages = {title: open_tab(studio) for title in ("Overview", "Training lab", "Try it", "Compare", "Runs")}
    for title, tab in pages.items():
        tab.go(title)
    asked, compared, listed = pages["Try it"], pages["Compare"], pages["Runs"]
    asked.sees("gone · tfidf")
    asked.page.get_by_role("textbox", name="Text", exact=True).fill("a film")
    compared.pick("Runs to compare", "gone")
    compared.pick("Runs to compare", "half")
    shutil.rmtree(studio.runs / "gone")
    for name in ("metrics.json", "manifest.json"):
        whole = (studio.runs / "half" / name).read_bytes()
        (studio.runs / "half" / name).write_bytes(whole[: len(whole) // 2])
    asked.press("Classify")
    asked.sees("gone can no longer be taken")
    asked.sees("confidence", long=True)  # the text that was written is not lost: the run that is left answers
    compared.press("Compare")
    compared.sees("gone, half can no longer be taken")
    listed.field("Search", "h")
    listed.sees("This run is damaged")
    for title, tab in pages.items():
        tab.shoot(f"damaged-{title.lower().replace(' ', '-')}")
        assert tab.page.get_by_text("Traceback").count() == 0
        tab.go("Data")
        tab.go(title)
        assert tab.page.get_by_text("Traceback").count() == 0
        assert title == "Overview" or tab.page.get_by_text("gone ·").count() == 0
        tab.leave()


@pytest.fixture
def small_disk(home: Path, tmp_path: Path) -> Iterator[tuple[Studio, Callable[[str], None]]]:
    """A studio whose runs lie on a disk of their own, too small for a training; and what gives that disk another size."""
    runs = tmp_path / "runs"
    runs.mkdir()
    inside = ["unshare", "--map-root-user", "--mount"]
    mount = ["sh", "-c", 'mount -t tmpfs -o size=600k none "$0" && exec "$@"', str(runs)]
    if shutil.which("unshare") is None or subprocess.run([*inside, *mount, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs a system on which users may mount a disk of their own (unshare --map-root-user --mount)")
    studio = Studio(runs, home, before=(*inside, *mount))

    def resize(size: str) -> None:
        entered = ["nsenter", "--user", "--mount", "--preserve-credentials", "--target", str(studio.server())]
        subprocess.run([*entered, "mount", "-o", f"remount,size={size}", str(runs)], check=True)

    with ended(studio):
        studio.start()
        studio.runs = Path(f"/proc/{studio.server()}/root{runs}")
        yield studio, resize


def test_a_disk_that_fills_during_training_is_told_and_the_training_goes_on_once_there_is_room(
    small_disk: tuple[Studio, Callable[[str], None]], open_tab: OpenTab
) -> None:
    studio, resize = small_disk
    tab = open_tab(studio)
    begin(tab, "starter-lora", "full", Training_samples="200")
    tab.press("Start training")
    tab.sees("This job failed.", long=True)
    tab.sees("No space left on device")
    tab.shoot("disk-full")
    assert tab.page.get_by_text("Traceback").count() == 0
    for title in ("Overview", "Data", "Try it", "Compare", "Runs", "Training lab"):
        tab.go(title)
    resize("60m")
    tab.press("Continue")
    tab.holds("2 · full")
    tab.sees(DONE, long=True)
    tab.leave()


NAMES = ["../../x", "/etc/x", "", "x" * 300, "a😀b", "-x", ".studio", "a b", "<img src=x onerror=alert(1)>"]


def test_what_does_not_fit_is_said_and_nothing_starts(studio: Studio, open_tab: OpenTab, tmp_path: Path) -> None:
    tab = open_tab(studio, language="tlh")
    tab.go("Training lab")  # an unknown language is English
    for name in NAMES:
        tab.field("Name of the run", name)
        tab.sees("These settings do not fit yet:")
        tab.sees("name: expected")
        assert not tab.button("Start training").is_visible(), name
    tab.shoot("names")
    tab.field("Name of the run", "fine")
    for label, value, said in (
        ("Epochs", "-3", "expected > 0"),
        ("Training samples", "0", "≥ 1"),
        ("Rank (r)", "0", "≥ 1"),
    ):
        kept = tab.page.get_by_label(label, exact=True).first.input_value()
        tab.field(label, value)
        tab.sees(said)
        assert not tab.button("Start training").is_visible(), label
        tab.field(label, kept)
    assert tab.button("Start training").is_enabled()
    tab.go("Data")
    tab.press("Starter reviews")
    tab.sees("Save and go to the Training lab", long=True)
    for name in NAMES:
        tab.field("Name of the recipe", name)
        tab.press("Save and go to the Training lab")
        tab.sees("The recipe was not saved.")
    tab.shoot("names-of-recipes")
    tab.leave()
    made = {path for path in tmp_path.rglob("*") if ".studio" not in path.parts}
    assert made - set(tmp_path.glob("*.png")) == {studio.runs}
    assert jobs(studio.runs) == []
    assert list((studio.runs / ".studio" / "recipes").iterdir()) == []
