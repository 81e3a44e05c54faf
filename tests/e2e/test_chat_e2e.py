"""The chat in a browser, against its real server; nothing of it tries to leave the machine.

Screenshots go to ``TUNEBENCH_SCREENSHOTS`` where that names a folder.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from browsing import CHROMIUM, chromium, shut_out
from quiz import OPTIONS, make_questions, write_quiz
from tiny import write_csv, write_recipe

from tunebench import jobs
from tunebench.listening import MOST_UPLOADED_MB

LACKING = [
    *(name for name in ("chainlit", "playwright") if find_spec(name) is None),
    *([] if CHROMIUM else ["chromium"]),
]
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(LACKING), reason=f"needs {', '.join(LACKING)}"),
]
HOSTILE = "<b>great</b> ![x](http://evil.example/x.png) [a](http://evil.example) **bold**"
FIRST, LABELS = "plain", ["<img src=x onerror=alert(1)>", "**good** [x](http://evil.example)"]


class Server(NamedTuple):
    """A chat that is up."""

    address: str
    runs: Path
    working: Path
    audit: Path

    def audited(self) -> list[str]:
        return self.audit.read_text("utf-8").splitlines()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("chat")
    names = make_runs(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = Server(f"http://localhost:{port}", folder / "runs", folder / "working", folder / "audit.log")
    made.working.mkdir()
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).with_name("audited")), os.environ.get("PYTHONPATH", "")]),
        "TUNEBENCH_AUDIT": str(made.audit),
        "TMPDIR": str(folder),
        "LITERAL_API_KEY": "must not be used",
    }
    command = [
        sys.executable,
        "-m",
        "tunebench.cli",
        "chat",
        *names,
        "--runs",
        str(made.runs),
        "--port",
        str(port),
        "--no-browser",
    ]
    process = subprocess.Popen(command, env=environment, cwd=made.working, start_new_session=True)
    try:
        wait_until_up(made.address, process)
        yield made
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    assert [path for path in folder.iterdir() if path.name.startswith("tunebench-chat-")] == []


def make_runs(folder: Path) -> list[str]:
    """Runs that need no torch: two that label texts, one of them with hostile labels, and one that takes questions."""
    (folder / "hostile").mkdir()
    texts = write_csv(folder / "texts.csv")
    hostile = texts.read_text("utf-8").replace("negative", f'"{LABELS[0]}"').replace("positive", f'"{LABELS[1]}"')
    (folder / "hostile" / "texts.csv").write_text(hostile, "utf-8")
    write_csv(folder / "train.csv", make_questions())
    recipes = [
        write_recipe(folder / f"{FIRST}.yaml", data=texts, name=FIRST, method={"kind": "tfidf"}),
        write_recipe(folder / "hostile.yaml", data=folder / "hostile" / "texts.csv", name="hostile", method={"kind": "majority"}),
        write_quiz(folder, "quiz", data={"validation": {"fraction": 0.2}, "test": {"fraction": 0.2}}),
    ]
    for recipe in recipes:
        jobs.train(str(recipe), [], folder / "runs", lambda event: None)
    shutil.copytree(folder / "runs" / FIRST, folder / "runs" / "gone")
    return [FIRST, "hostile", "quiz", "gone"]


def wait_until_up(address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 90
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the chat did not come up (exit code {process.poll()})")


class Visit:
    """One page of the chat, and every address that it asked for."""

    def __init__(self, browser: Any, server: Server, language: str = "en-US", theme: str = "light", width: int = 1280) -> None:
        self.server, self.elsewhere, self.errors = server, [], []
        self.name = f"chat-{language}-{theme}-{width}"
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, locale=language, accept_downloads=True
        )
        self.page = context.new_page()
        self.page.set_default_timeout(30_000)
        self.page.on("request", self._note)
        self.page.on("websocket", lambda opened: self._note(opened))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: self.errors.append(f"a dialog: {dialog.message}"))
        self.page.goto(server.address)
        self.hears(1)

    def _note(self, asked: Any) -> None:
        here = (self.server.address, self.server.address.replace("http", "ws"), "data:", "blob:")
        if not asked.url.startswith(here):
            self.elsewhere.append(asked.url)

    def said(self) -> list[str]:
        return [part.inner_text() for part in self.page.locator(".inline-custom").all()]

    def hears(self, number: int, *, having: str = "") -> str:
        """The newest part of the chat, once it is the one of that number and has these words."""
        condition = (
            "([number, having]) => { const parts = [...document.querySelectorAll('.inline-custom')];"
            "return parts.length >= number && parts[parts.length - 1].innerText.includes(having) }"
        )
        self.page.wait_for_function(condition, arg=[number, having], timeout=60_000)
        return self.said()[-1]

    def send(self, text: str, *, having: str = "%") -> str:
        before = len(self.said())
        self.page.locator("#chat-input").click()
        self.page.keyboard.insert_text(text)
        self.page.keyboard.press("Enter")
        return self.hears(before + 1, having=having)

    def drop(self, name: str, content: bytes, *, having: str) -> str:
        before = len(self.said())
        file = {"name": name, "mimeType": "text/csv", "buffer": content}
        self.page.locator("input[type=file]").first.set_input_files([file])
        self.page.wait_for_function("() => !document.getElementById('chat-submit')?.disabled")
        self.page.locator("#chat-submit").click()
        return self.hears(before + 1, having=having)

    def pick(self, run: str) -> None:
        self.page.locator("#mode-picker-trigger-run").click()
        self.page.locator("#mode-picker-popover-run").get_by_text(run, exact=True).click()

    def shoot(self, what: str) -> None:
        if folder := os.environ.get("TUNEBENCH_SCREENSHOTS"):
            self.page.wait_for_timeout(500)  # what moves comes to rest
            self.page.screenshot(path=Path(folder) / f"{self.name}-{what}.png")

    def leave(self) -> None:
        assert (self.elsewhere, self.errors) == ([], [])
        self.page.context.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


LOOKS = [
    ("en-US", "light", 1280, "Confidence", "Paste a review", "no table"),
    ("zh-TW", "dark", 1280, "信心", "貼上一則評論", "不是表格"),
    ("zh-CN", "light", 390, "置信度", "粘贴一则评论", "不是表格"),
    ("en-GB", "dark", 390, "Confidence", "Paste a review", "no table"),
    ("fr-FR", "dark", 1280, "Confidence", "Paste a review", "no table"),
]


@pytest.mark.parametrize(("language", "theme", "width", "confidence", "ask", "no_table"), LOOKS)
def test_a_review_is_answered_in_the_language_of_the_browser(
    browser: Any, server: Server, language: str, theme: str, width: int, confidence: str, ask: str, no_table: str
) -> None:
    visit = Visit(browser, server, language, theme, width)
    assert FIRST in visit.said()[0]
    assert visit.page.locator("#chat-input").get_attribute("aria-label") == ask
    assert visit.page.locator("html").get_attribute("class") == theme
    visit.shoot("greeting")
    answer = visit.send(HOSTILE)
    assert confidence in answer
    assert {"negative", "positive"} <= set(answer.split("\n"))
    assert visit.page.get_by_text(HOSTILE, exact=True).count() == 1  # shown as it was written
    visit.shoot("answer")
    assert no_table in visit.drop("notes.txt", b"text", having=no_table)
    assert visit.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    visit.leave()


def test_every_button_has_a_name(browser: Any, server: Server) -> None:
    visit = Visit(browser, server, "zh-TW")
    nameless = "es => es.filter(e => !e.innerText.trim() && !e.getAttribute('aria-label')).map(e => e.id)"
    visit.page.wait_for_function("document.getElementById('new-chat-button')?.hasAttribute('aria-label')")
    assert visit.page.locator("button:visible").evaluate_all(nameless) == []
    visit.leave()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_shuts_nobody_out(browser: Any, server: Server, theme: str) -> None:
    visit = Visit(browser, server, theme=theme)
    visit.send("a warm film")
    visit.drop("x.csv", b"text\na film\n", having="every row is back")
    visit.send("a dull film " * 400)
    visit.page.mouse.wheel(0, -2000)
    visit.page.get_by_label("To the newest message").wait_for()
    assert shut_out(visit.page) == []
    visit.pick("quiz")
    before = len(visit.said())
    visit.send(make_questions()[0]["story"], having="Ask")
    visit.hears(before + 2)
    assert shut_out(visit.page) == []
    visit.leave()


def test_two_visitors_hear_only_their_own_answers(browser: Any, server: Server) -> None:
    one, other = Visit(browser, server), Visit(browser, server)
    one.pick("hostile")
    assert f"{FIRST} ·" in other.send("a warm film")
    assert "hostile ·" in one.send("a dull film")
    assert f"{FIRST} ·" in other.send("a cold film")
    assert [visit.page.get_by_text("a dull film").count() for visit in (one, other)] == [1, 0]
    one.leave()
    other.leave()


def test_a_file_that_is_too_large_is_refused_on_the_page(browser: Any, server: Server, tmp_path: Path) -> None:
    visit = Visit(browser, server)
    large = tmp_path / "large.csv"
    large.write_bytes(b"text\n")
    os.truncate(large, (MOST_UPLOADED_MB + 1) << 20)
    visit.page.locator("input[type=file]").first.set_input_files([large])
    visit.page.get_by_text(f"File is larger than {MOST_UPLOADED_MB} MB").wait_for()
    visit.shoot("large")
    assert f"{FIRST} ·" in visit.send("a warm film")
    visit.leave()


def test_the_picker_switches_runs_and_labels_are_never_markup(browser: Any, server: Server) -> None:
    visit = Visit(browser, server)
    visit.pick("hostile")
    answer = visit.send("a film")
    assert all(label in answer for label in LABELS)
    assert "hostile ·" in answer
    assert visit.page.locator(".message-content img, .message-content a").count() == 0
    visit.shoot("hostile")
    visit.leave()


def test_a_dropped_table_comes_back_answered(browser: Any, server: Server) -> None:
    visit = Visit(browser, server)
    done = visit.drop("../../x<i>.csv", b"id,text\n1,a warm film\n2,=1+1\n", having="every row is back")
    assert "Rows: 2" in done
    with visit.page.expect_download() as download:
        visit.page.locator("a.inline-file").last.click()
    assert "/" not in download.value.suggested_filename
    lines = Path(download.value.path()).read_text("utf-8").splitlines()
    assert [line.split(",")[0] for line in lines] == ["id", "1", "2"]
    visit.shoot("table")
    program = Path("/bin/ls").read_bytes()
    for name, content, reason in (
        ("program.csv", program, "UTF-8"),
        ("none.csv", b"", "empty"),
        ("a.csv", b"a,b\n1,2\n", "'text'"),
    ):
        assert reason in visit.drop(name, content, having=f"{name} cannot be answered"), name
    visit.shoot("refused")
    visit.leave()


def test_a_question_is_asked_with_a_form(browser: Any, server: Server) -> None:
    visit = Visit(browser, server, width=390)
    visit.pick("quiz")
    row = make_questions()[0]
    before = len(visit.said())
    visit.send(row["story"], having="Ask")
    visit.hears(before + 2)
    form = visit.page.locator("form").last
    assert form.get_by_label("Passage").input_value() == row["story"]
    visit.shoot("form")
    form.get_by_role("button", name="Ask").click()
    visit.hears(before + 3, having="Fill in")
    form.get_by_label("Question").fill(row["asked"])
    for number, option in enumerate(OPTIONS, 1):
        form.get_by_label(f"Option {number}").fill(row[option])
    form.get_by_role("button", name="Ask").click()
    answer = visit.hears(before + 4, having="quiz ·")
    assert answer.startswith(f"Option {row['right']}: {row[OPTIONS[int(row['right']) - 1]]}")
    visit.shoot("chosen")
    visit.leave()


def test_a_run_that_is_gone_names_the_command_that_makes_one(browser: Any, server: Server) -> None:
    visit = Visit(browser, server, "zh-TW")
    shutil.rmtree(server.runs / "gone", ignore_errors=True)
    visit.pick("gone")
    said = visit.send("a film", having="tunebench train")
    assert said.startswith("這裡已經沒有執行紀錄 gone。")
    assert f"tunebench train RECIPE --runs {server.runs}" in said
    visit.shoot("gone")
    visit.leave()


def test_too_long_a_text_is_told_so(browser: Any, server: Server) -> None:
    visit = Visit(browser, server)
    assert "1,500,000" in visit.send("film " * 300_000, having="at most 100,000")
    visit.leave()


def test_only_the_chats_own_page_is_let_in(server: Server) -> None:
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(urllib.request.Request(f"{server.address}/project/settings", headers=headers))


def test_nothing_tried_to_leave_the_machine_or_was_left_behind(browser: Any, server: Server) -> None:
    visit = Visit(browser, server)
    visit.send("a warm film")
    visit.drop("x.csv", b"text\na film\n", having="every row is back")
    visit.leave()
    lines = server.audited()
    for process in ("tunebench.chat.process", "tunebench.asking.process", "tunebench.cli predict"):
        assert any(line.startswith("watched") and process in line for line in lines), process
    assert [line for line in lines if line.startswith("tried")] == []
    assert list(server.working.iterdir()) == []
