"""An attack that sees labels only."""

from __future__ import annotations

import pytest
import torch

from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.evaluation import evaluate_robustness, get_recipe
from hf_robust_tickets.evaluation.resources import RESOURCES
from tests.testing.keyword_model import KeywordModel, SteadyKeywordModel, keyword_model, keyword_tokenizer, rows
from tests.testing.tiny_parts import LetterEncoder

pytest.importorskip("nltk")


class ScrambledModel(SteadyKeywordModel):
    """The same labels, with scores that say nothing."""

    def forward(self, *args, **kwargs):
        found = KeywordModel.forward(self, *args, **kwargs)
        sums = kwargs["input_ids"].sum(dim=1, keepdim=True)
        noise = torch.sin(sums.float() * 12.9898) + 1.5
        found.logits = noise * torch.nn.functional.one_hot(found.logits.argmax(dim=1), 2)
        return found


@pytest.fixture(autouse=True)
def resources(parts):
    missing = [text for name in get_recipe("hard-label").resources if (text := RESOURCES[name].missing())]
    if missing:
        pytest.skip(f"needs NLTK_DATA: {missing}")


def attack(data=None, kind=SteadyKeywordModel, **options):
    model = kind(keyword_model().config).eval()
    options = {"query_budget": 300, "progress": False, "seed": 1} | options
    return evaluate_robustness(
        model, data or rows(), keyword_tokenizer(), recipes=["hard-label"], sentence_encoder=LetterEncoder(), **options
    )["hard-label"]


def told(result):
    return [(o.outcome, o.perturbed, o.queries) for o in result.outcomes]


def test_a_model_whose_scores_say_nothing_meets_the_same_fate():
    plain, scrambled = attack(), attack(kind=ScrambledModel)
    assert told(plain) == told(scrambled)
    assert plain.outcomes[0].probabilities != scrambled.outcomes[0].probabilities
    # "awful" has "good" and "great" among its neighbours
    assert [o.outcome for o in plain.outcomes] == ["succeeded", "succeeded", "skipped"] * 2


def test_the_text_comes_back_to_the_words_that_matter():
    texts = ["The great film is a very good story", "The great great plot is some good nice good fine movie good"]
    outcomes = attack([{"text": text, "label": 1} for text in texts], query_budget=2000).outcomes
    # a word of -2 in the place of one of 2 brings a sum down by 4: one of two and three of five suffice
    for text, outcome, least in zip(texts, outcomes, (1, 3)):
        assert outcome.outcome == "succeeded"
        changed = [(a, b) for a, b in zip(text.split(), outcome.perturbed.split(), strict=True) if a != b]
        assert least <= len(changed) <= least + 1


def test_the_budget_is_kept_and_what_it_does_not_reach_is_withstood():
    (outcome,) = attack([{"text": "a good good film", "label": 1}], query_budget=1).outcomes
    assert (outcome.outcome, outcome.queries, outcome.perturbed) == ("failed", 1, "a good good film")
    for budget in (5, 12, 40):
        result = attack([{"text": "a good good great great film", "label": 1}], query_budget=budget)
        assert result.outcomes[0].queries <= budget
        assert "queries" in result.comparable


def test_without_a_budget_it_is_refused():
    with pytest.raises(ConfigurationError, match="expected a query budget for hard-label"):
        attack(query_budget=None)


def test_side_by_side_it_finds_the_same():
    assert told(attack(concurrent_examples=4)) == told(attack())


def test_a_text_without_synonyms_is_withstood_at_once():
    (outcome,) = attack([{"text": "great", "label": 1}], query_budget=400).outcomes
    assert outcome.outcome == "succeeded"
    (outcome,) = attack([{"text": "xyzzy awful awful", "label": 0}]).outcomes
    assert outcome.outcome in ("succeeded", "failed")
    (outcome,) = attack([{"text": "xyzzy plugh", "label": 0}]).outcomes
    assert (outcome.outcome, outcome.queries) == ("failed", 1)
