"""Packages of NLTK's data as resources."""

# ruff: noqa: D102  (what the methods do stands in `Resource`)

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ..._compat import require
from .base import Resource, absent_packages, files_below, find, place, unpack
from .download import download

NLTK_DATA = "https://raw.githubusercontent.com/nltk/nltk_data/550b6625bcef1f2abff2ff770a5a0d272c9c6b2a/packages"


@dataclass(frozen=True)
class NltkData(Resource):
    """Packages of NLTK's data.

    Attributes:
        packages: Their paths below an NLTK data folder.
        url: Where their archives are: a commit of NLTK's repository, whose files have fixed checksums.
    """

    packages: tuple[str, ...] = ()
    url: str = NLTK_DATA

    @property
    def source(self) -> str:
        return self.url

    def location(self) -> str:
        return f"NLTK_DATA ({os.environ.get('NLTK_DATA') or 'not set'})"

    def missing(self) -> str | None:
        if packages := absent_packages(("nltk",)):
            return packages[0]
        nltk = require("nltk", extra="attack")
        absent = [path for path in self.packages if not _nltk_has(nltk, path)]
        return f"{', '.join(absent)} in {self.location()}" if absent else None

    def found(self) -> list[Path]:
        if self.missing() is not None:
            return []
        nltk = require("nltk", extra="attack")
        places = [_nltk_path(nltk, path) for path in self.packages]
        return [file for place in places for file in files_below(place)]

    def root(self) -> Path:
        return _nltk_folder(require("nltk", extra="attack"))

    def fetch(self) -> None:
        for path in self.packages:
            archive = self.root() / ".locks" / f"{Path(path).name}.zip"
            download(f"{self.url}/{path}.zip", archive, self.sha256.get(archive.name))
            try:
                self._place(archive, path)
            finally:
                archive.unlink()

    def install(self, folder: Path) -> None:
        for path in self.packages:
            found = find(folder, [path, f"nltk_data/{path}", f"{path}.zip", f"nltk_data/{path}.zip"], path)
            self.check_sha256([found] if found.is_file() else [])
            self._place(found, path)

    def _place(self, found: Path, path: str) -> None:
        with self.workshop() as folder:
            whole = unpack(found, Path(path).name, folder) if found.is_file() else found
            place(whole, self.root() / path, folder)


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
