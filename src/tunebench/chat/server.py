"""Starts the server of the chat: on this machine only unless told otherwise, and nothing is reported to anybody."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from tunebench import listening
from tunebench.chat.home import environment, furnish
from tunebench.errors import InputError, MissingExtra
from tunebench.recipe.spec import TEXT_TASKS
from tunebench.runs.index import find_run

VARIABLE = "TUNEBENCH_CHAT"
"""Tells the server's process which runs it answers for."""


def serve(names: Sequence[str], runs: Path, host: str, port: int, say: Callable[[str], None], *, browser: bool) -> int:
    """Run the chat until it is interrupted; the exit code of its server.

    Raises MissingExtra without Chainlit, InputError with every run that is not there or cannot be asked, or where the port is
    taken.
    """
    names = list(dict.fromkeys(names))
    require_runs(names, runs)
    if find_spec("chainlit") is None:
        raise MissingExtra("chainlit", "chat", "the chat")
    listening.require_port(host, port)
    address = listening.address(host, port)
    say(f"chat with {', '.join(names)}: {address} (Ctrl-C ends it)")
    for warning in listening.exposed(host, "ask these runs and upload files"):
        say(warning)
    with tempfile.TemporaryDirectory(prefix="tunebench-chat-") as home:
        furnish(Path(home))
        given = {"names": names, "runs": os.path.abspath(runs), "home": home, "host": host}
        around = environment(Path(home), host, port) | {VARIABLE: json.dumps(given)}
        command = [sys.executable, "-P", "-m", "tunebench.chat.process"]
        return listening.listen(command, around, address, f"{address}/health", browser=browser)


def require_runs(names: Sequence[str], runs: Path) -> None:
    """InputError with every run that is not there, is not finished or answers neither texts nor questions."""
    faults = []
    for name in names:
        try:
            run = find_run(name, runs)
            if run.recipe.task in TEXT_TASKS:
                faults.append(f"{name}: its task is {run.recipe.task}, which gives no labels; name a run that does")
            elif (status := run.status()) != "finished":
                faults.append(f"{name}: is {status}; `tunebench train` with its recipe finishes it")
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError("chat", faults)
