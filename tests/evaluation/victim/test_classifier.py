"""Models as people hand them over: read, or refused in words, by every evaluation alike."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import AutoModelForTokenClassification, BertModel

from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.evaluation import (
    RobustnessReport,
    evaluate_accuracy,
    evaluate_contrast,
    evaluate_hotflip,
    evaluate_noise,
    evaluate_robustness,
    evaluate_white_box,
)
from tests.testing.tiny import tiny_bert, tiny_tokenizer

ROWS = [{"text": f"w{5 + i} w{20 + i} w{30 + i}", "label": i % 2, "set": i // 2} for i in range(4)]
EVALUATIONS = {
    "accuracy": evaluate_accuracy,
    "contrast": lambda model, rows, tokenizer: evaluate_contrast(model, rows, tokenizer, groups="set"),
    "hotflip": lambda model, rows, tokenizer: evaluate_hotflip(model, rows, tokenizer, flips=1, progress=False),
    "noise": lambda model, rows, tokenizer: evaluate_noise(model, rows, tokenizer, severities=[5]),
    "recipes": lambda model, rows, tokenizer: evaluate_robustness(
        model, rows, tokenizer, recipes=["deepwordbug"], progress=False
    ),
    "white box": lambda model, rows, tokenizer: evaluate_white_box(model, rows, tokenizer, progress=False),
}


class Own(nn.Module):
    """Somebody's own module: logits, but nothing that says what they are."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Embedding(60, 2)

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        return self.layer(input_ids).sum(1)


class Bare(type(tiny_bert())):
    """A classifier that gives its logits as they are."""

    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs).logits


def figures(result):
    values = result.to_dict()
    for name in ("model", "settings", "versions", "recipes"):
        values.pop(name, None)
    attacked = {name: one.outcomes for name, one in result.items()} if isinstance(result, RobustnessReport) else None
    return values, attacked


@pytest.mark.parametrize("evaluate", EVALUATIONS.values(), ids=EVALUATIONS)
def test_every_way_to_hand_a_model_over_gives_the_same_figures(evaluate):
    model, tokenizer = tiny_bert().eval(), tiny_tokenizer()
    expected = figures(evaluate(model, ROWS, tokenizer))
    in_tuples = tiny_bert(return_dict=False).eval()
    bare = Bare(model.config).eval()
    bare.load_state_dict(model.state_dict())
    for other in (nn.DataParallel(copy.deepcopy(model)), in_tuples, bare):
        assert figures(evaluate(other, ROWS, tokenizer)) == expected


def quantised():
    return torch.ao.quantization.quantize_dynamic(tiny_bert().eval(), {nn.Linear}, dtype=torch.qint8)


REFUSED = {
    "no model": (lambda: "bert-base-uncased", "load it first"),
    "own module": (Own, "without a configuration"),
    "quantised": (quantised, "not quantised"),
    "no head": (lambda: BertModel(tiny_bert().config).eval(), "expected logits"),
    "a class per token": (lambda: AutoModelForTokenClassification.from_config(tiny_bert().config).eval(), "shape"),
    "one number": (lambda: tiny_bert(num_labels=1).eval(), "one of two or more classes"),
    "several labels": (lambda: tiny_bert(problem_type="multi_label_classification").eval(), "multi_label"),
    "numbers": (lambda: tiny_bert(problem_type="regression").eval(), "regression"),
}


@pytest.mark.parametrize("evaluate", EVALUATIONS.values(), ids=EVALUATIONS)
@pytest.mark.parametrize(("make", "says"), REFUSED.values(), ids=REFUSED)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_models_that_cannot_be_judged_are_refused_in_words(evaluate, make, says):
    with pytest.raises(ConfigurationError, match=says) as error:
        evaluate(make(), ROWS, tiny_tokenizer())
    assert "\n" not in str(error.value)
