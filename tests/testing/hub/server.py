"""A server on 127.0.0.1 that can be taken away in the middle of an upload and come back with what it held."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.testing.hub.store import READ_ONLY_TOKEN, TOKEN, USER, Answer, Repository


class Hub:
    """The server. It keeps what it holds while it is away.

    Attributes:
        repositories: What was created, by `owner/name`.
        objects: Large files that were uploaded, by sha256, in a commit or not.
        requests: `METHOD path` of every request that came in whole.
        go_at: A request for whose path this is true is cut off in the middle of its body, and the server is gone.
    """

    def __init__(self, connection: type[Connection]) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.go_at: Callable[[str, str], bool] | None = None
        self._connection = connection
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.lock = threading.Lock()
        self._moving = threading.Lock()
        self.start()

    @property
    def is_there(self) -> bool:
        return self._server is not None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def store_url(self) -> str:
        """Large files come from another host than the Hub, and without the token."""
        return f"http://localhost:{self._port}"

    def start(self) -> None:
        """Begins to listen, at the same address as before."""
        handler = type("BoundConnection", (self._connection,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Stops to listen: connections are refused from now on."""
        with self._moving:
            server, self._server = self._server, None
            if server is not None:
                # In this order: a socket that is still being polled keeps its address.
                server.shutdown()
                server.server_close()

    def come_back(self) -> None:
        """Listens again, after `go_at` or `stop`."""
        self.go_at = None
        with self._moving:
            if self._server is None:
                self.start()

    def file(self, repo: str, path: str, revision: str = "main") -> bytes:
        """Content of a file of a repository."""
        repository = self.repositories[repo]
        return repository.commits[repository.resolve(revision)][path][1]

    def files(self, repo: str, revision: str = "main") -> set[str]:
        """Paths of the files of a repository."""
        repository = self.repositories[repo]
        return set(repository.commits[repository.resolve(revision)])


class Connection(BaseHTTPRequestHandler):
    """What all requests have in common; subclasses know the routes."""

    hub: Hub
    routes: Sequence[tuple[str, str, Callable[..., None]]] = ()
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def _serve(self) -> None:
        url = urlsplit(self.path)
        path, self.query = unquote(url.path), parse_qs(url.query)
        length = int(self.headers.get("Content-Length") or 0)
        leaving = self.hub.go_at is not None and self.hub.go_at(self.command, path)
        if leaving or not self.hub.is_there:
            self.rfile.read(length // 2)
            self.hub.stop()
            self.close_connection = True
            return
        self.body = self._chunked() if self.headers.get("Transfer-Encoding") == "chunked" else self.rfile.read(length)
        self.hub.requests.append(f"{self.command} {path}")
        try:
            for method, pattern, route in self.routes:
                found = re.fullmatch(pattern, path)
                if found and self.command in method:
                    self._token_is_known()
                    with self.hub.lock:
                        route(self, **found.groupdict())
                    return
            raise Answer(404, f"this Hub does not serve {self.command} {path}")
        except Answer as answer:
            headers = {"X-Error-Message": answer.message, **({"X-Error-Code": answer.code} if answer.code else {})}
            self._send({"error": answer.message, **answer.body}, status=answer.status, headers=headers)

    def _chunked(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        given = {"Content-Length": str(len(content)), "Content-Type": "application/json", **(headers or {})}
        for name, text in given.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    @property
    def _token(self) -> str | None:
        found = re.fullmatch(r"Bearer (.+)", self.headers.get("Authorization") or "")
        return found and found[1]

    def _token_is_known(self) -> None:
        if self._token not in (None, TOKEN, READ_ONLY_TOKEN):
            raise Answer(401, "Invalid credentials in Authorization header")

    def _may_write(self, owner: str) -> None:
        if self._token is None:
            raise Answer(401, "Invalid username or password.")
        if self._token != TOKEN or owner != USER:
            raise Answer(403, f"You don't have the rights to write under the namespace {owner!r}")

    def _repository(self, repo: str) -> Repository:
        found = self.hub.repositories.get(repo)
        if found is None or (found.private and self._token is None):
            raise Answer(401 if self._token is None else 404, "Repository not found", "RepoNotFound")
        return found
