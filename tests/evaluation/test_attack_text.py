"""One text attacked, for a person to read."""

from __future__ import annotations

import pytest

from hf_robust_tickets.errors import ConfigurationError, DataError
from hf_robust_tickets.evaluation import ExampleOutcome, attack_text
from hf_robust_tickets.evaluation.runner.store import to_line
from tests.testing.keyword_model import keyword_model, keyword_tokenizer

NAMES = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}


def attack(text, label, **options):
    return attack_text(keyword_model(**NAMES), keyword_tokenizer(), text, label, recipe="deepwordbug", **options)


@pytest.mark.parametrize("label", [1, "positive"])
def test_a_text_is_shown_before_and_after(label):
    outcome = attack("good film", label)
    assert isinstance(outcome, ExampleOutcome) and outcome.outcome == "succeeded" and outcome.label == 1
    said, before, after = str(outcome).splitlines()
    assert said == f"succeeded after {outcome.queries} queries: positive → negative"
    assert before == "before: [[good]] film"
    assert after.startswith("after:  [[") and after.replace("[[", "").replace("]]", "").endswith(outcome.perturbed)
    assert "class_names" not in to_line({"deepwordbug": outcome}, {"deepwordbug": 0.0})


def test_a_text_that_is_wrong_to_begin_with():
    assert str(attack("good film", "negative")) == "skipped: the model says positive, not negative\ntext: good film"


def test_a_text_that_withstands():
    outcome = attack("great good good good film", 1, query_budget=2)
    assert str(outcome).startswith("failed after 2 queries: still positive\n")


@pytest.mark.parametrize("pair", [("good plot", "good film"), {"premise": "good plot", "hypothesis": "good film"}])
def test_a_pair_of_texts(pair):
    outcome = attack(pair, 1)
    columns = list(pair) if isinstance(pair, dict) else ["sentence1", "sentence2"]
    assert list(outcome.original) == columns and f"{columns[1]}: " in str(outcome)
    if isinstance(pair, dict):
        assert outcome.perturbed["premise"] == "good plot"


def test_what_does_not_fit_is_refused():
    with pytest.raises(
        DataError, match=r"expected a class of the model \('negative', 'positive'\) in 'label' of row 0, got 'neutral'"
    ):
        attack("good film", "neutral")
    with pytest.raises(ConfigurationError, match="concern one text, got num_examples"):
        attack("good film", 1, num_examples=3)
    with pytest.raises(ConfigurationError, match="got querry_budget"):
        attack("good film", 1, querry_budget=3)
    with pytest.raises(ConfigurationError, match="a text or a pair of texts, got 3"):
        attack(("a", "b", "c"), 1)
