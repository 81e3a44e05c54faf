"""Starts the server of the studio: on this machine only unless told otherwise, and nothing is reported to anybody."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from tunebench import listening
from tunebench.errors import MissingExtra

RUNS_VARIABLE = "TUNEBENCH_STUDIO_RUNS"
"""Tells the pages, which Streamlit runs as scripts, the runs folder."""
_SETTINGS = {
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",
    "client.showErrorLinks": "false",
    "client.toolbarMode": "viewer",
    "runner.magicEnabled": "false",
    "server.fileWatcherType": "none",
    "server.headless": "true",
    "server.maxUploadSize": str(listening.MOST_UPLOADED_MB),
    "theme.headingFontSizes": '["2.25rem", "1.6rem", "1.3rem", "1.1rem", "1rem", "1rem"]',
    "theme.light.primaryColor": "#1f5fbf",
    "theme.light.linkColor": "#1a56ad",
    "theme.light.textColor": "#0b0f14",
    "theme.dark.primaryColor": "#3672d8",
    "theme.dark.linkColor": "#8ab4ff",
}


def serve(runs: Path, host: str, port: int, say: Callable[[str], None], *, browser: bool) -> int:
    """Run the studio until it is interrupted; the exit code of its server.

    Raises MissingExtra without Streamlit, InputError where the port is taken.
    """
    if find_spec("streamlit") is None or find_spec("plotly") is None:
        raise MissingExtra("streamlit", "app", "the studio")
    listening.require_port(host, port)
    address = listening.address(host, port)
    say(f"studio over the runs in {runs}: {address} (Ctrl-C ends it; trainings go on)")
    for warning in listening.exposed(host, "start trainings, read and delete the runs, and read files that recipes name"):
        say(warning)
    command = [sys.executable, "-P", "-m", "streamlit", "run", str(Path(__file__).with_name("main.py"))]
    settings = _SETTINGS | {"server.address": host, "server.port": str(port)}
    environment = os.environ | {RUNS_VARIABLE: os.path.abspath(runs)}
    options = [f"--{name}={value}" for name, value in settings.items()]
    return listening.listen([*command, *options], environment, address, f"{address}/_stcore/health", browser=browser)
