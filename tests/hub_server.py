"""A small Hub on 127.0.0.1: what `huggingface_hub` 2 asks for when it creates, fills and reads a model repository.

It follows the client's source (`hf_api.py`, `_commit_api.py`, `lfs.py`, `file_download.py`), commits and large files
included, and can be taken away in the middle of an upload. It speaks LFS; the client's other transfer protocol, Xet,
is proprietary to the real Hub, so the processes that talk to this one set `HF_HUB_DISABLE_XET=1`. Its metadata check
looks at the shape of `model-index` alone: it is not the real Hub's validator.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results

from tests.hub_store import LARGE, READ_ONLY_TOKEN, TOKEN, USER, Answer, Repository, oid


class Hub:
    """The server. It keeps what it holds while it is away.

    Attributes:
        repositories: What was created, by `owner/name`.
        objects: Large files that were uploaded, by sha256, in a commit or not.
        requests: `METHOD path` of every request that came in whole.
        go_at: A request for whose path this is true is cut off in the middle of its body, and the server is gone.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.go_at: Callable[[str, str], bool] | None = None
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.lock = threading.Lock()
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
        hub = self
        handler = type("BoundHandler", (Handler,), {"hub": hub})
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Stops to listen: connections are refused from now on."""
        server, self._server = self._server, None
        if server is not None:
            # In this order: a socket that is still being polled keeps its address.
            server.shutdown()
            server.server_close()

    def come_back(self) -> None:
        """Listens again, after `go_at` or `stop`."""
        self.go_at = None
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


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    hub: Hub
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
            for method, pattern, route in ROUTES:
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

    # What the client asks for.

    def who_am_i(self) -> None:
        if self._token is None:
            raise Answer(401, "Invalid username or password.")
        self._send({"type": "user", "name": USER, "orgs": [], "auth": {"type": "access_token"}})

    def create(self) -> None:
        asked = json.loads(self.body)
        owner = asked["organization"] or USER
        self._may_write(owner)
        repo = f"{owner}/{asked['name']}"
        if repo in self.hub.repositories:
            url = f"{self.hub.url}/{repo}"
            raise Answer(409, "You already created this model repo", url=url)
        repository = self.hub.repositories[repo] = Repository(private=asked.get("visibility") == "private")
        repository.commit("main", {".gitattributes": (False, b"*.safetensors filter=lfs\n")}, "initial commit")
        self._send({"url": f"{self.hub.url}/{repo}", "name": repo, "id": repo})

    def check_metadata(self) -> None:
        content = json.loads(self.body)["content"]
        block = re.match(r"---\n(.*?)\n---", content, flags=re.DOTALL)
        try:
            metadata = yaml.safe_load(block[1]) if block else {}
            if metadata.get("model-index"):
                model_index_to_eval_results(metadata["model-index"])
        except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
            message = f'"model-index" is not valid: {error!r}'
            raise Answer(400, message, errors=[{"message": message}], warnings=[]) from error
        self._send({"errors": [], "warnings": []})

    def preupload(self, repo: str, revision: str) -> None:
        repository = self._repository(repo)
        self._may_write(repo.split("/")[0])
        present = repository.commits[repository.resolve(revision)]
        answer = []
        for file in json.loads(self.body)["files"]:
            entry = {"path": file["path"], "shouldIgnore": False}
            entry["uploadMode"] = "lfs" if file["path"].endswith(LARGE) else "regular"
            if file["path"] in present:
                entry["oid"] = oid(*present[file["path"]])
            answer.append(entry)
        self._send({"files": answer})

    def batch(self, repo: str) -> None:
        self._repository(repo)
        self._may_write(repo.split("/")[0])
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            if wanted["oid"] not in self.hub.objects:
                upload = {"href": f"{self.hub.url}/lfs/{wanted['oid']}"}
                verify = {"href": f"{self.hub.url}/lfs/{wanted['oid']}/verify"}
                wanted["actions"] = {"upload": upload, "verify": verify}
            objects.append(wanted)
        self._send({"transfer": "basic", "objects": objects}, headers={"Content-Type": "application/vnd.git-lfs+json"})

    def store(self, sha: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != sha:
            raise Answer(400, "the content is not what was announced")
        self.hub.objects[sha] = self.body
        self._send({})

    def verify(self, sha: str) -> None:
        asked = json.loads(self.body)
        if len(self.hub.objects.get(sha, b"")) != asked["size"]:
            raise Answer(404, "no such object")
        self._send({})

    def commit(self, repo: str, revision: str) -> None:
        repository = self._repository(repo)
        self._may_write(repo.split("/")[0])
        if revision not in repository.branches:
            raise Answer(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        files = dict(repository.commits[repository.branches[revision]])
        summary = ""
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                summary = value["summary"]
            elif entry["key"] == "file":
                files[value["path"]] = (False, base64.b64decode(value["content"]))
            elif entry["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise Answer(400, f"LFS pointer of {value['path']} points to a file that does not exist")
                files[value["path"]] = (True, self.hub.objects[value["oid"]])
            else:
                raise Answer(400, f"unknown operation {entry['key']}")
        commit = repository.commit(revision, files, summary)
        self._send({"commitUrl": f"{self.hub.url}/{repo}/commit/{commit}", "commitOid": commit, "success": True})

    def create_branch(self, repo: str, revision: str) -> None:
        repository = self._repository(repo)
        self._may_write(repo.split("/")[0])
        if revision in repository.branches:
            raise Answer(409, "Reference already exists")
        start = json.loads(self.body or b"{}").get("startingPoint", "main")
        repository.branches[revision] = repository.resolve(start)
        self._send({})

    def info(self, repo: str, revision: str = "main") -> None:
        repository = self._repository(repo)
        commit = repository.resolve(revision)
        siblings = [{"rfilename": path} for path in repository.commits[commit]]
        facts = {"id": repo, "sha": commit, "private": repository.private, "siblings": siblings, "tags": []}
        self._send({**facts, "pipeline_tag": "text-classification", "library_name": "transformers"})

    def refs(self, repo: str) -> None:
        branches = self._repository(repo).branches
        listed = [{"name": b, "ref": f"refs/heads/{b}", "targetCommit": c} for b, c in branches.items()]
        self._send({"branches": listed, "tags": [], "converts": []})

    def tree(self, repo: str, revision: str, folder: str | None = None) -> None:
        repository = self._repository(repo)
        files = repository.commits[repository.resolve(revision)]
        entries = []
        for path, (is_large, content) in files.items():
            if folder and not path.startswith(folder.strip("/") + "/"):
                continue
            entry = {"type": "file", "path": path, "size": len(content), "oid": oid(False, content)}
            if is_large:
                entry["lfs"] = {"oid": oid(True, content), "size": len(content), "pointerSize": 130}
            entries.append(entry)
        if folder and not entries:
            raise Answer(404, f"{folder} does not exist", "EntryNotFound")
        self._send(entries)

    def resolve(self, repo: str, revision: str, file: str) -> None:
        repository = self._repository(repo)
        commit = repository.resolve(revision)
        headers = {"X-Repo-Commit": commit}
        if file not in repository.commits[commit]:
            self._send({}, status=404, headers={**headers, "X-Error-Code": "EntryNotFound"})
            return
        is_large, content = repository.commits[commit][file]
        etag = f'"{oid(is_large, content)}"'
        if is_large:
            headers |= {"X-Linked-Size": str(len(content)), "X-Linked-ETag": etag, "ETag": etag}
            self._send(b"", status=302, headers={**headers, "Location": f"{self.hub.store_url}/lfs/{etag[1:-1]}"})
            return
        self._send_part(content, {**headers, "ETag": etag})

    def fetch(self, sha: str) -> None:
        self._send_part(self.hub.objects[sha], {"ETag": f'"{sha}"'})

    def _send_part(self, content: bytes, headers: dict[str, str]) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        headers = {**headers, "Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        if wanted is None:
            self._send(content, headers=headers)
            return
        start, end = int(wanted[1]), int(wanted[2] or len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        self._send(content[start : end + 1], status=206, headers=headers)


_REPO, _REV = r"(?P<repo>[\w.-]+/[\w.-]+)", r"(?P<revision>[^/]+)"
ROUTES = [
    ("GET", "/api/whoami-v2", Handler.who_am_i),
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.check_metadata),
    ("POST", f"/api/models/{_REPO}/preupload/{_REV}", Handler.preupload),
    ("POST", f"/api/models/{_REPO}/commit/{_REV}", Handler.commit),
    ("POST", f"/api/models/{_REPO}/branch/{_REV}", Handler.create_branch),
    ("GET", f"/api/models/{_REPO}/refs", Handler.refs),
    ("GET", f"/api/models/{_REPO}/tree/{_REV}(?P<folder>/.+)?", Handler.tree),
    (
        "GET",
        f"/api/models/{_REPO}(/revision/{_REV})?",
        lambda self, repo, revision: self.info(repo, revision or "main"),
    ),
    ("POST", f"/{_REPO}.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/lfs/(?P<sha>[0-9a-f]{64})", Handler.store),
    ("POST", r"/lfs/(?P<sha>[0-9a-f]{64})/verify", Handler.verify),
    ("GET HEAD", r"/lfs/(?P<sha>[0-9a-f]{64})", Handler.fetch),
    ("GET HEAD", f"/{_REPO}/resolve/{_REV}/(?P<file>.+)", Handler.resolve),
]
