"""Kernels of the CPU: many are kept, unless the user says how many."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hf_robust_tickets._kernels import keep_compiled_kernels

NAME = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


@pytest.mark.parametrize(("said", "expected"), [(None, "16384"), ("7", "7")])
def test_what_the_environment_says_counts(monkeypatch, said, expected):
    monkeypatch.delenv(NAME, raising=False)
    if said is not None:
        monkeypatch.setenv(NAME, said)
    keep_compiled_kernels()
    assert os.environ[NAME] == expected


def test_it_comes_with_the_import():
    """Without torch: oneDNN reads the number at its first product, which nothing has run before."""
    program = f"import os, sys, hf_robust_tickets; print(os.environ['{NAME}'], 'torch' in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name != NAME}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["16384", "False"]


def test_kernels_of_many_shapes_are_kept():
    """oneDNN says of each kernel whether it was made or found: of 1,200 shapes, all are found the second time."""
    program = """
import hf_robust_tickets, torch
weight = torch.ones(8, 8, dtype=torch.bfloat16)
for _ in range(2):
    for rows in range(1, 1201):
        torch.nn.functional.linear(torch.ones(rows, 8, dtype=torch.bfloat16), weight)
"""
    made = {}
    for kept in ("16384", "1024"):
        environment = {**os.environ, NAME: kept, "ONEDNN_VERBOSE": "profile_create"}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        lines = [line.split(",") for line in done.stdout.splitlines() if ",create:" in line]
        if not lines:
            pytest.skip("this build of torch multiplies bfloat16 without oneDNN")
        made[kept] = sum(",create:cache_miss," in ",".join(line) for line in lines)
    assert made["16384"] <= 1300 < 2000 <= made["1024"]
