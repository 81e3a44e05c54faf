"""The studio's own server and a browser without a window, for the tests that look at its pages as a user does."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LACKING = [
    *(name for name in ("streamlit", "plotly", "playwright") if find_spec(name) is None),
    *([] if CHROMIUM else ["chromium"]),
]
TELEPHONE = {
    "viewport": {"width": 390, "height": 844},
    "user_agent": "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36",
    "has_touch": True,
    "is_mobile": True,
}
_UP = 60.0
_MINUTES = 240_000  # milliseconds: a training on real weights, on a machine that has other work too
_LOST = "when disconnected from server", "ERR_CONNECTION_REFUSED", "WebSocket connection", "ERR_CONNECTION_RESET"


class Studio:
    """`tunebench app` over a folder of runs, on a port that stays the same when it is started again."""

    def __init__(self, runs: Path, home: Path, *, before: tuple[str, ...] = ()) -> None:
        self.runs, self._home, self._before = runs, home, before
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.address = f"http://localhost:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        arguments = ["app", "--runs", str(self.runs), "--port", str(self._port), "--no-browser"]
        command = [*self._before, sys.executable, "-m", "tunebench.cli", *arguments]
        environment = os.environ | {"TUNEBENCH_HOME": str(self._home)}
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
        until = time.monotonic() + _UP
        while time.monotonic() < until and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.address}/_stcore/health", timeout=1):
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"the studio did not come up (exit code {self._process.poll()})")

    def kill(self) -> None:
        """End it and its server at once, as when the machine runs out of memory."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self.left_behind() == []  # the port is free

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)

    def server(self) -> int:
        """The process that draws the pages."""
        assert self._process is not None
        return next(pid for pid in (self._process.pid, *_children(self._process.pid)) if "streamlit" in command_of(pid))

    def left_behind(self) -> list[str]:
        """Commands of the processes of a studio that was stopped which are still there after some seconds."""
        assert self._process is not None
        until = time.monotonic() + 20
        while (found := _commands_in(self._process.pid)) and time.monotonic() < until:
            time.sleep(0.1)
        return found

    def libraries(self) -> set[str]:
        """Names of the files that the process which draws the pages has loaded."""
        lines = Path(f"/proc/{self.server()}/maps").read_text("utf-8").splitlines()
        return {Path(line.split(maxsplit=5)[5]).name for line in lines if len(line.split(maxsplit=5)) == 6}


def shut_out(page: Any) -> list[str]:
    """What axe finds critical or serious on a page."""
    import axe_playwright_python

    page.evaluate(Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text("utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    serious = [rule for rule in found if rule["impact"] in ("critical", "serious")]
    return [f"{rule['id']}: {node['html'][:200]}" for rule in serious for node in rule["nodes"]]


class Tab:
    """One tab of a browser at a studio; it notes everything that a page must not say in the console."""

    def __init__(
        self, browser: Any, studio: Studio, folder: Path, *, language: str = "", theme: str = "light", telephone: bool = False
    ) -> None:
        self._studio, self._folder = studio, folder
        self.errors: list[str] = []
        self.asked_for: list[str] = []
        own = TELEPHONE if telephone else {"viewport": {"width": 1280, "height": 900}}
        context = browser.new_context(**own, color_scheme=theme, accept_downloads=True)
        self.page = context.new_page()
        self.page.on("request", lambda asked: self.asked_for.append(asked.url))
        self.page.on("websocket", lambda opened: self.asked_for.append(opened.url))
        self.page.set_default_timeout(30_000)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._note)
        self.page.on("dialog", lambda dialog: self.errors.append(f"a dialog: {dialog.message}"))
        self._suffix = f"?lang={language}" if language else ""
        self.page.goto(studio.address + "/" + self._suffix)
        self.settled()

    def _note(self, said: Any) -> None:
        # Streamlit's own page looks for its server below every page's address first, where it is not.
        known = "/_stcore/" in said.location.get("url", "") or any(lost in said.text for lost in _LOST)
        if said.type == "error" and not known:
            self.errors.append(f"{said.text} {said.location.get('url', '')}")

    def go(self, title: str) -> None:
        """Take a page in the menu, by its title in the language of this tab."""
        self.page.get_by_test_id("stSidebarNav").get_by_role("link", name=title, exact=True).click()
        self.arrives(title)

    def arrives(self, title: str) -> None:
        """Wait until a page is the one that is shown."""
        chosen = self.page.get_by_test_id("stSidebarNav").locator("a[aria-current=page]")
        chosen.filter(has_text=title).wait_for()
        self.settled()

    def settled(self) -> None:
        """Wait until the page is drawn, with what was done on it last."""
        self.page.wait_for_timeout(400)  # what was done reaches the server
        self.page.get_by_role("heading", level=1).first.wait_for()
        self.page.wait_for_function("!document.querySelector('[data-testid=stApp][data-test-script-state=running]')")
        self.page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')")  # a part whose script still loads

    def field(self, label: str, value: str) -> None:
        """Fill in a field and leave it."""
        found = self.page.get_by_label(label, exact=True).first
        found.fill(value)
        found.press("Tab")
        self.settled()

    def button(self, name: str) -> Any:
        """A button of the page by what stands on it, the name of its picture left aside."""
        inside = self.page.get_by_test_id("stMain")
        return inside.locator("button:visible").filter(has=self.page.get_by_text(name, exact=True)).first

    def press(self, name: str) -> None:
        """Press a button, once it can be pressed."""
        self.button(name).click()
        self.settled()

    def downloaded(self, name: str) -> bytes:
        """What a button gives for download."""
        with self.page.expect_download() as download:
            self.button(name).click()
        return Path(download.value.path()).read_bytes()

    def sees(self, text: str, *, long: bool = False) -> Any:
        """Wait for a text on the page; ``long`` is as long as a training may take."""
        found = self.page.get_by_text(text).first
        found.wait_for(timeout=_MINUTES if long else 30_000)
        return found

    def holds(self, value: str) -> None:
        """Wait until a field holds a value."""
        self.page.wait_for_function("v => [...document.querySelectorAll('input')].some(field => field.value === v)", arg=value)

    def pick(self, label: str, option: str) -> None:
        """Choose in a list; on a telephone it cannot be typed into."""
        box = self.page.get_by_label(label, exact=True).first
        box.click()
        if box.is_editable():
            box.fill(option)
        self.page.get_by_role("option").filter(has_text=option).first.click()
        self.page.keyboard.press("Escape")
        self.settled()

    def connection(self, state: str) -> None:
        """Wait until the page has lost its server (``DISCONNECTED_FOREVER``, …) or has it (``CONNECTED``)."""
        self.page.locator(f"[data-testid=stApp][data-test-connection-state={state}]").wait_for(timeout=60_000)

    def points(self) -> int:
        """How many points the curve of the training loss has."""
        return int(self.page.evaluate("(document.querySelector('.js-plotly-plot')?.data?.[1]?.x ?? []).length"))

    def points_beyond(self, number: int) -> int:
        """Wait until that curve has more points than ``number``."""
        self.page.wait_for_function(
            "n => (document.querySelector('.js-plotly-plot')?.data?.[1]?.x ?? []).length > n", arg=number, timeout=_MINUTES
        )
        return self.points()

    def shoot(self, what: str) -> None:
        """A picture of the whole page, which scrolls inside the window."""
        before = self.page.viewport_size
        whole = self.page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        self.page.set_viewport_size({"width": before["width"], "height": max(900, min(whole, 6000))})
        self.page.wait_for_timeout(700)  # what moves comes to rest
        self.page.screenshot(path=self._folder / f"studio-{what}.png")
        self.page.set_viewport_size(before)

    def leave(self) -> None:
        """Close the tab, in which nothing may have gone wrong."""
        assert self.page.get_by_test_id("stException").count() == 0
        assert self.errors == []
        self.close()

    def close(self) -> None:
        """Close the tab, whatever is on it."""
        self.page.context.close()

    def is_closed(self) -> bool:
        """Say whether the tab was closed."""
        return bool(self.page.is_closed())


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def command_of(pid: int) -> str:
    """The command line of a process; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def at_work_on(run: str) -> list[int]:
    """The processes that train a run of this name."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if "tunebench.cli train" in (line := command_of(pid)) and f"/{run}.yaml" in line]


def _commands_in(session: int) -> list[str]:
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [command_of(pid) for pid in pids if _session_of(pid) == session]


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _children(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text("utf-8").split()):
            found += [child, *_children(child)]
    return found
