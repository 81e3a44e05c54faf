"""A model hub in a thread: as much of the protocol as huggingface_hub needs to fetch, to create, and to upload.

What the hub client is told by the environment it reads when it is imported, so commands run in a process of their own:
``commands`` runs several, one after the other, in one. This file is also that process.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_tiny"


@dataclass
class Repository:
    """Files at one commit; ``access`` is ``public``, ``private`` or ``gated``."""

    files: dict[str, bytes]
    access: str = "public"
    branches: set[str] = field(default_factory=lambda: {"main"})

    @property
    def commit(self) -> str:
        return hashlib.sha1(b"".join(name.encode() + self.files[name] for name in sorted(self.files))).hexdigest()


class Hub:
    """The server: repositories by id, what was asked for, where to hang up: in a file, or on a commit."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.asked: list[str] = []
        self.cut: dict[str, list[int]] = {}
        self.uploads: dict[str, bytes] = {}
        self.dropped_commits: set[str] = set()
        hub = self

        class Handler(_Handler):
            state = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, name: str, folder: Path, *, access: str = "public", leave_out: tuple[str, ...] = ()) -> Repository:
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name not in leave_out}
        self.repositories[name] = Repository(files, access)
        return self.repositories[name]


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.state.asked.append(f"{self.command} {path}")
        if any(f"/{name}/commit/" in path for name in self.state.dropped_commits):
            self.close_connection = True
            return self.connection.shutdown(socket.SHUT_RDWR)  # in the middle of a push, without an answer
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token not in ("", TOKEN):
            return self._json(401, {"error": "no"}, {"X-Error-Message": "Invalid credentials in Authorization header"})
        if self.command in ("POST", "PUT") and "/paths-info/" not in path and token != TOKEN and "/lfs/" not in path:
            return self._json(401, {"error": "no token"})
        for pattern, answer in _ROUTES:
            if found := re.fullmatch(pattern, path):
                return answer(self, body, **found.groupdict())
        return self._json(404, {"error": f"no route for {path}"})

    def repository(self, name: str) -> Repository | None:
        """The repository, or None after an answer that it is not for this client."""
        known, token = self.state.repositories.get(name), self.headers.get("Authorization")
        if known is None or (known.access == "private" and not token):
            self._json(404 if token else 401, {"error": "x"}, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Not found"})
        elif known.access == "gated":
            self._json(403, {"error": "x"}, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        else:
            return known
        return None

    def info(self, _: bytes, name: str, revision: str | None = None) -> None:
        if (known := self.repository(name)) is None:
            return None
        if revision not in (None, known.commit, *known.branches):
            return self._json(404, {"error": "x"}, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
        files = [{"rfilename": path} for path in known.files]
        return self._json(200, {"id": name, "modelId": name, "sha": known.commit, "siblings": files, "tags": []})

    def tree(self, _: bytes, name: str, revision: str) -> None:
        if known := self.repository(name):
            oids = {path: hashlib.sha1(content).hexdigest() for path, content in known.files.items()}
            found = [{"type": "file", "path": path, "size": len(known.files[path]), "oid": oid} for path, oid in oids.items()]
            self._json(200, found)

    def data_tree(self, _: bytes, name: str, revision: str, path: str | None = None) -> None:
        """What lies in a folder of a data set."""
        if (known := self.repository(name)) is None:
            return None
        start = f"{path}/" if path else ""
        deep = "recursive=true" in self.path.lower()
        below = [file.removeprefix(start).split("/") for file in known.files if file.startswith(start)]
        inside = {"/".join(parts[:depth]) for parts in below for depth in range(1, len(parts) + 1) if deep or depth == 1}
        if not inside:
            return self._json(404, {"error": "x"}, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "no such folder"})
        return self._json(200, [_entry(known, start + item) for item in sorted(inside)])

    def data_paths(self, body: bytes, name: str, revision: str) -> None:
        if known := self.repository(name):
            wanted = parse_qs(body.decode())["paths"]
            there = [path for path in wanted if any(file == path or file.startswith(f"{path}/") for file in known.files)]
            self._json(200, [_entry(known, path) for path in there])

    def file(self, _: bytes, name: str, revision: str, path: str) -> None:
        known = self.repository(name)
        if known is None:
            return None
        if path not in known.files:
            return self._json(404, {"error": "x"}, {"X-Error-Code": "EntryNotFound"})
        content = known.files[path]
        begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.send_response(206 if begin else 200)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", known.commit)
        self.send_header("Content-Length", str(len(content) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            cuts = self.state.cut.get(f"{name}/{path}")
            sent = content[begin:] if not cuts else content[begin : begin + cuts[0]]
            self.wfile.write(sent)
            if cuts:
                cuts.pop(0)
                self.close_connection = True
        return None

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = "/".join(part for part in (asked.get("organization"), asked["name"]) if part)
        if name in self.state.repositories:
            return self._json(409, {"error": "exists", "url": f"{self.state.url}/{name}"})
        private = asked.get("private") or asked.get("visibility") == "private"
        self.state.repositories[name] = Repository({}, "private" if private else "public")
        return self._json(200, {"url": f"{self.state.url}/{name}", "name": name})

    def branch(self, _: bytes, name: str, revision: str) -> None:
        self.state.repositories[name].branches.add(revision)
        self._json(200, {})

    def preupload(self, body: bytes, name: str, revision: str) -> None:
        modes = {True: "lfs", False: "regular"}
        files = [
            {"path": item["path"], "uploadMode": modes[item["path"].endswith(".safetensors")], "shouldIgnore": False}
            for item in json.loads(body)["files"]
        ]
        self._json(200, {"files": files})

    def batch(self, body: bytes, name: str) -> None:
        objects = [
            {**item, "actions": {"upload": {"href": f"{self.state.url}/lfs/{item['oid']}", "header": {}}}}
            for item in json.loads(body)["objects"]
        ]
        self._json(200, {"transfer": "basic", "objects": objects}, {"Content-Type": "application/vnd.git-lfs+json"})

    def upload(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            return self._json(400, {"error": "other bytes than announced"})
        self.state.uploads[oid] = body
        return self._json(200, {})

    def commit(self, body: bytes, name: str, revision: str) -> None:
        known = self.repository(name)
        if known is None:
            return
        for item in map(json.loads, body.splitlines()):
            value = item["value"]
            if item["key"] == "file":
                known.files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                known.files[value["path"]] = self.state.uploads[value["oid"]]
        url = f"{self.state.url}/{name}/commit/{known.commit}"
        self._json(200, {"commitUrl": url, "commitOid": known.commit, "pullRequestUrl": None})

    def sound_yaml(self, _: bytes) -> None:
        self._json(200, {"errors": [], "warnings": []})

    def who(self, _: bytes) -> None:
        self._json(200, {"type": "user", "name": "me", "auth": {"type": "access_token"}})

    def _json(self, code: int, value: Any, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(value).encode()
        self.send_response(code)
        for key, text in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(key, text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _entry(known: Repository, path: str) -> dict[str, Any]:
    """How the hub lists a file or a folder."""
    content = known.files.get(path)
    oid = hashlib.sha1(content or path.encode()).hexdigest()
    return (
        {"type": "directory", "path": path, "oid": oid}
        if content is None
        else {"type": "file", "path": path, "oid": oid, "size": len(content)}
    )


_DATA = r"(?P<name>datasets/[\w.-]+(?:/[\w.-]+)?)"
_NAME = r"(?P<name>[\w.-]+(?:/[\w.-]+)?)"
_ROUTES = [
    (rf"/api/{_DATA}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?", _Handler.data_tree),
    (rf"/api/{_DATA}/paths-info/(?P<revision>[^/]+)", _Handler.data_paths),
    (rf"/api/{_DATA}/revision/(?P<revision>.+)", _Handler.info),
    (rf"/api/{_DATA}", _Handler.info),
    (rf"/{_DATA}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Handler.file),
    (rf"/api/models/{_NAME}/tree/(?P<revision>.+)", _Handler.tree),
    (rf"/api/models/{_NAME}/revision/(?P<revision>.+)", _Handler.info),
    (rf"/api/models/{_NAME}/preupload/(?P<revision>.+)", _Handler.preupload),
    (rf"/api/models/{_NAME}/commit/(?P<revision>.+)", _Handler.commit),
    (rf"/api/models/{_NAME}/branch/(?P<revision>.+)", _Handler.branch),
    (r"/api/repos/create", _Handler.create),
    (r"/api/validate-yaml", _Handler.sound_yaml),
    (r"/api/whoami-v2", _Handler.who),
    (rf"/api/models/{_NAME}", _Handler.info),
    (rf"/{_NAME}\.git/info/lfs/objects/batch", _Handler.batch),
    (r"/lfs/(?P<oid>\w+)", _Handler.upload),
    (rf"/{_NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Handler.file),
]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


def environment(hub: Hub, home: Path, *, offline: bool = False) -> dict[str, str]:
    """The environment of a user of this hub, with an empty cache at first."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    told = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_OFFLINE": str(int(offline)), "TRANSFORMERS_OFFLINE": "0"}
    return kept | told | {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


def commands(told: dict[str, str], *lines: list[str], token: str = "") -> list[Done]:
    """Run ``tunebench`` commands one after the other in one new process; ``TOKEN=…`` before a command changes the token."""
    request = json.dumps([list(map(str, line)) for line in lines])
    done = subprocess.run(
        [sys.executable, __file__], input=request, env=told | {"HF_TOKEN": token}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [Done(**item) for item in json.loads(done.stdout.splitlines()[-1])]


def _run(line: list[str]) -> dict[str, Any]:
    from tunebench.cli import main

    if line[0].startswith("TOKEN="):
        os.environ["HF_TOKEN"] = line.pop(0).removeprefix("TOKEN=")
    sys.argv, code = ["tunebench", *line], 0
    with _captured() as (out, err):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


@contextlib.contextmanager
def _captured() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        yield out, err


if __name__ == "__main__":
    time.sleep = lambda _: None  # the hub client waits a second before it tries again
    answers = [_run(line) for line in json.loads(sys.stdin.read())]
    sys.stdout.write("\n" + json.dumps(answers) + "\n")
