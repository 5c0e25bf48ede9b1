from __future__ import annotations

import math

import pytest
import torch

from hf_robust_tickets.errors import DataError
from hf_robust_tickets.evaluation.victim.model import Victim
from hf_robust_tickets.evaluation.victim.scored import ScoredVictim, find_head
from hf_robust_tickets.evaluation.victim.temperature import fit_temperature, log_odds
from tests.testing.headed_model import headed_model, headed_rows, headed_tokenizer
from tests.testing.keyword_model import keyword_model, keyword_tokenizer

# Four examples, each sure by 2 of class 1, of which three are right: sigmoid(2 / T) = 3/4, so T = 2 / ln 3.
SCORES = torch.tensor([[0.0, 2.0]] * 4, dtype=torch.float64)
LABELS = torch.tensor([1, 1, 1, 0])


def test_a_temperature_by_hand():
    found = fit_temperature(SCORES, LABELS)
    assert found.value == pytest.approx(2 / math.log(3), rel=1e-12)
    assert found.nll == pytest.approx(-(3 * math.log(3 / 4) + math.log(1 / 4)) / 4)
    assert found.nll_at_1 == pytest.approx((4 * math.log(1 + math.exp(2)) - 6) / 4)
    assert (found.num_examples, found.smoothed) == (4, False)


@pytest.mark.parametrize("factor", [0.01, 100.0, 2.0**20])
def test_scores_that_are_multiplied_or_moved_have_the_same_ratio_to_their_temperature(factor):
    moved = fit_temperature(SCORES * factor + 7, LABELS)
    assert moved.value / factor == pytest.approx(2 / math.log(3), rel=1e-9)


def test_when_all_is_right_targets_are_smoothed():
    found = fit_temperature(SCORES, torch.ones(4, dtype=torch.long))
    # sigmoid(2 / T) = 5/6
    assert found.smoothed and found.value == pytest.approx(2 / math.log(5), rel=1e-9)


def test_scores_that_no_temperature_makes_right_are_refused():
    with pytest.raises(DataError, match="better than chance"):
        fit_temperature(SCORES, torch.tensor([0, 0, 0, 1]))
    with pytest.raises(DataError, match="differ between classes"):
        fit_temperature(torch.ones(3, 2, dtype=torch.float64), torch.tensor([0, 1, 1]))
    with pytest.raises(DataError, match="no example"):
        fit_temperature(torch.ones(0, 2, dtype=torch.float64), torch.tensor([], dtype=torch.long))


def test_log_odds_keep_what_a_probability_loses():
    scores = torch.tensor([[40.0, 0.0, 0.0], [40.25, 0.0, 0.0]], dtype=torch.float64)
    assert log_odds(scores, 0).tolist() == pytest.approx([40 - math.log(2), 40.25 - math.log(2)])
    assert log_odds(scores, 1)[0].item() == pytest.approx(-40)
    assert scores.float().softmax(1)[0, 0] == scores.float().softmax(1)[1, 0] == 1


TEXTS = [row["text"] for row in headed_rows(12, seed=0)]


@pytest.mark.parametrize("config", [{}, {"scale": 100.0}, {"scale": 0.01}, {"rounded": True}])
def test_scores_are_those_before_anything_was_done_to_the_logits(config):
    model, tokenizer = headed_model(**config), headed_tokenizer()
    plain = Victim(model, tokenizer)
    assert find_head(plain, TEXTS) == "classifier"
    logits, scores = ScoredVictim(model, tokenizer, "classifier").scored(TEXTS)
    assert torch.equal(logits, plain(TEXTS)) and torch.equal(logits, ScoredVictim(model, tokenizer, None)(TEXTS))
    vectors = [model.words.weight[tokenizer(text)["input_ids"]].double().sum(0) for text in TEXTS]
    expected = torch.stack(vectors).detach() @ model.classifier.weight.double().T + torch.tensor([9.0, 9.5])
    assert scores.dtype == torch.float64 and torch.allclose(scores, expected.detach(), atol=1e-5)
    assert torch.equal(scores, ScoredVictim(headed_model(), tokenizer, "classifier").scored(TEXTS)[1])


def test_a_layer_that_does_not_answer_is_no_head():
    model, tokenizer = headed_model(), headed_tokenizer()
    forward = model.forward

    def other_way_round(*args, **kwargs):
        found = forward(*args, **kwargs)
        found.logits = found.logits.flip(1)
        return found

    model.forward = other_way_round
    assert find_head(Victim(model, tokenizer), TEXTS) is None
    assert find_head(Victim(keyword_model(), keyword_tokenizer()), ["good film"]) is None
    logits, scores = ScoredVictim(keyword_model(), keyword_tokenizer(), None).scored(["good film"])
    assert scores.tolist() == logits.tolist() == [[0, 1]]
