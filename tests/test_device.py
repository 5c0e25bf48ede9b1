"""Tests compute on the CPU, whatever the machine has, unless another device is named."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import pytest
import torch

from tests.testing import device
from tests.testing.not_on_fake import NOT_ON_FAKE, reason_not_to_run
from tests.testing.paths import ROOT


@pytest.mark.skipif(not device.USE_CPU, reason="another device was named")
def test_the_suite_sees_no_cuda_device_and_neither_do_the_processes_that_it_starts():
    assert not torch.cuda.is_available() and torch.cuda.device_count() == 0
    code = "import os; print(repr(os.environ['CUDA_VISIBLE_DEVICES']))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "''" and os.environ["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("abacus", "expected ROBUST_TICKETS_TEST_DEVICE to be cpu, cuda or fake, got 'abacus'"),
        ("cuda", "expected a CUDA device for ROBUST_TICKETS_TEST_DEVICE=cuda, got none"),
    ],
)
def test_a_device_that_is_not_there_is_one_line(name, message, monkeypatch):
    monkeypatch.setattr(device, "NAME", name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match=message) as refused:
        device.choose()
    assert "\n" not in str(refused.value)


def test_what_is_left_out_on_the_fake_device_is_there():
    for entry in itertools.chain(*NOT_ON_FAKE.values()):
        path, _, name = entry.partition("::")
        assert (ROOT / path).exists(), entry
        assert not name or f"def {name}(" in (ROOT / path).read_text(), entry
    entry = "tests/training/test_features.py::test_fp16"
    assert reason_not_to_run(f"{entry}[pgd]") and not reason_not_to_run(f"{entry}_and_more")
