"""Kinds of resources: where each is looked for, how it is fetched, how it is taken from a folder."""

# ruff: noqa: D102  (what the methods do stands in `Resource`)

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..._compat import require, textattack_cache
from .download import download, file_sha256, network_timeout


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
    def fetch(self) -> None:
        """Downloads it to where it is looked for. Raises OSError or `zipfile.BadZipFile` if that fails."""

    @abstractmethod
    def install(self, folder: Path) -> None:
        """Copies it from a folder to where it is looked for. Raises OSError if it is not in there."""

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


@dataclass(frozen=True)
class NltkData(Resource):
    """Packages of NLTK's data. `packages`: path below an NLTK data folder -> name of the package."""

    packages: tuple[tuple[str, str], ...] = ()

    @property
    def source(self) -> str:
        return "https://github.com/nltk/nltk_data"

    def location(self) -> str:
        return f"NLTK_DATA ({os.environ.get('NLTK_DATA') or 'not set'})"

    def missing(self) -> str | None:
        nltk = require("nltk", extra="attack")
        absent = [path for path, _ in self.packages if not _nltk_has(nltk, path)]
        return f"{', '.join(absent)} in {self.location()}" if absent else None

    def found(self) -> list[Path]:
        nltk = require("nltk", extra="attack")
        if self.missing() is not None:
            return []
        places = [_nltk_path(nltk, path) for path, _ in self.packages]
        return [file for place in places for file in files_below(place)]

    def fetch(self) -> None:
        nltk = require("nltk", extra="attack")
        with network_timeout():
            for _, package in self.packages:
                if not nltk.download(package, download_dir=str(_nltk_folder(nltk)), quiet=True):
                    raise OSError(f"nltk.download({package!r}) failed")

    def install(self, folder: Path) -> None:
        target = _nltk_folder(require("nltk", extra="attack"))
        for path, _ in self.packages:
            found = find(folder, [path, f"nltk_data/{path}", f"{path}.zip", f"nltk_data/{path}.zip"], path)
            place(found, target / (path + found.suffix if found.is_file() else path))


def _nltk_has(nltk: object, path: str) -> bool:
    return _nltk_path(nltk, path) is not None


def _nltk_path(nltk: object, path: str) -> Path | None:
    for name in (path, path + ".zip"):
        try:
            found = nltk.data.find(name)
        except (LookupError, zipfile.BadZipFile, OSError):
            continue
        # a download that was cut off by an old version of NLTK leaves half an archive under its final name
        if not name.endswith(".zip") or zipfile.is_zipfile(str(found)):
            return Path(str(found))
    return None


def _nltk_folder(nltk: object) -> Path:
    first = os.environ.get("NLTK_DATA", "").split(os.pathsep)[0]
    return Path(first or nltk.downloader.Downloader().default_download_dir())


@dataclass(frozen=True)
class CacheFiles(Resource):
    """Files in TextAttack's cache folder: an archive on its server, or one file anywhere.

    Attributes:
        path: Below the cache folder: a folder that an archive fills, or the file.
        files: What the folder holds; empty for a single file.
        url: Where it comes from; empty for TextAttack's server under the same path.
        packages: Python packages that are needed besides.
    """

    path: str = ""
    files: tuple[str, ...] = ()
    url: str = ""
    packages: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        return self.url or f"https://textattack.s3.amazonaws.com/{self.path}"

    @property
    def target(self) -> Path:
        """The folder or file."""
        return textattack_cache() / self.path

    def location(self) -> str:
        return f"TA_CACHE_DIR: {self.target}"

    def missing(self) -> str | None:
        if self.files:
            absent = [name for name in self.files if not (self.target / name).is_file()]
            problems = [f"{', '.join(absent)} in {self.target}"] if absent else []
        else:
            problems = [] if self.target.is_file() else [str(self.target)]
        return "; ".join(problems + absent_packages(self.packages)) or None

    def found(self) -> list[Path]:
        places = [self.target / name for name in self.files] if self.files else [self.target]
        return [path for path in places if path.is_file()]

    def fetch(self) -> None:
        if not self.files:
            download(self.source, self.target, self.sha256.get(self.target.name))
            return
        archive = self.target.with_name(self.target.name + ".zip")
        download(self.source, archive)
        try:
            self._unpack(archive)
        finally:
            archive.unlink()

    def _unpack(self, archive: Path) -> None:
        with tempfile.TemporaryDirectory(dir=self.target.parent) as folder:
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(folder)
            found = Path(folder, self.target.name)
            self.check_sha256(found.iterdir())
            self.target.mkdir(parents=True, exist_ok=True)
            for file in found.iterdir():
                os.replace(file, self.target / file.name)

    def install(self, folder: Path) -> None:
        name = self.target.name
        places = [self.path, f"textattack_cache/{self.path}", name]
        if not self.files:
            found = find(folder, places, self.path)
            self.check_sha256([found])
            place(found, self.target)
            return
        found = find(folder, [*places, f"{name}.zip"], self.path)
        if found.is_file():
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self._unpack(found)
            return
        absent = [file for file in self.files if not (found / file).is_file()]
        if absent:
            raise OSError(f"expected {', '.join(self.files)} in {found}, got it without {', '.join(absent)}")
        self.check_sha256(found.iterdir())
        place(found, self.target)


@dataclass(frozen=True)
class Packages(Resource):
    """Python packages that this package's extras cannot install for everybody."""

    packages: tuple[str, ...] = ()
    note: str = ""

    @property
    def command(self) -> str:
        return f"pip install {' '.join(self.packages)}" + (f"  # {self.note}" if self.note else "")

    @property
    def source(self) -> str:
        return "the Python package index"

    def location(self) -> str:
        return "the Python environment"

    def missing(self) -> str | None:
        return "; ".join(absent_packages(self.packages)) or None

    def fetch(self) -> None:
        raise OSError(f"packages are installed with pip: run `{self.command}`")

    def install(self, folder: Path) -> None:
        raise OSError(f"run `pip install --no-index --find-links {folder} {' '.join(self.packages)}`")


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


def place(source: Path, target: Path) -> None:
    """Copies a file or folder; the target appears whole, or is as it was."""
    if source.resolve() == target.resolve():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        fresh = Path(folder, target.name)
        if source.is_file():
            shutil.copyfile(source, fresh)
        else:
            # file by file without their modes: what is handed over may be read-only
            shutil.copytree(source, fresh, copy_function=shutil.copyfile)
            for path in [fresh, *(item for item in fresh.rglob("*") if item.is_dir())]:
                path.chmod(0o755)
            if target.is_dir():
                os.replace(target, Path(folder, "old"))
        os.replace(fresh, target)
