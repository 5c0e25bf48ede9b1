"""What every resource can do, and how files are put in place: whole, and by one process at a time."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import shutil
import tempfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from .download import file_sha256

logger = logging.getLogger(__name__)

_TEMPORARY = ".robust-tickets-"
_LARGEST_ARCHIVE = 8 << 30
"""Bytes that an archive may unpack to."""


@dataclass(frozen=True)
class ResourceStatus:
    """Whether one resource is there.

    Attributes:
        name: The resource, or "sentence-encoder".
        recipes: Which of the recipes asked about need it.
        available: True if it is there.
        detail: What or where it is, or what is missing.
        command: How to get it; empty if it is there.
    """

    name: str
    recipes: tuple[str, ...]
    available: bool
    detail: str
    command: str = ""


@dataclass(frozen=True)
class Resource(ABC):
    """Something that has to lie on disk.

    Attributes:
        name: How recipes and messages call it.
        description: What it is.
        size: How much is downloaded, in words.
        licence: Under which terms.
        sha256: File -> its checksum, where it is known; checked when a file is fetched or taken from a folder.
    """

    name: str
    description: str
    size: str = "unknown"
    licence: str = "none stated"
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """The shell command that fetches it."""
        return f"robust-tickets resources fetch {self.name}"

    @property
    @abstractmethod
    def source(self) -> str:
        """Where it is fetched from."""

    @abstractmethod
    def location(self) -> str:
        """Where it is looked for."""

    @abstractmethod
    def missing(self) -> str | None:
        """What is missing and where it was looked for; None if all is there."""

    @abstractmethod
    def root(self) -> Path | None:
        """The folder that it is put below; None for what is no files, or where nothing says where it belongs."""

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """While it lasts, no other process that uses the same folder fetches or installs this resource.

        The system lets go of the lock of a process that is killed; what such a process has left unfinished is removed.

        Raises:
            OSError: If the folder cannot be written to.
        """
        root = self.root()
        if root is None:
            yield
            return
        folder = root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{self.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.warning("another process fetches %s: waiting for it", self.description)
            lock.acquire()
        try:
            for left in folder.glob(f"{_TEMPORARY}{self.name}-*"):
                shutil.rmtree(left)
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def workshop(self) -> Iterator[Path]:
        """An empty folder on the disk of `root`, for `locked` work; it is gone afterwards."""
        with tempfile.TemporaryDirectory(dir=self.root() / ".locks", prefix=f"{_TEMPORARY}{self.name}-") as folder:
            yield Path(folder)

    @abstractmethod
    def fetch(self) -> None:
        """Downloads it to where it belongs, while `locked`. Raises OSError or `zipfile.BadZipFile` if that fails."""

    @abstractmethod
    def install(self, folder: Path) -> None:
        """Copies it from a folder to where it belongs, while `locked`. Raises OSError if it is not in there."""

    def found(self) -> list[Path]:
        """The files that it consists of, where it was found; empty for what is no files, or not there."""
        return []

    def status(self, recipes: tuple[str, ...] = ()) -> ResourceStatus:
        """Whether it is there."""
        missing = self.missing()
        detail = self.description if missing is None else f"not found: {missing}"
        return ResourceStatus(self.name, recipes, missing is None, detail, "" if missing is None else self.command)

    def check_sha256(self, files: Iterable[Path]) -> None:
        """Compares files with the known checksums.

        Raises:
            OSError: If one differs.
        """
        for path in files:
            known = self.sha256.get(path.name)
            if known is not None and file_sha256(path) != known:
                raise OSError(f"expected {path} to have the sha256 {known}, got {file_sha256(path)}: get it again")


def absent_packages(names: Iterable[str]) -> list[str]:
    """Says which packages are not installed: one phrase, or none."""
    absent = [name for name in names if importlib.util.find_spec(name) is None]
    return [f"Python package{'s' if len(absent) > 1 else ''} {', '.join(absent)}"] if absent else []


def files_below(place: Path) -> list[Path]:
    """A file itself; all files below a folder."""
    return [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())


def find(folder: Path, places: Iterable[str], what: str) -> Path:
    """The first of several places in a folder that exists. Raises OSError if none does."""
    for relative in places:
        if (folder / relative).exists():
            return folder / relative
    raise OSError(f"expected {what} in {folder}, got none: looked for {', '.join(places)}")


def place(source: Path, target: Path, workshop: Path) -> None:
    """Copies a file or folder by way of a `workshop` on the same disk; the target appears whole, or is as it was."""
    if source.resolve() == target.resolve():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = workshop / f"fresh-{target.name}"
    if source.is_file():
        shutil.copyfile(source, fresh)
    else:
        # file by file without their modes: what is handed over may be read-only
        shutil.copytree(source, fresh, copy_function=shutil.copyfile)
        for path in [fresh, *(item for item in fresh.rglob("*") if item.is_dir())]:
            path.chmod(0o755)
        if target.is_dir():
            os.replace(target, workshop / f"old-{target.name}")
    os.replace(fresh, target)


def unpack(archive: Path, name: str, workshop: Path) -> Path:
    """Unpacks the folder `name` of an archive, and nothing else of it; returns where it lies.

    Raises:
        OSError: If there is none in it, or it is larger than anything that is needed.
        zipfile.BadZipFile: If it is no archive.
    """
    with zipfile.ZipFile(archive) as opened:
        members = [member for member in opened.infolist() if member.filename.startswith(f"{name}/")]
        size = sum(member.file_size for member in members)
        if size > _LARGEST_ARCHIVE:
            raise OSError(f"expected at most {_LARGEST_ARCHIVE:,} bytes in {archive}, got {size:,}: get it again")
        opened.extractall(workshop, members)
    if not (workshop / name).is_dir():
        raise OSError(f"expected a folder {name} in {archive}, got none: get it again")
    return workshop / name
