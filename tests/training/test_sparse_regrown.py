"""A weight that is dropped and grown again in the same update: its value and its optimiser state, by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hf_robust_tickets import FlyingBird
from hf_robust_tickets.sparse import MaskedWeights
from hf_robust_tickets.sparse.base import REGULAR
from hf_robust_tickets.training.sparse.updates import SparseRun

START = [[0.1, 0.9, 0.5, 0.0, 0.0, 0.0]]
# The smallest, 0.1, is dropped; of it and the three that are masked, its own gradient is the steepest, then the last.
GRADIENT = [[-8.0, 1.0, 1.0, 2.0, 3.0, 7.0]]


def after_one_update(method: FlyingBird) -> tuple[SparseRun, nn.Parameter, torch.optim.Adam]:
    weight = nn.Parameter(torch.tensor(START))
    optimizer = torch.optim.Adam([weight], lr=0.0, betas=(0.5, 0.5))
    layers = MaskedWeights({"w": weight})
    run = SparseRun(method)
    run.start(layers, SimpleNamespace(global_step=0, max_steps=10), optimizer, seed=0, steps_per_epoch=5)
    layers.set_masks({"w": torch.tensor(START) != 0})
    with torch.no_grad():
        weight.copy_(torch.tensor(START))  # those of the random start are zero where it masked them
    state = SimpleNamespace(global_step=0, max_steps=10)
    run.before_step(state)
    assert run.due and layers.lets_dense_gradients
    weight.grad = torch.tensor(GRADIENT)
    optimizer.step()
    run.after_optimizer(state, optimizer, REGULAR)
    return run, weight, optimizer


@pytest.mark.parametrize(("reset", "value", "average"), [(False, 0.1, -4.0), (True, 0.0, 0.0)])
def test_regrown_weights_keep_value_and_state_unless_asked(reset, value, average):
    # d n = 2/3 of 3 kept: 0.1 and 0.5 are dropped; 8 and 7 are the steepest.
    method = FlyingBird(density=0.5, period=1, drop_fraction=0.666667, final_drop_fraction=0.6, reset_regrown=reset)
    run, weight, optimizer = after_one_update(method)
    assert run.layers.masks["w"].tolist() == [[True, True, False, False, False, True]]
    assert weight.detach()[0].tolist() == pytest.approx([value, 0.9, 0.0, 0.0, 0.0, 0.0])
    # Adam's first moment is half of the gradient; it is zero where the weight is dropped, or grown from nothing.
    assert optimizer.state[weight]["exp_avg"][0].tolist() == pytest.approx([average, 0.5, 0.0, 0.0, 0.0, 0.0])
    assert run.log[-1]["changed"] == 2 and run.log[-1]["regrown"] == 1


def test_the_default_is_that_of_the_released_code():
    assert FlyingBird().reset_regrown is False
