"""Files that recipes need besides Python packages: where they are, and how to get them."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .._compat import require, textattack_cache
from ..errors import MissingResourceError, UnknownNameError

logger = logging.getLogger(__name__)

VECTORS_FOLDER = "word_embeddings/paragramcf"
VECTORS_FILES = ("paragram.npy", "wordlist.pickle", "nn.npy")
VECTORS_SHAPE = (65713, 300)
"""Words and dimensions of the published counter-fitted vectors (Mrkšić et al. 2016): how a stand-in is told apart."""

NETWORK_TIMEOUT = 20.0
"""Seconds without an answer after which a download is given up."""


@dataclass(frozen=True)
class Resource:
    """Something that has to lie on disk.

    Attributes:
        name: How recipes and messages call it.
        description: What it is.
        nltk: For NLTK data: path below an NLTK data folder -> name of the downloadable package.
    """

    name: str
    description: str
    nltk: tuple[tuple[str, str], ...] = ()

    @property
    def command(self) -> str:
        """The shell command that fetches it."""
        if self.nltk:
            return "python -m nltk.downloader " + " ".join(package for _, package in self.nltk)
        return f"python -c \"from hf_robust_tickets.evaluation import fetch_resource; fetch_resource('{self.name}')\""

    def missing(self) -> str | None:
        """What is missing and where it was looked for; None if all is there."""
        if not self.nltk:
            folder = textattack_cache() / VECTORS_FOLDER
            absent = [name for name in VECTORS_FILES if not (folder / name).is_file()]
            return f"{', '.join(absent)} in {folder}" if absent else None
        nltk = require("nltk", extra="attack")
        absent = []
        for path, _ in self.nltk:
            try:
                nltk.data.find(path)
            except LookupError:
                try:
                    nltk.data.find(path + ".zip")
                except LookupError:
                    absent.append(path)
        return f"{', '.join(absent)} in NLTK_DATA ({os.environ.get('NLTK_DATA') or 'not set'})" if absent else None


RESOURCES = {
    resource.name: resource
    for resource in (
        Resource("counter-fitted-vectors", "counter-fitted word vectors (Mrkšić et al. 2016)"),
        Resource("wordnet", "WordNet", (("corpora/wordnet", "wordnet"), ("corpora/omw-1.4", "omw-1.4"))),
        Resource(
            "pos-tagger",
            "NLTK's part-of-speech tagger",
            (
                ("taggers/averaged_perceptron_tagger_eng", "averaged_perceptron_tagger_eng"),
                ("taggers/universal_tagset", "universal_tagset"),
            ),
        ),
    )
}


@dataclass(frozen=True)
class ResourceStatus:
    """Whether one resource is there.

    Attributes:
        name: The resource, or "sentence-encoder".
        recipes: Which of the recipes asked about need it.
        available: True if it is there.
        detail: Where it is, or what is missing.
        command: How to get it; empty if it is there.
    """

    name: str
    recipes: tuple[str, ...]
    available: bool
    detail: str
    command: str = ""


def get_resource(name: str) -> Resource:
    """Looks a resource up.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    if name not in RESOURCES:
        raise UnknownNameError(f"expected a resource among {sorted(RESOURCES)}, got {name!r}")
    return RESOURCES[name]


def is_offline() -> bool:
    """Whether downloads are switched off, by `HF_HUB_OFFLINE=1` as for the Hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def ensure_resources(names: Sequence[str]) -> None:
    """Makes sure that resources lie on disk, by a download where that is allowed.

    Args:
        names: Names of resources.

    Raises:
        MissingResourceError: If one is absent and cannot be fetched; it names the command that would.
    """
    for name in names:
        resource = get_resource(name)
        missing = resource.missing()
        if missing is None:
            continue
        if is_offline():
            reason = "HF_HUB_OFFLINE forbids downloads"
        else:
            reason = _try_to_fetch(name)
            if reason is None:
                continue
        raise MissingResourceError(
            f"{resource.description} not found ({missing}) and not fetched ({reason}): "
            f"with a network run `{resource.command}`"
        )


def fetch_resource(name: str) -> None:
    """Downloads a resource to where TextAttack (`TA_CACHE_DIR`) or NLTK (`NLTK_DATA`) looks for it.

    Args:
        name: One of `RESOURCES`.

    Raises:
        UnknownNameError: If there is none of that name.
        MissingResourceError: If the download failed.
    """
    resource = get_resource(name)
    try:
        with _network_timeout():
            if resource.nltk:
                _fetch_nltk(resource)
            else:
                _fetch_vectors()
    except (OSError, zipfile.BadZipFile) as error:
        raise MissingResourceError(f"could not fetch {resource.description}: {_one_line(error)}") from error
    missing = resource.missing()
    if missing is not None:
        raise MissingResourceError(f"fetched {resource.description}, but still miss {missing}")


@functools.cache
def _try_to_fetch(name: str) -> str | None:
    """Fetches once per process: None, or why it failed. A second recipe does not wait for the same timeout."""
    logger.info("fetching %s", RESOURCES[name].description)
    try:
        fetch_resource(name)
    except MissingResourceError as error:
        return str(error)
    return None


def _fetch_nltk(resource: Resource) -> None:
    nltk = require("nltk", extra="attack")
    folder = os.environ.get("NLTK_DATA", "").split(os.pathsep)[0] or None
    for _, package in resource.nltk:
        if not nltk.download(package, download_dir=folder, quiet=True):
            raise OSError(f"nltk.download({package!r}) failed")


def _fetch_vectors() -> None:
    """TextAttack's own archive, without the lock that its downloader leaves behind when the download fails."""
    requests = require("requests", extra="attack")
    target = textattack_cache() / VECTORS_FOLDER
    target.parent.mkdir(parents=True, exist_ok=True)
    url = f"https://textattack.s3.amazonaws.com/{VECTORS_FOLDER}"
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        archive = Path(folder, "archive.zip")
        with requests.get(url, stream=True, timeout=NETWORK_TIMEOUT) as answer:
            answer.raise_for_status()
            with archive.open("wb") as file:
                file.writelines(answer.iter_content(chunk_size=1 << 20))
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folder)
        target.mkdir(exist_ok=True)
        for file in Path(folder, target.name).iterdir():
            os.replace(file, target / file.name)


@contextlib.contextmanager
def _network_timeout() -> Iterator[None]:
    """NLTK's downloader sets no timeout of its own, and a firewall that drops packets would hold it for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
