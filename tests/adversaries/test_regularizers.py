"""Methods that penalise the movement of the output, against numbers computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from hf_robust_tickets.adversaries import ALUM, SMART, TRADES, VAT, RDrop, kl_divergence, symmetric_kl
from hf_robust_tickets.errors import ConfigurationError
from tests.testing.by_hand import GRAD, MASK, UNIT

# softmax of the first is (3/4, 1/4), of the second (1/2, 1/2).
LOGITS, FLAT = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)
TO_FLAT = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
FROM_FLAT = 0.5 * math.log(2 / 3) + 0.5 * math.log(2.0)


def weights(adversary):
    return [adversary.loss_weight(k) for k in range(adversary.num_passes)]


def test_divergences_by_hand():
    assert kl_divergence(LOGITS, FLAT).item() == pytest.approx(TO_FLAT)
    assert kl_divergence(FLAT, LOGITS).item() == pytest.approx(FROM_FLAT)
    assert symmetric_kl(LOGITS, FLAT).item() == pytest.approx(TO_FLAT + FROM_FLAT)
    assert kl_divergence(LOGITS, LOGITS).item() == 0.0


def test_divergence_of_a_regression_is_the_squared_difference():
    target, output = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [2.0]])
    assert kl_divergence(target, output).item() == symmetric_kl(target, output).item() == 2.0


def test_padding_does_not_count():
    first = torch.stack([LOGITS, FLAT]).reshape(1, 2, 2)
    second = torch.stack([FLAT, 9 * LOGITS]).reshape(1, 2, 2)
    assert kl_divergence(first, second, torch.tensor([[1, 0]])).item() == pytest.approx(TO_FLAT)
    assert kl_divergence(first, second, torch.tensor([[0, 0]])).item() == 0.0


def test_divergence_has_a_gradient_in_both_arguments():
    first, second = LOGITS.clone().requires_grad_(), FLAT.clone().requires_grad_()
    kl_divergence(first, second).backward()
    # d KL(p || q) / d logits of q = q - p
    torch.testing.assert_close(second.grad, torch.tensor([[0.5 - 0.75, 0.5 - 0.25]]))
    # d KL(p || q) / d logits of p = p * (log(p / q) - KL)
    expected = [0.75 * (math.log(1.5) - TO_FLAT), 0.25 * (math.log(0.5) - TO_FLAT)]
    torch.testing.assert_close(first.grad, torch.tensor([expected]))


def test_trades_by_hand():
    adversary = TRADES(steps=2, step_size=0.3, init_magnitude=0.001, max_norm=0.4, coefficient=6.0)
    assert weights(adversary) == [1.0, 0.0, 0.0, 6.0]
    start = torch.tensor([[[0.2, 0.0], [0.0, -0.3], [0.0, 0.0]]])
    first = adversary.ascend(start, GRAD, MASK)
    torch.testing.assert_close(first, torch.tensor([[[0.4, 0.0], [0.0, 0.0], [0.0, 0.0]]]))
    torch.testing.assert_close(adversary.ascend(first, -GRAD, MASK)[0, 0], torch.tensor([0.1, 0.0]))
    # KL(clean || perturbed), not the other way round.
    assert adversary.divergence(LOGITS, FLAT).item() == pytest.approx(TO_FLAT)


def test_random_start_of_penalties_has_the_standard_deviation_asked_for():
    torch.manual_seed(0)
    x, mask = torch.zeros(1, 200, 50), torch.tensor([[1] * 100 + [0] * 100])
    start = TRADES(init_magnitude=0.01, max_norm=1.0).init(x, mask)
    assert start[0, :100].std().item() == pytest.approx(0.01, rel=0.05) and start[0, 100:].abs().max() == 0
    assert TRADES(init_magnitude=0.01, max_norm=0.005).init(x, mask).abs().max().item() == pytest.approx(0.005)


@pytest.mark.parametrize("kind", [SMART, ALUM])
def test_smart_and_alum_step_along_the_gradient_divided_by_its_largest_entry(kind):
    adversary = kind(step_size=0.2, init_magnitude=1e-5, max_norm=0.16)
    moved = adversary.ascend(torch.zeros_like(GRAD), GRAD, MASK)
    # The gradient's largest entry is 4: 0.2 * 3/4 and 0.2 * 4/4, the latter cut to the ball.
    torch.testing.assert_close(moved, torch.tensor([[[0.15, 0.0], [0.0, 0.16], [0.0, 0.0]]]))
    per_token = kind(step_size=0.2, init_magnitude=1e-5, max_norm=0.0, scope="token")
    torch.testing.assert_close(
        per_token.ascend(torch.zeros_like(GRAD), GRAD, MASK), torch.tensor([[[0.2, 0.0], [0.0, 0.2], [0.0, 0.0]]])
    )
    assert weights(kind(coefficient=3.0)) == [1.0, 0.0, 3.0]
    assert adversary.divergence(LOGITS, FLAT).item() == pytest.approx(TO_FLAT + FROM_FLAT)


def test_momentum_of_smart_rises_after_a_tenth():
    adversary = SMART()
    assert [adversary.momentum_at(progress) for progress in (0.0, 0.1, 0.11, 1.0)] == [0.99, 0.99, 0.999, 0.999]
    with pytest.raises(ConfigurationError, match=r"late_momentum must be in \[0, 1\)"):
        SMART(late_momentum=1.0)


def test_vat_by_hand():
    adversary = VAT(step_size=2.0, init_magnitude=0.1)
    torch.manual_seed(0)
    start = adversary.init(torch.zeros_like(GRAD), MASK)
    assert start.norm().item() == pytest.approx(0.1) and start[0, 2].abs().max() == 0
    # The start only asks for a direction: what it was is forgotten.
    torch.testing.assert_close(adversary.ascend(start, GRAD, MASK), 2.0 * UNIT)
    assert weights(adversary) == [1.0, 0.0, 1.0] and adversary.detach_clean
    assert adversary.divergence(LOGITS, FLAT).item() == pytest.approx(TO_FLAT)
    with pytest.raises(ConfigurationError, match="exactly 1 step"):
        VAT(steps=2)


def test_r_drop_by_hand():
    adversary = RDrop(coefficient=0.5)
    assert weights(adversary) == [1.0, 0.5] and adversary.perturbed_loss_weight == 1.0
    assert adversary.init(torch.ones_like(GRAD), MASK).abs().max() == 0
    assert adversary.divergence(LOGITS, FLAT).item() == pytest.approx((TO_FLAT + FROM_FLAT) / 2)
    assert adversary.divergence(torch.tensor([[1.0]]), torch.tensor([[3.0]])).item() == 4.0
    with pytest.raises(ConfigurationError, match="perturbs nothing"):
        RDrop(steps=1)


def test_costs_in_units_of_a_plain_step():
    assert TRADES(steps=10).cost == pytest.approx(2 + 10 * 2 / 3)
    assert ALUM().cost == pytest.approx(2 + 2 / 3)
    assert SMART().cost == pytest.approx(3)
    assert SMART(proximal_coefficient=0.0).cost == pytest.approx(2 + 2 / 3)
    assert RDrop().cost == 2


def test_several_labels_are_compared_label_by_label():
    # sigmoid: 3/4 and 1/2 against 1/2 and 1/2; the softmax of both is what it was before both logits rose by one
    first, second = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)
    assert kl_divergence(first, second, kind="labels").item() == pytest.approx(TO_FLAT / 2)
    assert symmetric_kl(first, second, kind="labels").item() == pytest.approx((TO_FLAT + FROM_FLAT) / 2)
    flipped = torch.tensor([[4.0, 4.0]]), torch.tensor([[-4.0, -4.0]])
    assert kl_divergence(*flipped).item() == 0.0
    p = 1 / (1 + math.exp(-4.0))
    assert kl_divergence(*flipped, kind="labels").item() == pytest.approx(4 * (2 * p - 1))
    # one label, one logit: no regression; and no infinity where a label is sure
    assert kl_divergence(LOGITS[:, :1], FLAT[:, :1], kind="labels").item() == pytest.approx(TO_FLAT)
    assert math.isfinite(kl_divergence(torch.tensor([[90.0]]), torch.tensor([[-90.0]]), kind="labels").item())


def test_several_numbers_are_compared_number_by_number():
    first, second = torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, 5.0]])
    assert kl_divergence(first, second, kind="numbers").item() == symmetric_kl(first, second, kind="numbers") == 2.0
    shifted = first + 1.0  # which a softmax does not see
    assert [
        a.divergence(first, shifted, kind="numbers").item() for a in (TRADES(), SMART(), ALUM(), VAT(), RDrop())
    ] == [1.0] * 5
    with pytest.raises(ConfigurationError, match="classes, labels, numbers"):
        kl_divergence(first, second, kind="ranks")
