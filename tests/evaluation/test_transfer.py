from __future__ import annotations

import math

import pytest

from hf_robust_tickets.errors import DataError
from hf_robust_tickets.evaluation import ExampleOutcome, RecipeResult, evaluate_transfer
from tests.evaluation.keyword_model import keyword_model, keyword_tokenizer


def outcome(index, original, perturbed, label=1, kind="succeeded"):
    return ExampleOutcome(index, label, original, perturbed, kind, 9, label, 1 - label)


def test_counts_on_hand_made_examples():
    outcomes = (
        outcome(0, "good film", "goood film"),  # right, then wrong
        outcome(1, "great plot", "great plto"),  # right, and still
        outcome(2, "dull film", "dull flim"),  # wrong to begin with
        outcome(3, "good film", "goood film", kind="failed"),  # did not even fool its own model
        outcome(4, {"a": "good", "b": "great"}, {"a": "good", "b": "graet"}),  # a pair: right, and still
    )
    result = evaluate_transfer(RecipeResult("deepwordbug", outcomes), keyword_model().train(), keyword_tokenizer())
    assert (result.num_examples, result.originally_right, result.still_right) == (4, 3, 2)
    assert result.accuracy == pytest.approx(2 / 3)
    assert result.confidence_interval == pytest.approx((0.2077, 0.9385), abs=1e-4)


def test_nothing_to_replay_and_classes_that_do_not_fit():
    empty = evaluate_transfer(RecipeResult("x", ()), keyword_model(), keyword_tokenizer())
    assert empty.num_examples == 0 and math.isnan(empty.accuracy)
    with pytest.raises(DataError, match="more than 2 classes"):
        evaluate_transfer(RecipeResult("x", (outcome(0, "a", "b", 2),)), keyword_model(), keyword_tokenizer())
