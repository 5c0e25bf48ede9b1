"""Stage 1 of Robust Bird: where it ends, what it trains on, and at which rate."""

from __future__ import annotations

import pytest
import torch

from hf_robust_tickets import RobustBird
from hf_robust_tickets.training.sparse.search import MaskSearch


@pytest.mark.parametrize(("budget", "max_steps", "end"), [(0.14, 50, 7), (0.5, 7, 4), (0.333333, 12, 4), (3, 50, 30)])
def test_the_search_ends_at_its_share_of_the_training(budget, max_steps, end):
    """0.14 x 50 is 7.000000000000001, and ends at 7; three epochs of ten steps end at 30."""
    search = MaskSearch(RobustBird(density=0.5, tolerance=1e-9, patience=2, interval=100.0, budget=budget))
    weights = {"w": torch.arange(8.0).reshape(2, 4)}
    ends = [step for step in range(1, end + 1) if search.look(weights, step, max_steps, 10) is not None]
    assert ends == [end] and search.converged is False
