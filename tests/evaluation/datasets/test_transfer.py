from __future__ import annotations

import math

import pytest
import torch

from hf_robust_tickets.errors import DataError
from hf_robust_tickets.evaluation import ExampleOutcome, RecipeResult, RobustnessReport, evaluate_transfer
from tests.testing.keyword_model import keyword_model, keyword_tokenizer


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
    result = evaluate_transfer(keyword_model().train(), RecipeResult("deepwordbug", outcomes), keyword_tokenizer())
    assert (result.num_examples, result.originally_right, result.still_right) == (4, 3, 2)
    assert result.accuracy == pytest.approx(2 / 3)
    assert result.confidence_interval == pytest.approx((0.2077, 0.9385), abs=1e-4)


def test_nothing_to_replay_and_classes_that_do_not_fit():
    empty = evaluate_transfer(keyword_model(), RecipeResult("x", ()), keyword_tokenizer())
    assert empty.num_examples == 0 and math.isnan(empty.accuracy)
    with pytest.raises(DataError, match="more than 2 classes"):
        evaluate_transfer(keyword_model(), RecipeResult("x", (outcome(0, "a", "b", 2),)), keyword_tokenizer())


def test_replayed_texts_that_do_more_damage_than_the_models_own_attack_are_noticed():
    made = RecipeResult("x", (outcome(0, "good film", "goood film"), outcome(1, "great plot", "graet plot")))

    def replay(*kinds):
        own = RecipeResult("x", tuple(outcome(i, "a", "b", kind=kind) for i, kind in enumerate(kinds)))
        return evaluate_transfer(keyword_model(), made, keyword_tokenizer(), own=own)

    noticed = replay("failed", "succeeded")
    assert noticed.fooled == noticed.right_before == (0, 1) and noticed.to_dict()["fooled"] == [0, 1]
    assert "fool this one on 2 of 2 examples, its own attack on 1" in noticed.warnings[0]
    assert replay("succeeded", "succeeded").warnings == ()
    assert replay("succeeded", "skipped").warnings == ()  # tried on one of them only


def test_classes_in_another_order_are_matched_by_name():
    outcomes = (outcome(0, "good film", "goood film"), outcome(1, "great plot", "great plto"))
    made = RecipeResult("deepwordbug", outcomes)
    source = {"id2label": {"0": "negative", "1": "positive"}}
    report = RobustnessReport({"deepwordbug": made}, 1.0, sample_ids=(0, 1), seed=0, model=source)

    def swapped():
        model = keyword_model(id2label={0: "positive", 1: "negative"}, label2id={"positive": 0, "negative": 1})
        forward = model.forward

        def other_way_round(*args, **kwargs):
            found = forward(*args, **kwargs)
            found.logits = found.logits.flip(1)
            return found

        model.forward = other_way_round
        return model

    result = evaluate_transfer(swapped(), report["deepwordbug"], keyword_tokenizer())
    assert (result.originally_right, result.still_right, result.fooled) == (2, 1, (0,))
    written = result.to_dict()
    assert written["source"] == source and written["model"]["class"] == "KeywordModel"
    assert written["versions"]["torch"] and written["settings"]["max_length"] == 512
    other = keyword_model(id2label={0: "negative", 1: "neutral"}, label2id={"negative": 0, "neutral": 1})
    with pytest.raises(DataError, match="class names to match"):
        evaluate_transfer(other, report["deepwordbug"], keyword_tokenizer())


def test_logits_too_far_apart_are_noticed():
    model = keyword_model()
    with torch.no_grad():
        model.scores.weight.mul_(1000)
    result = evaluate_transfer(model, RecipeResult("x", (outcome(0, "good film", "goood film"),)), keyword_tokenizer())
    assert "probabilities are exactly 0 or 1" in result.warnings[0]
