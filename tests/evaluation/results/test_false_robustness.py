"""Each sign of false robustness: where it is seen, and where it is not."""

from __future__ import annotations

import pytest
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
        checks.transfer_warnings("pwws", 10, 4, 4),
    ],
)
def test_it_is_not_seen(found):
    assert found == []
