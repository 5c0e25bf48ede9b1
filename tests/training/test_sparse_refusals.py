"""What sparse training refuses, and gradients that it cannot use."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from hf_robust_tickets import FlyingBird, SparseTrainingCallback
from hf_robust_tickets.errors import ConfigurationError, TicketError, UnknownNameError
from hf_robust_tickets.sparse import SNIP, FixedMasks, MaskedWeights, RandomMask, select_weights
from hf_robust_tickets.sparse.base import REGULAR
from hf_robust_tickets.training.sparse.ranks import check_mask_surroundings
from hf_robust_tickets.training.sparse.updates import SparseRun
from tests.testing.sparse_models import TwoLayers
from tests.testing.sparse_training import arguments, assert_masked_weights_and_state_are_zero, train
from tests.testing.tiny import tiny_bert


def test_quantised_states_are_refused():
    model = TwoLayers()
    layers = MaskedWeights(select_weights(model))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.state[model.first.weight]["state1"] = torch.zeros(8, 6, dtype=torch.uint8)
    with pytest.raises(ConfigurationError, match=r"got torch\.uint8 for first\.weight: masks need"):
        layers.zero_state(optimizer)


def test_masks_of_another_model(tmp_path):
    _, callback = train(tmp_path, RandomMask(density=0.3))
    again, fixed = train(tmp_path, FixedMasks(callback.masks), model=TwoLayers(seed=5))
    assert_masked_weights_and_state_are_zero(again, fixed)
    with pytest.raises(TicketError, match="for another model"):
        train(tmp_path, FixedMasks(callback.masks), model=TwoLayers(hidden=9))


def test_methods_that_are_none():
    with pytest.raises(UnknownNameError, match="unknown sparse method 'bird'"):
        SparseTrainingCallback("bird")
    for value in (0.2, {"density": 0.2}):
        with pytest.raises(ConfigurationError, match="expected a sparse method, its name, or a dict with its name"):
            SparseTrainingCallback(value)
    with pytest.raises(
        ConfigurationError, match=r"flying-bird has no option x: expected density, init, drop_fraction"
    ):
        SparseTrainingCallback({"name": "flying-bird", "x": 1})


class Unused(TwoLayers):
    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(20, 20)


@pytest.mark.parametrize("method", [FlyingBird(density=0.2, period=2), SNIP(density=0.2)])
def test_growth_without_a_gradient(tmp_path, method):
    with pytest.raises(TicketError, match=r"got none for 1 layers such as 'unused.weight': exclude"):
        train(tmp_path, method, model=Unused())
    train(tmp_path, FlyingBird(density=0.2, period=2, growth="random"), model=Unused())
    train(tmp_path, SparseTrainingCallback(method, exclude="unused"), model=Unused())


def test_gradients_that_are_not_finite_postpone_the_update():
    model = TwoLayers()
    layers = MaskedWeights(select_weights(model))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    run = SparseRun(FlyingBird(density=0.3, period=2))
    state = SimpleNamespace(global_step=0, max_steps=10, epoch=0.0)
    run.start(layers, state, optimizer, seed=0, steps_per_epoch=5)
    for step, poison in ((1, False), (2, True), (3, True), (4, False)):
        state.global_step = step - 1
        run.before_step(state)
        model.zero_grad()
        model(torch.randn(4, 6), torch.tensor([0, 1, 2, 0]))["loss"].backward()
        if poison:
            model.first.weight.grad[0, 0] = float("inf")
        else:
            optimizer.step()
        run.before_optimizer(state, optimizer)
        run.after_optimizer(state, optimizer, REGULAR)
    assert [(entry["step"], entry["event"]) for entry in run.log] == [(0, "start"), (4, "update")]


def test_surroundings_that_cannot_be_right(tmp_path):
    with pytest.raises(ConfigurationError, match="does not move weights by their whole gradient"):
        check_mask_surroundings(arguments(tmp_path, optim="lomo"), TwoLayers(), named=False)
    with pytest.raises(ConfigurationError, match="got adamw_bnb_8bit, whose state is quantised"):
        check_mask_surroundings(arguments(tmp_path, optim="adamw_bnb_8bit"), TwoLayers(), named=False)
    adapted = get_peft_model(tiny_bert(), LoraConfig(task_type="SEQ_CLS", r=2))
    with pytest.raises(ConfigurationError, match="masks would lie on the adapters"):
        check_mask_surroundings(arguments(tmp_path), adapted, named=False)
    check_mask_surroundings(arguments(tmp_path), adapted, named=True)
    with pytest.raises(ConfigurationError, match="masks lie on whole weights, got FSDP"):
        surroundings = SimpleNamespace(deepspeed="zero3.json", fsdp=None, optim="sgd")
        check_mask_surroundings(surroundings, TwoLayers(), named=False)
