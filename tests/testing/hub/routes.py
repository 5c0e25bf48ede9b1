"""What `huggingface_hub` 2 asks for when it creates, fills and reads a model repository.

After the client's source (`hf_api.py`, `_commit_api.py`, `lfs.py`, `file_download.py`), commits and large files
included. It speaks LFS; the client's other transfer protocol, Xet, belongs to the real Hub, so the processes that talk
to this one set `HF_HUB_DISABLE_XET=1`. The metadata check looks at the shape of `model-index` alone: it is not the
real Hub's validator.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re

import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results

from tests.testing.hub.server import Connection
from tests.testing.hub.store import LARGE, USER, Answer, Repository, oid


class Routes(Connection):
    """The endpoints."""

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
Routes.routes = [
    ("GET", "/api/whoami-v2", Routes.who_am_i),
    ("POST", "/api/repos/create", Routes.create),
    ("POST", "/api/validate-yaml", Routes.check_metadata),
    ("POST", f"/api/models/{_REPO}/preupload/{_REV}", Routes.preupload),
    ("POST", f"/api/models/{_REPO}/commit/{_REV}", Routes.commit),
    ("POST", f"/api/models/{_REPO}/branch/{_REV}", Routes.create_branch),
    ("GET", f"/api/models/{_REPO}/refs", Routes.refs),
    ("GET", f"/api/models/{_REPO}/tree/{_REV}(?P<folder>/.+)?", Routes.tree),
    (
        "GET",
        f"/api/models/{_REPO}(/revision/{_REV})?",
        lambda self, repo, revision: self.info(repo, revision or "main"),
    ),
    ("POST", f"/{_REPO}.git/info/lfs/objects/batch", Routes.batch),
    ("PUT", r"/lfs/(?P<sha>[0-9a-f]{64})", Routes.store),
    ("POST", r"/lfs/(?P<sha>[0-9a-f]{64})/verify", Routes.verify),
    ("GET HEAD", r"/lfs/(?P<sha>[0-9a-f]{64})", Routes.fetch),
    ("GET HEAD", f"/{_REPO}/resolve/{_REV}/(?P<file>.+)", Routes.resolve),
]
