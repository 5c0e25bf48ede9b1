"""Real data and published weights, where they are: `ROBUST_TICKETS_DATA`, or `shared/data` beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.testing.paths import ROOT

DATA = Path(os.environ.get("ROBUST_TICKETS_DATA") or ROOT.parent / "shared" / "data")


def real_file(name: str) -> str:
    """A file of the data folder; without it the test is skipped."""
    if not (DATA / name).is_file():
        pytest.skip(f"needs {name} in the folder that ROBUST_TICKETS_DATA names")
    return str(DATA / name)
