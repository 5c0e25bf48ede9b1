"""Downloads that survive a bad network: resumed where they broke, checked, and put in place whole."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from ..._compat import require

logger = logging.getLogger(__name__)

NETWORK_TIMEOUT = 20.0
"""Seconds without an answer after which a download is given up."""

CHUNK = 1 << 18


def download(url: str, target: Path, sha256: str | None = None) -> None:
    """Fetches a file; an attempt that broke off is continued, now or by the next call.

    What has come is kept in `target.part` as long as the server can tell that it still has the same file (its ETag or
    date of change); otherwise the part is removed and the file is fetched from its beginning. An attempt is repeated
    as long as each brings something new. It is for one process at a time, see `Resource.locked`.

    Args:
        url: Where it is.
        target: Where it goes; the file appears there whole or not at all.
        sha256: What it has to be, if that is known.

    Raises:
        OSError: If it cannot be fetched, or is not what it should be.
    """
    requests = require("requests", extra="attack")
    target.parent.mkdir(parents=True, exist_ok=True)
    part, note = target.with_name(target.name + ".part"), target.with_name(target.name + ".part.json")
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _receive(requests, url, part, note)
            break
        except requests.RequestException as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            after = part.stat().st_size if part.exists() else 0
            if not note.exists():
                part.unlink(missing_ok=True)
            if status is not None or after <= before:
                raise
            logger.info("%s broke off after %d bytes (%s): going on from there", url, after, error)
    if sha256 is not None and file_sha256(part) != sha256:
        found = file_sha256(part)
        part.unlink()
        note.unlink(missing_ok=True)
        raise OSError(f"expected {url} to have the sha256 {sha256}, got {found}: the file was removed")
    os.replace(part, target)
    note.unlink(missing_ok=True)


def _receive(requests: object, url: str, part: Path, note: Path) -> None:
    """One attempt: appends to the part if the server goes on with the same file, else starts it anew."""
    known = _read_note(note)
    headers = {"Accept-Encoding": "identity"}
    start = part.stat().st_size if part.exists() and known.get("url") == url else 0
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": known["validator"]}
    with requests.get(url, stream=True, timeout=NETWORK_TIMEOUT, headers=headers) as answer:
        if answer.status_code == 416:
            # nothing is left to send: the part is the whole file, or it is longer than the file and of no use
            if answer.headers.get("Content-Range") == f"bytes */{start}":
                return
            part.unlink()
            note.unlink(missing_ok=True)
            return _receive(requests, url, part, note)
        answer.raise_for_status()
        goes_on = answer.status_code == 206
        # a weak ETag does not promise equal bytes
        etag = answer.headers.get("ETag", "")
        validator = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")
        if validator and not goes_on:
            note.write_text(json.dumps({"url": url, "validator": validator}))
        elif not goes_on:
            note.unlink(missing_ok=True)
        with part.open("ab" if goes_on else "wb") as file:
            for chunk in answer.iter_content(chunk_size=CHUNK):
                file.write(chunk)


def _read_note(note: Path) -> dict[str, str]:
    try:
        return json.loads(note.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def file_sha256(path: Path) -> str:
    """sha256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_sha256(paths: Iterable[Path]) -> str:
    """One checksum over several files, of their names and checksums in the order of the names; a single file's own."""
    found = sorted((path.name, file_sha256(path)) for path in paths)
    if len(found) == 1:
        return found[0][1]
    return hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in found).encode()).hexdigest()
