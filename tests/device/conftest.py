"""Tests of this folder compute on a device that is not the CPU."""

from __future__ import annotations

import pytest
import torch

from tests.testing import fake_device
from tests.testing.device import NAME, USE_CPU


@pytest.fixture(autouse=True)
def a_device():
    if USE_CPU:
        pytest.skip("needs a device: `make test-gpu` takes CUDA's, `make test-fake` one that is none")
    if NAME == "fake" and not fake_device.available():
        pytest.skip(f"the device that is none needs torch 2.13 or newer, got {torch.__version__}")
