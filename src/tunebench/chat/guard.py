"""Who may talk to the chat's server, and what its pages may load: nothing beyond the server itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from tunebench.listening import LOCAL

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
"""Chainlit draws our parts of the page by evaluating them, hence ``unsafe-eval``; all of it comes from this server."""
FILES = "/project/file/"


class Guard:
    """Around the server: refuses what another site's page sends here, hosts that are not this one, and too large bodies.

    Without it any page that is open in the same browser could talk to the chat, as its server answers every origin.
    ``host`` is what the server listens on: where that is this machine only, it must be called so.
    """

    def __init__(self, app: App, host: str, most_bytes: int) -> None:
        self._app, self._local, self._most_bytes = app, host in LOCAL, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may come in, with headers on what goes out."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        status = self._refusal(scope)
        if status is None:
            await self._app(scope, receive, _with_headers(scope, send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b"refused"})

    def _refusal(self, scope: Scope) -> int | None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._local and urlsplit(f"//{host}").hostname not in LOCAL:
            return 403
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403
        length = headers.get("content-length", "0")
        return 413 if "transfer-encoding" in headers or not length.isdigit() or int(length) > self._most_bytes else None


def _with_headers(scope: Scope, send: Send) -> Send:
    added = [
        (b"content-security-policy", POLICY.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
    ]
    if scope["path"].startswith(FILES):  # what a visitor uploaded is no page of ours
        added.append((b"content-disposition", b"attachment"))

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *added]
        await send(message)

    return sending
