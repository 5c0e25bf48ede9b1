"""Tests of this folder compute on a device that is not the CPU."""

from __future__ import annotations

import pytest

from tests.testing.device import USE_CPU


@pytest.fixture(autouse=True)
def a_device():
    if USE_CPU:
        pytest.skip("needs a device: `make test-gpu` takes CUDA's, `make test-fake` one that is none")
