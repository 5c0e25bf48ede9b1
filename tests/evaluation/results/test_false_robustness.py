"""Each sign of false robustness: where it is seen, and where it is not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hf_robust_tickets.evaluation.results import false_robustness as checks


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (checks.logit_scale_warnings([17.0, 1.0]), "50% of the examples differ by more than 16.6"),
        (checks.logit_scale_warnings([0.005] * 3), "5.0e-03 at the median"),
        (checks.gradient_warnings(1, 0, 10), "1 of 10 gradients are zero"),
        (checks.gradient_warnings(0, 1, 100), "1 of 100 gradients hold NaN"),
        (checks.single_step_warnings(0.3, 0.8, 0.7), "radius 0.3: a single step leaves 70.0% accuracy"),
        (checks.mode_warnings(nn.Linear(1, 1).train()), "train mode"),
        # (2/3)^16 = 0.0015, (2/3)^18 = 0.0007
        (checks.chance_warnings(0, 18, 3), "clean accuracy 0.0% is below chance, 33.3% for 3 classes"),
        (checks.chance_warnings(400, 1000, 2), "clean accuracy 40.0% is below chance, 50.0%"),
        (checks.answer_warnings(torch.tensor([[1.0, 0.0], [0.25, 0.75]])), "probabilities where logits"),
        (checks.answer_warnings(torch.randn(99, 9).softmax(1).bfloat16()), "probabilities where logits"),
        (checks.transfer_warnings("pwws", 10, 5, 4), "on 5 of 10 examples, its own attack on 4"),
    ],
)
def test_it_is_seen(found, says):
    assert len(found) == 1 and says in found[0]


@pytest.mark.parametrize(
    "found",
    [
        checks.logit_scale_warnings([17.0] + [3.0] * 19),  # one in twenty: not more than 5 %
        checks.logit_scale_warnings([0.005, 0.5, 0.6]),
        checks.logit_scale_warnings([]),
        checks.gradient_warnings(1, 0, 20),
        checks.gradient_warnings(0, 0, 0),
        checks.single_step_warnings(0.3, 0.7, 0.7),
        checks.mode_warnings(nn.Linear(1, 1).eval()),
        checks.chance_warnings(0, 16, 3),
        checks.chance_warnings(480, 1000, 2),
        checks.chance_warnings(0, 0, 2),
        checks.answer_warnings(torch.tensor([[2.0, 0.0], [0.25, 0.75]])),
        checks.answer_warnings(torch.tensor([[2.0, -1.0], [1.5, -0.5]])),
        checks.answer_warnings(torch.tensor([[0.5, 0.25], [0.25, 0.25]]), [0, 0]),
        checks.answer_warnings(torch.empty(0, 2)),
        checks.transfer_warnings("pwws", 10, 4, 4),
    ],
)
def test_it_is_not_seen(found):
    assert found == []
