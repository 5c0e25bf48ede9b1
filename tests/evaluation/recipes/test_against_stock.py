"""The same outcomes, texts and query counts as TextAttack's own wrapper, recipes and attacker."""

from __future__ import annotations

from dataclasses import replace

import pytest
from datasets import load_dataset

from hf_robust_tickets.evaluation import check_resources, evaluate_robustness
from tests.testing.real_data import MINILM, real_file, short_minilm
from tests.testing.stock_textattack import run_stock
from tests.testing.word_model import BagEncoder, word_model

pytestmark = pytest.mark.slow

NUM_EXAMPLES = 200
RECIPES = ["deepwordbug", "pwws", "textbugger", "textfooler"]


@pytest.fixture
def sst2():
    """Training and validation sentences, and everything that the recipes need."""
    files = {"train": real_file("sst2/train_sentences.parquet"), "validation": real_file("sst2/validation.parquet")}
    missing = [status.detail for status in check_resources(RECIPES, BagEncoder()) if not status.available]
    if missing:
        pytest.skip(f"needs NLTK_DATA and TA_CACHE_DIR: {'; '.join(missing)}")
    return load_dataset("parquet", data_files=files)


def theirs_and_ours(recipe, report, model, tokenizer, encoder, seed, monkeypatch):
    ours = report[recipe].outcomes
    rows = [{"index": o.index, "text": o.original, "label": o.label} for o in ours]
    with monkeypatch.context() as patch:
        theirs = run_stock(recipe, model, tokenizer, rows, encoder, seed, patch)
    return theirs, [{"outcome": o.outcome, "perturbed": o.perturbed, "queries": o.queries} for o in ours]


ROUNDED = {"margin": 0.0, "probabilities": (), "perturbed_probabilities": ()}


def test_same_outcomes_as_the_stock_attacker(sst2, monkeypatch):
    model, tokenizer = short_minilm(sst2["train"].shuffle(seed=0).select(range(320)))
    arguments = {"recipes": RECIPES, "num_examples": 5, "seed": 1, "sentence_encoder": "minilm", "progress": False}
    report = evaluate_robustness(model, sst2["validation"], tokenizer, **arguments)
    encoder = pytest.importorskip("sentence_transformers").SentenceTransformer(str(MINILM))
    for recipe in RECIPES:
        theirs, ours = theirs_and_ours(recipe, report, model, tokenizer, encoder, 1, monkeypatch)
        assert ours == theirs, recipe
    assert any(o.outcome == "succeeded" for o in report["textfooler"].outcomes)
    merged = evaluate_robustness(model, sst2["validation"], tokenizer, concurrent_examples=5, **arguments)
    for recipe in RECIPES:
        for one, other in zip(report[recipe].outcomes, merged[recipe].outcomes, strict=True):
            # Other sentences in the same forward call round otherwise.
            assert replace(one, **ROUNDED) == replace(other, **ROUNDED)
            for name in ROUNDED:
                assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-4)


@pytest.mark.parametrize("recipe", RECIPES)
def test_200_sentences_with_the_outcomes_of_the_stock_attacker(recipe, sst2, monkeypatch):
    """A cheap victim and a cheap encoder, so that what is compared is the attacks."""
    train, encoder = sst2["train"][:], BagEncoder()
    model, tokenizer = word_model(train["sentence"], train["label"])
    arguments = {"recipes": [recipe], "num_examples": NUM_EXAMPLES, "sentence_encoder": encoder, "progress": False}
    report = evaluate_robustness(model, sst2["validation"], tokenizer, concurrent_examples=16, **arguments)
    assert report.clean_accuracy > 0.7
    assert min(report[recipe].counts.values()) > 0
    theirs, ours = theirs_and_ours(recipe, report, model, tokenizer, encoder, 0, monkeypatch)
    assert len(ours) == NUM_EXAMPLES and ours == theirs
    alone = evaluate_robustness(model, sst2["validation"], tokenizer, **arguments)
    assert alone[recipe].outcomes == report[recipe].outcomes
