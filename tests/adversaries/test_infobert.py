"""The two terms of InfoBERT against numbers computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from hf_robust_tickets.adversaries import InfoBERT, get_adversary
from hf_robust_tickets.adversaries.text.infobert import AnchorCritic, anchored_information, anchored_tokens, bottleneck
from hf_robust_tickets.errors import ConfigurationError


def test_bottleneck_is_half_the_mean_squared_distance_of_all_pairs():
    embeddings = torch.tensor([[[0.0, 0.0], [2.0, 0.0]], [[0.0, 3.0], [9.0, 9.0]]])
    mask = torch.tensor([[1, 1], [1, 0]])
    # Squared distances of (0, 0), (2, 0), (0, 3): 4, 9 and 13, each twice among the nine pairs.
    assert bottleneck(embeddings, mask).item() == pytest.approx((4 + 9 + 13) * 2 / 9 / 2)
    assert bottleneck(embeddings[:, :1] * 0, mask[:, :1]).item() == 0.0


def test_words_in_the_middle_of_the_ranks_are_anchored():
    lengths = torch.tensor([[3.0, 1.0, 5.0, 2.0, 4.0, 9.0], [2.0, 1.0, 9.0, 9.0, 9.0, 9.0]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 0, 0, 0, 0]])
    grad = torch.stack([lengths * 0.6, lengths * 0.8], dim=-1)
    # Of five words ranks ceil(2.5) to ceil(4.5) - 1: the two longest. Of two, rank 1.
    anchors = anchored_tokens(grad, mask, 0.5, 0.9)
    assert anchors.int().tolist() == [[0, 0, 1, 0, 1, 0], [1, 0, 0, 0, 0, 0]]
    assert anchored_tokens(grad, mask, 0.0, 1.0).equal(mask.bool())
    # Of five words ranks 0 and 1.
    assert anchored_tokens(grad, mask, 0.0, 0.4)[0].int().tolist() == [0, 1, 0, 1, 0, 0]


def test_anchored_information_by_hand():
    scores = torch.zeros(2, 2, 2)
    # Two anchors: the first token of each sentence. g(t0, z0) = log 3, g(t1, z1) = log 5, g(t1, z0) = g(t0, z1) = 0.
    scores[0, 0, 0], scores[1, 0, 1] = math.log(3), math.log(5)
    scores[:, 1] = 77.0
    anchors = torch.tensor([[True, False], [True, False]])
    expected = (math.log(3) - math.log((3 + 1) / 2) + math.log(5) - math.log((1 + 5) / 2)) / 2
    assert anchored_information(scores, anchors).item() == pytest.approx(expected)
    assert anchored_information(scores, torch.zeros(2, 2, dtype=torch.bool)).item() == 0.0


def test_information_is_at_most_the_logarithm_of_the_anchors():
    scores = 1000.0 * torch.eye(4).reshape(4, 1, 4)
    assert anchored_information(scores, torch.ones(4, 1, dtype=torch.bool)).item() == pytest.approx(
        math.log(4), rel=1e-5
    )


def test_critic_scores_all_pairs():
    critic = AnchorCritic(2)
    with torch.no_grad():
        for layer in (critic.token, critic.sentence):
            layer.weight.zero_()
            layer.weight[0] = torch.tensor([1.0, 0.0])
        critic.token.bias.zero_()
        critic.score.weight.zero_()
        critic.score.weight[0, 0], critic.score.bias[0] = 2.0, -1.0
    tokens, sentences = torch.tensor([[[1.0, 9.0], [-3.0, 9.0]]]), torch.tensor([[0.5, 0.0], [1.0, 0.0]])
    # softplus(2 * relu(token + sentence) - 1)
    expected = [[[math.log1p(math.exp(2.0)), math.log1p(math.exp(3.0))], [math.log1p(math.exp(-1.0))] * 2]]
    torch.testing.assert_close(critic(tokens, sentences), torch.tensor(expected))


def test_infobert_is_freelb_with_options_of_its_own():
    adversary = get_adversary("infobert")
    assert [adversary.loss_weight(k) for k in range(adversary.num_passes)] == [pytest.approx(1 / 3)] * 3
    assert adversary.cost == pytest.approx(4)
    with pytest.raises(ConfigurationError, match=r"0 <= lowest < highest <= 1, got lowest=0\.9"):
        InfoBERT(lowest=0.9, highest=0.5)
    with pytest.raises(ConfigurationError, match="anchor_coefficient must be finite"):
        InfoBERT(anchor_coefficient=-1.0)
