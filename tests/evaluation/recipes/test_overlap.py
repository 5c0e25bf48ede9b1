from __future__ import annotations

import pytest
from transformers import AutoConfig, BertConfig

from hf_robust_tickets._provenance import note_training_resources, training_resources
from hf_robust_tickets.evaluation import evaluate_robustness, get_recipe, list_recipes
from hf_robust_tickets.evaluation.datasets.noise_text import KINDS
from hf_robust_tickets.evaluation.recipes import Recipe
from hf_robust_tickets.evaluation.recipes.overlap import (
    ATTACK_RESOURCES,
    NOISE_RESOURCES,
    attack_resources,
    overlap_warnings,
    shared_resources,
)
from hf_robust_tickets.reporting.model_card import model_card
from tests.testing.cards import FACTS
from tests.testing.keyword_model import keyword_model, keyword_tokenizer, rows


def test_every_recipe_and_every_noise_says_where_its_words_are_from():
    assert set(ATTACK_RESOURCES) == set(list_recipes()) and set(NOISE_RESOURCES) == set(KINDS)
    for name in list_recipes():
        needed = get_recipe(name).resources
        assert ("wordnet" in needed) == ("wordnet" in ATTACK_RESOURCES[name]), name
        assert ("counter-fitted-vectors" in needed) <= ("counter-fitted-neighbors" in ATTACK_RESOURCES[name]) or (
            name in ("a2t-mlm", "genetic")
        ), name
        assert (get_recipe(name).masked_lm is not None) == ("masked-lm" in ATTACK_RESOURCES[name]), name


def test_what_is_shared_is_named():
    assert shared_resources(("wordnet", "qwerty"), ["qwerty", "other"]) == ("qwerty",)
    recipes = [get_recipe("pwws"), get_recipe("pruthi"), get_recipe("deepwordbug")]
    assert overlap_warnings(recipes, ["qwerty", "wordnet"]) == [
        "pwws is no unseen attack: the training data were augmented with wordnet too",
        "pruthi is no unseen attack: the training data were augmented with qwerty too",
    ]
    assert overlap_warnings(recipes, []) == []
    own = Recipe("own.py:build", lambda context: None, resources=("wordnet", "pos-tagger"), masked_lm="some/model")
    assert attack_resources(own) == ("wordnet", "masked-lm")


def test_a_configuration_keeps_what_the_training_used(tmp_path):
    config = BertConfig()
    assert training_resources(config) == ()
    note_training_resources(config, ["wordnet"])
    note_training_resources(config, ["qwerty", "wordnet"])
    config.save_pretrained(tmp_path)
    assert training_resources(AutoConfig.from_pretrained(tmp_path)) == ("qwerty", "wordnet")


def test_the_report_says_so_and_the_card():
    pytest.importorskip("nltk")
    model = keyword_model()
    note_training_resources(model.config, ["character-edits"])
    report = evaluate_robustness(model, rows(), keyword_tokenizer(), recipes=["deepwordbug"], progress=False)
    assert report.model["training_resources"] == ["character-edits"]
    said = "deepwordbug is no unseen attack: the training data were augmented with character-edits too"
    assert said in report.warnings
    card = model_card(FACTS, "me/small", reports={"robustness.json": report.to_dict()})
    assert f"- Warning: {said}" in card.replace("\\", "")
