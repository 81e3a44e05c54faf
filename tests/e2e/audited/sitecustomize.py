"""Put on PYTHONPATH: every process of a test writes down where it tries to connect to."""

from __future__ import annotations

import ipaddress
import os
import sys

LOG = os.environ["TUNEBENCH_AUDIT"]


def write(line: str) -> None:
    with open(LOG, "a", encoding="utf-8") as log:
        log.write(line + "\n")


def is_here(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else str(host)
    try:
        return ipaddress.ip_address(name).is_loopback or ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return name in ("localhost", "None", "")


def watch(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.getaddrinfo":
        hosts = [arguments[0]]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        hosts = [arguments[1][0]] if isinstance(arguments[1], tuple) else []  # a path is a socket of this machine
    else:
        return
    for host in hosts:
        if not is_here(host):
            write(f"tried {event} {host!r}")


sys.addaudithook(watch)
write("watched " + " ".join(sys.orig_argv))
