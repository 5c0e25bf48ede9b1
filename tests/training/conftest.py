"""What tests of training share."""

from __future__ import annotations

import pytest

from tests.testing.methods import START_PATCHES


@pytest.fixture
def same_starts(monkeypatch):
    """Random starts that depend on the entry alone, so that batches can be cut in different ways."""
    for target, start in START_PATCHES.items():
        monkeypatch.setattr(target, start)
