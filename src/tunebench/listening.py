"""What the servers of studio and chat have in common: the port, what it means to be reached by others, the browser."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Mapping, Sequence
from types import FrameType

from tunebench.errors import InputError

LOCAL = ("localhost", "127.0.0.1", "::1")
MOST_UPLOADED_MB = 200
_PATIENCE = 30.0
"""Seconds that the browser waits for the server."""
_GRACE = 5.0
"""Seconds that the server has to end by itself."""


def address(host: str, port: int) -> str:
    """Where a browser on this machine finds the server."""
    everywhere = host in (*LOCAL, "0.0.0.0", "::")
    return f"http://{'localhost' if everywhere else host}:{port}"


def exposed(host: str, can: str) -> list[str]:
    """One line on what it means that others ``can`` reach the server; nothing where only this machine does."""
    if host in LOCAL:
        return []
    remedy = "nobody is asked for a password. Keep it behind something that asks, such as an SSH tunnel."
    return [f"warning: whoever reaches {host} can {can}: {remedy}"]


def require_port(host: str, port: int) -> None:
    """InputError where the port cannot be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            remedy = "is it open already? Choose another --port"
            raise InputError(f"{host}:{port}", f"cannot be listened on ({error.strerror or error}); {remedy}") from None


def listen(command: Sequence[str], environment: Mapping[str, str], page: str, health: str, *, browser: bool) -> int:
    """Run a server until it ends or is interrupted; its exit code, 0 where it was interrupted.

    ``browser``: open ``page`` as soon as the address ``health`` answers.
    """
    before = signal.signal(signal.SIGTERM, _as_interrupt)  # the server must not outlive the command that started it
    process = subprocess.Popen(list(command), env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    if browser:
        threading.Thread(target=_open, args=(page, health), daemon=True).start()
    try:
        return process.wait()
    except KeyboardInterrupt:
        _end(process)
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:  # it waits for pages that are still open
        process.kill()
        process.wait()


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _open(page: str, health: str) -> None:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(health, timeout=1):
                webbrowser.open(page)
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
