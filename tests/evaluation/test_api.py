from __future__ import annotations

import logging
import random
import re

import numpy as np
import pytest
import torch

from hf_robust_tickets.errors import CheckpointError, ConfigurationError, MissingResourceError, UnknownNameError
from hf_robust_tickets.evaluation import (
    RobustnessReport,
    check_resources,
    evaluate_robustness,
    get_recipe,
    list_recipes,
    register_recipe,
)
from hf_robust_tickets.evaluation.recipes import registry
from hf_robust_tickets.evaluation.recipes.deepwordbug import _deepwordbug
from tests.testing.keyword_model import keyword_model, keyword_tokenizer, rows

pytest.importorskip("nltk")


def evaluate(dataset=None, **arguments):
    defaults = {"recipes": ["deepwordbug"], "progress": False}
    dataset = rows() if dataset is None else dataset
    return evaluate_robustness(keyword_model(), dataset, keyword_tokenizer(), **(defaults | arguments))


@pytest.fixture
def nothing_installed(monkeypatch, tmp_path):
    """A machine without NLTK data, word vectors and network."""
    import nltk

    monkeypatch.setenv("TA_CACHE_DIR", str(tmp_path / "absent"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    return tmp_path


def test_outcomes_that_can_be_told_by_hand(nothing_installed):
    report = evaluate()
    result = report["deepwordbug"]
    assert [outcome.outcome for outcome in result.outcomes] == ["succeeded", "failed", "skipped"] * 2
    assert report.clean_accuracy == pytest.approx(4 / 6) and result.accuracy_under_attack == pytest.approx(2 / 6)
    assert result.attack_success_rate == 0.5 and result.comparable == "yes"
    first = result.outcomes[0]
    assert "good" not in first.perturbed.split() and first.perturbed.split()[2] == "film"
    assert (first.original_prediction, first.perturbed_prediction, first.label) == (1, 0, 1)
    # the text, one text without each of its 4 words, and at least one way to misspell the first of them
    assert first.queries > 5 and result.outcomes[2].queries == 1
    assert not list(nothing_installed.iterdir())  # nothing was fetched, nothing left behind


def test_the_same_seed_gives_the_same_report_and_another_one_another():
    assert evaluate(seed=1)["deepwordbug"].outcomes == evaluate(seed=1)["deepwordbug"].outcomes
    assert evaluate(seed=1)["deepwordbug"].outcomes != evaluate(seed=2)["deepwordbug"].outcomes


def test_model_and_random_states_are_left_as_they_were():
    model = keyword_model().train()  # its dropout of 0.9 would upset the figures
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    report = evaluate_robustness(model, rows(), keyword_tokenizer(), recipes=["deepwordbug"], progress=False)
    assert report.clean_accuracy == pytest.approx(4 / 6)
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert model.training and model.dropout.training


def test_pairs_of_texts_change_only_the_hypothesis_in_nli_columns(nothing_installed):
    data = [{"premise": "A bad plot", "hypothesis": "great great", "label": 1}]
    outcome = evaluate(data).results["deepwordbug"].outcomes[0]
    assert outcome.original == {"premise": "A bad plot", "hypothesis": "great great"}
    assert set(outcome.perturbed) == {"premise", "hypothesis"} and outcome.outcome == "succeeded"
    assert outcome.perturbed["premise"] == "A bad plot"


def test_texts_without_words_and_odd_characters_do_not_stop_an_evaluation():
    data = [{"text": text, "label": 0} for text in ("...", "好电影 bad", "a", "I it's\n\tbad", "\u200b?")]
    assert len(evaluate(data)["deepwordbug"].outcomes) == 5


def test_report_says_what_it_was_made_with(tmp_path):
    report = evaluate(num_examples=3, seed=4, output_dir=tmp_path)
    assert report.seed == 4 and len(report.sample_ids) == 3 and len(report.model["sha256"]) == 64
    assert report.versions["textattack"] == "0.3.11" and report.settings["text_columns"] == ["text"]
    assert RobustnessReport.load(tmp_path / "robustness.json") == report


def test_missing_resources_are_named_with_the_command_and_the_others_run(nothing_installed, caplog):
    with caplog.at_level(logging.WARNING):
        report = evaluate(recipes=["pwws", "deepwordbug", "textfooler"])
    assert list(report) == ["deepwordbug"] and set(report.failures) == {"pwws", "textfooler"}
    assert "`robust-tickets resources fetch wordnet`" in report.failures["pwws"]
    assert "resources fetch counter-fitted-vectors" in report.failures["textfooler"]
    assert all("\n" not in reason for reason in report.failures.values())
    assert [record.levelname for record in caplog.records].count("WARNING") == 2


def test_all_recipes_failing_is_an_error(nothing_installed):
    with pytest.raises(MissingResourceError, match="resources fetch wordnet"):
        evaluate(recipes=["pwws"])
    with pytest.raises(MissingResourceError, match=r"pwws: .*; textbugger: "):
        evaluate(recipes=["pwws", "textbugger"])


def test_check_resources_tells_before_anything_is_loaded(nothing_installed):
    statuses = {status.name: status for status in check_resources(["pwws", "textfooler", "textbugger"], "use")}
    assert set(statuses) == {"wordnet", "counter-fitted-vectors", "pos-tagger", "sentence-encoder"}
    assert statuses["counter-fitted-vectors"].recipes == ("textfooler", "textbugger")
    assert (
        not statuses["wordnet"].available and statuses["wordnet"].command == "robust-tickets resources fetch wordnet"
    )
    assert check_resources(["deepwordbug"]) == []


def test_arguments_that_cannot_work_are_refused():
    with pytest.raises(UnknownNameError, match="textfooler"):
        evaluate(recipes=["textfolder"])
    with pytest.raises(ConfigurationError, match="recipes to be a list"):
        evaluate(recipes="deepwordbug")
    with pytest.raises(ConfigurationError, match="two or more classes"):
        evaluate_robustness(keyword_model(num_labels=1), rows(), keyword_tokenizer())


def test_a_recipe_of_ones_own(monkeypatch):
    monkeypatch.setattr(registry, "_RECIPES", dict(registry._RECIPES))
    register_recipe("mine", lambda context: get_recipe("deepwordbug").build(context), citation="me")
    assert "mine" in list_recipes()
    assert evaluate(recipes=["mine"])["mine"].accuracy_under_attack == pytest.approx(2 / 6)
    with pytest.raises(ConfigurationError, match="taken"):
        register_recipe("mine", lambda context: None)


def test_a_goal_of_ones_own_decides_what_success_is(monkeypatch):
    monkeypatch.setattr(registry, "_RECIPES", dict(registry._RECIPES))

    def unsure(context):
        attack = get_recipe("deepwordbug").build(context)
        goal = attack.goal_function
        goal._is_goal_complete = lambda output, text: output[goal.ground_truth_output] < 0.9
        return attack

    register_recipe("unsure", unsure)
    data = [{"text": "Some awful film", "label": 0}]  # 0.95; without "awful" 0.73, and still this class
    outcome = evaluate_robustness(keyword_model(), data, keyword_tokenizer(), recipes=["unsure"], progress=False)[
        "unsure"
    ]
    assert [(o.outcome, o.perturbed_prediction) for o in outcome.outcomes] == [("succeeded", 0)]


def test_an_unexpected_error_says_where_it_happened(monkeypatch):
    monkeypatch.setattr(registry, "_RECIPES", dict(registry._RECIPES))

    def broken(context):
        attack = get_recipe("deepwordbug").build(context)
        attack.attack = lambda *_: 1 / 0
        return attack

    register_recipe("broken", broken)
    with pytest.raises(ZeroDivisionError) as caught:
        evaluate(recipes=["broken"])
    assert re.fullmatch(r"while attacking row \d with broken", "".join(caught.value.__notes__))


class Counting(torch.nn.Module):
    """A model that counts its calls."""

    def __init__(self):
        super().__init__()
        self.inner, self.calls = keyword_model(), 0
        self.config = self.inner.config

    def forward(self, **inputs):
        self.calls += 1
        return self.inner(**inputs)


def test_a_rerun_attacks_nothing_twice_and_a_new_recipe_only_what_is_new(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_RECIPES", dict(registry._RECIPES))
    register_recipe("second", get_recipe("deepwordbug").build)
    model = Counting()
    arguments = {"progress": False, "output_dir": tmp_path}
    first = evaluate_robustness(model, rows(), keyword_tokenizer(), recipes=["deepwordbug"], **arguments)
    calls = model.calls
    assert evaluate_robustness(model, rows(), keyword_tokenizer(), recipes=["deepwordbug"], **arguments) == first
    assert model.calls == calls + 1  # whether it answers with logits
    both = evaluate_robustness(model, rows(), keyword_tokenizer(), recipes=["deepwordbug", "second"], **arguments)
    assert both["deepwordbug"].outcomes == first["deepwordbug"].outcomes and len(both["second"].outcomes) == 6


@pytest.mark.parametrize("change", ["weights", "seed", "sample", "max_length", "recipe"])
def test_another_evaluation_in_the_same_folder_is_refused(tmp_path, change, monkeypatch):
    evaluate(output_dir=tmp_path)
    model, data, arguments = keyword_model(), rows(), {}
    if change == "weights":
        model.scores.weight.data[2] = 3.0
    elif change == "sample":
        data = rows(3)
    elif change == "recipe":
        other = dict(registry._RECIPES)
        monkeypatch.setattr(registry, "_RECIPES", other)
        del other["deepwordbug"]
        register_recipe("deepwordbug", _milder)
    else:
        arguments = {change: 7}
    arguments |= {"recipes": ["deepwordbug"], "output_dir": tmp_path, "progress": False}
    with pytest.raises(CheckpointError, match="resume=False"):
        evaluate_robustness(model, data, keyword_tokenizer(), **arguments)
    report = evaluate_robustness(model, data, keyword_tokenizer(), resume=False, **arguments)
    assert len(report["deepwordbug"].outcomes) == len(data)


def _milder(context):
    attack = _deepwordbug(context)
    attack.constraints[0].max_edit_distance = 1
    return attack


def test_saturated_logits_are_mentioned():
    model = keyword_model()
    model.scores.weight.data[2:6] *= 100
    report = evaluate_robustness(model, rows(), keyword_tokenizer(), recipes=["deepwordbug"], progress=False)
    assert len(report.warnings) == 1 and "temperature" in report.warnings[0]
    assert report["deepwordbug"].outcomes[0].margin == pytest.approx(199.0)
