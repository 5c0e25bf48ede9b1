"""Files in TextAttack's cache folder as resources."""

# ruff: noqa: D102  (what the methods do stands in `Resource`)

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..._compat import textattack_cache
from .base import Resource, absent_packages, find, place, unpack
from .download import download


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

    def root(self) -> Path:
        return textattack_cache()

    def fetch(self) -> None:
        if not self.files:
            download(self.source, self.target, self.sha256.get(self.target.name))
            return
        archive = self.target.with_name(self.target.name + ".zip")
        download(self.source, archive, self.sha256.get(archive.name))
        try:
            self._unpack(archive)
        finally:
            archive.unlink()

    def _unpack(self, archive: Path) -> None:
        with self.workshop() as folder:
            found = unpack(archive, self.target.name, folder)
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
            self._place(found)
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
        self._place(found)

    def _place(self, found: Path) -> None:
        with self.workshop() as folder:
            place(found, self.target, folder)
