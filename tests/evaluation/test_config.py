"""The settings that all evaluations share, and the one signature that takes them."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from hf_robust_tickets import evaluation
from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.evaluation import EvaluationConfig, RecipeResult, evaluate_noise, evaluate_transfer
from hf_robust_tickets.evaluation.config import EvaluationSettings
from tests.testing.keyword_model import keyword_model, keyword_tokenizer, rows

FUNCTIONS = [getattr(evaluation, name) for name in evaluation.__all__ if name.startswith("evaluate_")]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_every_evaluation_has_one_signature(function):
    parameters = list(inspect.signature(function).parameters.values())
    assert [parameter.name for parameter in parameters[:3]] == ["model", "dataset", "tokenizer"]
    *own, config, settings = parameters[3:]
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in [*own, config])
    assert config.name == "config" and config.default is None and settings.kind is settings.VAR_KEYWORD
    common = {field.name for field in dataclasses.fields(EvaluationConfig)}
    assert common == set(EvaluationSettings.__annotations__) and not common & {parameter.name for parameter in own}
    optional = {"evaluate_white_box", "evaluate_auto_attack", "evaluate_image_transfer"}
    assert (parameters[2].default is None) == (function.__name__ in optional)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_an_unknown_keyword_is_told_the_known_ones(function):
    required = {"evaluate_contrast": {"groups": "set"}, "evaluate_image_transfer": {"source_model": keyword_model()}}
    required["evaluate_gate"] = {"development_data": rows()}
    given = RecipeResult("x", ()) if function is evaluate_transfer else rows()
    with pytest.raises(ConfigurationError, match=r"among .*batch_size.*, got num_example$") as caught:
        function(keyword_model(), given, keyword_tokenizer(), num_example=3, **required.get(function.__name__, {}))
    assert "\n" not in str(caught.value) and function.__name__ in str(caught.value)


def test_keywords_come_before_the_config_and_that_before_defaults():
    config = EvaluationConfig(num_examples=4, seed=7)
    result = evaluate_noise(keyword_model(), rows(20), keyword_tokenizer(), severities=[1], config=config, seed=3)
    assert (result.num_examples, result.seed) == (4, 3)
    merged = EvaluationConfig.merged(evaluate_noise, None, {"seed": 1}, num_examples=9, seed=2)
    assert merged == EvaluationConfig(num_examples=9, seed=1)


def test_settings_that_mean_nothing_are_refused_as_keywords_and_not_in_a_shared_config():
    made = RecipeResult("x", ())
    evaluate_transfer(keyword_model(), made, keyword_tokenizer(), config=EvaluationConfig(num_examples=3))
    with pytest.raises(ConfigurationError, match="got num_examples"):
        evaluate_transfer(keyword_model(), made, keyword_tokenizer(), num_examples=3)


@pytest.mark.parametrize("name", ["num_examples", "batch_size", "max_length"])
def test_values_that_cannot_work_are_refused_in_one_place(name):
    with pytest.raises(ConfigurationError, match=f"expected {name} >= 1"):
        EvaluationConfig(**{name: 0})
