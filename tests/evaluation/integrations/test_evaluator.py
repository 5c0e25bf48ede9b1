"""The metric and the evaluator in the way of the `evaluate` library, offline."""

from __future__ import annotations

import evaluate
import pytest
from datasets import Dataset
from transformers import pipeline

from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.evaluation import evaluate_robustness
from hf_robust_tickets.evaluation.integrations.evaluator import METRIC, robustness_evaluator
from tests.testing.tiny import tiny_bert, tiny_tokenizer

DATA = Dataset.from_dict({"sentence": [f"w{i} w9 w{i + 1}" for i in range(6, 22)], "label": [0, 1] * 8})


def compute(model, **options):
    return robustness_evaluator().compute(model, DATA, num_examples=6, progress=False, **options)


def test_figures_are_those_of_the_report():
    model, tokenizer = tiny_bert(), tiny_tokenizer()
    report = evaluate_robustness(model, DATA, tokenizer, recipes=["deepwordbug"], num_examples=6, progress=False)
    pipe = pipeline("text-classification", model=model, tokenizer=tokenizer)
    for found in (compute(pipe), compute(model, tokenizer=tokenizer, metric=evaluate.load(str(METRIC)))):
        assert found["accuracy_under_attack"] == report["deepwordbug"].accuracy_under_attack
        assert found["clean_accuracy"] == report.clean_accuracy
        low, high = report["deepwordbug"].confidence_interval
        assert (found["accuracy_under_attack_low"], found["accuracy_under_attack_high"]) == (low, high)
    several = compute(pipe, recipes=["deepwordbug", "deepwordbug"], input_column="sentence")
    assert several["deepwordbug"] == found


def test_recipes_that_fool_no_model_are_refused():
    with pytest.raises(ConfigurationError, match="accuracy under attack, got input-reduction"):
        compute(tiny_bert(), tokenizer=tiny_tokenizer(), recipes=["input-reduction"])


def test_other_tasks_are_refused():
    with pytest.raises(ConfigurationError, match="text-classification"):
        robustness_evaluator("translation")
