"""How the studio looks and feels in a browser, over finished runs, a training at work and a job that failed.

Every page in both themes, on a telephone, by keyboard alone, in every language; how fast pages and answers are; what uploads
may do; and that nothing of all this tries to leave the machine.
"""

from __future__ import annotations

import csv
import itertools
import re
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from browsing import Studio, Tab, shut_out
from conftest import ended
from tiny import write_csv, write_recipe

import tunebench
from tunebench import jobs as verbs
from tunebench.detached.queue import jobs, stop, submit
from tunebench.runs.cache import HOME_VARIABLE

pytestmark = pytest.mark.e2e

OpenTab = Callable[..., Tab]
HERE = Path(__file__).parent
WORDS = Path(tunebench.__file__).parent / "app" / "words"
PAGES = ("overview", "data", "training", "try_it", "compare", "runs")
TEXT = "a warm and funny film, but the plot is tired and the actor dull"
EVIL = "<img src=x onerror=window.hacked=1>", "=HYPERLINK(1)<script>window.hacked=1</script>"
TOLD_APART = """tab => {
    const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
                         return .2126 * r + .7152 * g + .0722 * b };
    const parts = c => (c.match(/[\\d.]+/g) ?? []).map(Number);
    const ground = parts(getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor).slice(0, 3);
    return [...document.querySelectorAll('.js-plotly-plot text')].filter(t => t.textContent && !t.closest('.bars')
        && !t.closest('.heatmaplayer') && t.getBoundingClientRect().width).map(t => {
        const style = getComputedStyle(t), [r, g, b, a = 1] = parts(style.fill);
        const seen = [r, g, b].map((v, i) => v * a * style.opacity + ground[i] * (1 - a * style.opacity));
        const [high, low] = [light(seen), light(ground)].sort((x, y) => y - x);
        return [t.textContent, (high + .05) / (low + .05)] }).filter(([, ratio]) => ratio < 4.5) }"""
CUT_OFF = """() => { const main = document.querySelector('[data-testid=stMain]'), edge = main.getBoundingClientRect().right + 1;
    const scrolls = e => e && e !== main && (['auto', 'scroll', 'hidden'].includes(getComputedStyle(e).overflowX)
        || scrolls(e.parentElement));
    return [...main.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > edge && !scrolls(e.parentElement))
        .map(e => e.outerHTML.slice(0, 120)) }"""


def words(page: str, language: str = "en") -> dict[str, str]:
    found: dict[str, str] = yaml.safe_load((WORDS / language / f"{page}.yaml").read_text("utf-8"))
    return found


@pytest.fixture(scope="module")
def furnished(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A studio over two adapters of one base, a baseline, one with hostile labels, and a job that failed; every process of it
    writes down where it tries to connect to, and nothing tells it that it is tested or to stay offline."""
    folder = tmp_path_factory.mktemp("furnished")
    make_runs(folder, home)
    submit(folder / "runs", [["train", "nowhere"]], kind="train", run="broken")
    unsaid = ("CI", "PYTEST_VERSION", "PYTEST_CURRENT_TEST", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY")
    without = itertools.chain.from_iterable(("-u", name) for name in unsaid)
    path = f"PYTHONPATH={HERE / 'audited'}:{Path(tunebench.__file__).parents[1]}"
    started = Studio(folder / "runs", home, before=("env", *without, path, f"TUNEBENCH_AUDIT={folder / 'audit.log'}"))
    with ended(started):
        started.start()
        yield started


def make_runs(folder: Path, home: Path) -> None:
    with (home / "starter" / "reviews.csv").open(encoding="utf-8", newline="") as file:
        rows = [
            {"id": str(i), "text": row["text"], "label": row["label"]}
            for i, row in zip(range(300), csv.DictReader(file), strict=False)
        ]
    data = write_csv(folder / "reviews.csv", rows)
    hostile = write_csv(
        folder / "hostile.csv", [row | {"label": EVIL[i % 2], "text": f"{EVIL[0]} {row['text']}"} for i, row in enumerate(rows)]
    )
    base = Path("starter:minilm")
    made = [
        write_recipe(folder / "words.yaml", data=data, method={"kind": "tfidf"}),
        write_recipe(folder / "hostile.yaml", data=hostile, method={"kind": "tfidf"}),
        *(
            write_recipe(folder / f"{name}.yaml", data=data, base=base, train={"max_steps": 20, "learning_rate": rate})
            for name, rate in (("ada", 0.001), ("bob", 0.002))
        ),
    ]
    write_recipe(folder / "long.yaml", data=data, base=base, train={"max_steps": 100_000})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(home))
        for recipe in made:
            verbs.train(str(recipe), [], folder / "runs", lambda event: None)


@pytest.fixture
def at_work(furnished: Studio, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A training is at work and has curves."""
    monkeypatch.setenv(HOME_VARIABLE, str(home))
    monkeypatch.setenv("PYTHONPATH", f"{HERE / 'audited'}:{Path(tunebench.__file__).parents[1]}")
    monkeypatch.setenv("TUNEBENCH_AUDIT", str(furnished.runs.parent / "audit.log"))
    runs, log = furnished.runs, furnished.runs / "long" / "events.jsonl"
    job = submit(runs, [["train", str(runs.parent / "long.yaml"), "--runs", str(runs)]], kind="train", run="long")
    until = time.monotonic() + 60
    while time.monotonic() < until and job.is_live() and not (log.is_file() and '"grad_norm"' in log.read_text("utf-8")):
        time.sleep(0.2)
    assert job.is_live(), job.log_tail(10)
    yield
    stop(job)
    while job.is_live():
        time.sleep(0.1)
    shutil.rmtree(runs / "long")


def filled(tab: Tab, page: str, language: str = "en", *, there: bool = False) -> None:
    """A page with what it can show."""
    said = words(page, language)
    if not there:
        tab.go(words("main", language)[page])
    if page == "data":
        tab.press(said["starter"])
        tab.sees(said["save_title"], long=True)
    if page == "training":
        tab.sees(said["trainable"])
        tab.page.locator(".js-plotly-plot").first.wait_for()
        if not tab.page.get_by_text("weight_decay").first.is_visible():
            tab.page.locator("summary").filter(has_text=said["more"]).click()
        tab.page.get_by_text("weight_decay").first.wait_for()
    if page == "try_it":
        ask(tab, language)
        tab.press(said["why"])
        tab.page.locator("mark").first.wait_for()
    if page == "compare":
        for name in ("ada", "words"):
            tab.pick(said["runs"], name)
        if not tab.page.get_by_role("heading", name=said["table"], exact=True).count():
            tab.press(said["start"])
        tab.page.get_by_role("heading", name=said["table"], exact=True).wait_for(timeout=120_000)
    tab.settled()


def ask(tab: Tab, language: str = "en") -> None:
    said = words("try_it", language)
    tab.page.get_by_role("textbox", name=said["text"], exact=True).fill(TEXT)
    tab.press(said["ask"])
    tab.page.get_by_text(re.compile(re.escape(said["sure"].split("{")[0]))).first.wait_for()


def chosen(tab: Tab, *names: str) -> None:
    """Have the runs asked, in this order, on the page Try it."""
    tab.page.get_by_role("button", name="Clear all").click()
    tab.settled()
    for name in names:
        tab.pick("Runs", name)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_shuts_anybody_out(furnished: Studio, at_work: None, open_tab: OpenTab, theme: str) -> None:
    tab = open_tab(furnished, theme=theme)
    for page in PAGES:
        filled(tab, page)
        tab.shoot(f"looks-{page}-{theme}")
        assert shut_out(tab.page) == [], page
        assert tab.page.evaluate(TOLD_APART) == [], page
    tab.go("Training lab")
    tab.pick("Job", "broken")
    tab.sees("This job failed")
    tab.shoot(f"looks-failed-{theme}")
    assert shut_out(tab.page) == []
    tab.leave()


def test_a_telephone_shows_all_of_every_page(furnished: Studio, at_work: None, open_tab: OpenTab) -> None:
    tab = open_tab(furnished, telephone=True)
    for page in PAGES:
        tab.page.goto(f"{furnished.address}/{'' if page == PAGES[0] else page}")
        tab.settled()
        filled(tab, page, there=True)
        assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page
        assert tab.page.evaluate("(m => m.scrollWidth <= m.clientWidth)(document.querySelector('[data-testid=stMain]'))"), page
        assert tab.page.evaluate(CUT_OFF) == [], page
        tab.shoot(f"looks-{page}-phone")
    tab.page.get_by_test_id("stExpandSidebarButton").tap()
    tab.go("Data")
    tab.page.wait_for_function("document.querySelector('[data-testid=stSidebar]').getBoundingClientRect().right <= 0")
    tab.leave()


@pytest.mark.parametrize("language", ["zh-Hant", "zh-Hans"])
def test_no_sentence_stays_english(furnished: Studio, at_work: None, open_tab: OpenTab, language: str) -> None:
    tab = open_tab(furnished, language=language)
    for page in PAGES:
        filled(tab, page, language)
        for summary in tab.page.locator("[data-testid=stMain] summary").all():
            if not summary.evaluate("summary => summary.parentElement.open"):
                summary.click()
        tab.settled()
        seen = tab.page.locator("body").inner_text()
        known = {**words("main", language), **words(page, language)}
        english = {**words("main"), **words(page)}
        parts = [
            part.strip(" .,:*")
            for key in english
            for part in re.split(r"\{[^}]*\}|`[^`]*`", english[key])
            if english[key] != known[key]
        ]
        assert [part for part in parts if part.count(" ") >= 2 and part in seen] == [], page
        tab.shoot(f"looks-{page}-{language}")
    tab.leave()


def focused(tab: Tab) -> str:
    return str(tab.page.evaluate("(e => (e.getAttribute('aria-label') || e.innerText || '').trim())(document.activeElement)"))


def tabbed_to(tab: Tab, name: str, most: int = 80) -> list[str]:
    """Press Tab until something of that name has the focus; the names on the way."""
    way: list[str] = []
    while len(way) < most:
        tab.page.keyboard.press("Tab")
        way.append(focused(tab))
        if re.search(rf"(^|\n){re.escape(name)}$", way[-1]):
            return way
    raise AssertionError(f"no way to {name!r} by Tab: {way}")


def test_a_training_is_set_up_and_started_by_keyboard(furnished: Studio, open_tab: OpenTab) -> None:
    tab = open_tab(furnished)
    tabbed_to(tab, "Training lab")
    tab.page.keyboard.press("Enter")
    tab.arrives("Training lab")
    way = tabbed_to(tab, "Name of the run")
    tab.page.keyboard.press("ControlOrMeta+a")
    tab.page.keyboard.insert_text("typed")
    way += tabbed_to(tab, "Start training")
    order = ["Name of the run", "Method", "Rank (r)", "Alpha", "Learning rate", "Epochs", "Training samples", "Batch size"]
    places = [next(i for i, name in enumerate(way) if name.endswith(wanted)) for wanted in order]
    assert places == sorted(places)
    tab.page.keyboard.press("Enter")
    tab.sees("At work: typed")
    job = next(job for job in jobs(furnished.runs) if job.run == "typed")
    stop(job)
    tab.sees("Stopped. Continue goes on", long=True)
    tab.leave()


def test_a_text_is_tried_by_keyboard(furnished: Studio, open_tab: OpenTab) -> None:
    tab = open_tab(furnished)
    tab.go("Try it")
    tab.sees("A hard one")
    tabbed_to(tab, "Text")
    tab.page.keyboard.insert_text(TEXT)
    tabbed_to(tab, "Classify")
    tab.page.keyboard.press("Enter")
    tab.sees("confidence")
    tab.settled()
    tabbed_to(tab, "Why?")
    tab.page.keyboard.press("Enter")
    tab.page.locator("mark").first.wait_for()
    tab.leave()


def test_adapters_of_one_base_are_switched_at_once(furnished: Studio, open_tab: OpenTab) -> None:
    tab = open_tab(furnished)
    tab.go("Try it")
    chosen(tab, "ada", "bob")
    ask(tab)
    took = []
    for name in ("ada", "bob", "ada", "bob", "ada"):
        chosen(tab, "words")  # a third one in between, so that the answer is asked for anew
        tab.page.get_by_role("textbox", name="Text", exact=True).fill(f"{TEXT}, {len(took)}")
        tab.press("Classify")
        box = tab.page.get_by_label("Runs", exact=True).first
        box.click()
        box.fill(name)
        option = tab.page.get_by_role("option").filter(has_text=name).first
        option.wait_for()
        began = time.monotonic()
        option.click()
        tab.page.locator("[data-testid=stMetric]").nth(1).wait_for()
        took.append(time.monotonic() - began)
        tab.page.keyboard.press("Escape")
        tab.settled()
    assert statistics.median(took) < 0.5, took
    tab.leave()


def test_two_hundred_runs_and_every_page_is_there_in_a_second(
    furnished: Studio, home: Path, chrome: Any, open_tab: OpenTab, tmp_path: Path
) -> None:
    for i in range(200):
        shutil.copytree(furnished.runs / ("ada", "words")[i % 2], tmp_path / "runs" / f"run-{i:03}")
    studio = Studio(tmp_path / "runs", home)
    with ended(studio):
        up = first_page(studio, chrome)
        studio.stop()
        up = min(up, first_page(studio, chrome))
        tab = open_tab(studio)
        rounds = [{page: answered(tab, page) for page in (*PAGES[1:], PAGES[0])} for _ in range(2)]
        times = {page: min(one[page] for one in rounds) for page in PAGES}
        tab.shoot("looks-200")
        tab.leave()
    assert up < 5
    assert max(times.values()) < 1, times


def first_page(studio: Studio, chrome: Any) -> float:
    """Seconds from the command until the browser shows the first page, runs and all."""
    context = chrome.new_context()
    page = context.new_page()
    began = time.monotonic()
    studio.start()
    page.goto(studio.address)
    page.get_by_role("heading", name=words("overview")["results"], exact=True).wait_for()
    took = time.monotonic() - began
    context.close()
    return took


def answered(tab: Tab, page: str) -> float:
    """Seconds from the click in the menu until the page is drawn."""
    title = words("overview")["title"] if page == "overview" else words("main")[page]
    link = tab.page.get_by_test_id("stSidebarNav").get_by_role("link", name=words("main")[page], exact=True)
    link.hover()
    began = time.monotonic()
    link.click()
    tab.page.wait_for_function(
        "t => document.querySelector('h1')?.innerText === t && !document.querySelector('[data-test-script-state=running]')",
        arg=title,
    )
    return time.monotonic() - began


def unharmed(tab: Tab) -> None:
    assert tab.page.evaluate("window.hacked") is None
    assert tab.page.locator("img[src=x], [data-testid=stMain] script").count() == 0


def bad_uploads(tmp_path: Path) -> dict[Path, str]:
    """Files that cannot be used, with what is said of them."""
    huge, program, empty = tmp_path / "huge.csv", tmp_path / "program.csv", tmp_path / "empty.csv"
    with huge.open("wb") as file:
        file.truncate(500_000_000)
    program.write_bytes(Path("/bin/ls").read_bytes())
    empty.write_bytes(b"")
    return {huge: "200.0MB or smaller", program: "UTF-8", empty: "is empty"}


@pytest.mark.parametrize("place", ["data", "try_it"])
def test_no_upload_does_harm(furnished: Studio, open_tab: OpenTab, tmp_path: Path, place: str) -> None:
    tab = open_tab(furnished)
    tab.go(words("main")[place])
    if place == "try_it":
        chosen(tab, "hostile")
        tab.page.get_by_role("tab", name="A whole file").click()
    upload = tab.page.locator("[data-testid=stFileUploader]:visible input[type=file]")
    for file, told in bad_uploads(tmp_path).items():
        upload.set_input_files(file)
        tab.sees(told)
        assert tab.page.get_by_test_id("stException").count() == 0
    rows = [{"id": f"=1+{i}", "text": f"{EVIL[i % 2]} film {i}", "label": EVIL[i % 2]} for i in range(60)]
    evil = write_csv(tmp_path / f"{EVIL[0].replace('/', '')}.csv", rows)
    upload.set_input_files(evil)
    if place == "data":
        tab.sees("Random training rows", long=True)
    else:
        tab.press("Label all rows")
        tab.sees("60 rows labelled", long=True)
        lines = tab.downloaded("Download CSV").decode("utf-8-sig").splitlines()
        assert len(lines) == 61
        assert all(cell[:1] not in tuple("=+-@") for row in csv.reader(lines) for cell in row if not _is_number(cell))
    tab.settled()
    unharmed(tab)
    tab.shoot(f"looks-hostile-{place}")
    tab.leave()


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_nothing_tried_to_leave_the_machine(furnished: Studio, at_work: None, open_tab: OpenTab) -> None:
    tab = open_tab(furnished)
    for page in PAGES:
        filled(tab, page)
    here = (furnished.address, furnished.address.replace("http", "ws"), "data:", "blob:")
    assert [url for url in tab.asked_for if not url.startswith(here)] == []
    tab.leave()
    lines = (furnished.runs.parent / "audit.log").read_text("utf-8").splitlines()
    for process in ("streamlit run", "tunebench.asking.process", "tunebench.cli train", "tunebench.cli compare"):
        assert any(line.startswith("watched") and process in line for line in lines), process
    assert [line for line in lines if line.startswith("tried")] == []
