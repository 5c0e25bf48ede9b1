"""What a small Hub of ours holds: repositories of branches, commits and files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

TOKEN = "hf_the_right_one"
READ_ONLY_TOKEN = "hf_may_only_read"
USER = "me"
LARGE = (".safetensors", ".bin", ".png")


class Answer(Exception):
    """An error that the Hub answers with, under the headers by which the client tells errors apart."""

    def __init__(self, status: int, message: str, code: str = "", **body: Any) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.body = status, message, code, body


@dataclass
class Repository:
    """Branches point to commits; a commit is all of its files, as `(is large, content)` by path."""

    private: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, tuple[bool, bytes]]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, branch: str, files: dict[str, tuple[bool, bytes]], message: str) -> str:
        parent = self.branches.get(branch, "")
        digest = hashlib.sha1(f"{parent}{branch}{message}{sorted(files)}".encode())
        for _, content in files.values():
            digest.update(content)
        self.commits[digest.hexdigest()] = files
        self.branches[branch] = digest.hexdigest()
        self.messages.append(message)
        return digest.hexdigest()

    def resolve(self, revision: str) -> str:
        found = self.branches.get(revision, revision)
        if found not in self.commits:
            raise Answer(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found


def oid(is_large: bool, content: bytes) -> str:
    """Name of a blob: sha256 of a large file, git's sha1 of a small one."""
    if is_large:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
