"""Captured steps on a device: graphs of CUDA; on the device that is none their stand-in."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.adversaries import PGD, TRADES, FreeLB
from tests.testing.device import NAME
from tests.testing.recorded_graph import graphs_on
from tests.testing.runs_on_ranks import same_starts
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import arguments, weights

pytestmark = pytest.mark.gpu
METHODS = {
    "plain": None,
    "freelb": FreeLB(steps=3, step_size=0.1, init_magnitude=0.0),
    "pgd": PGD(steps=3, step_size=0.1, init_magnitude=0.0),
    "trades": TRADES(steps=2, step_size=0.1, init_magnitude=0.1),
}


@pytest.fixture(autouse=True)
def starts():
    with same_starts():
        yield


@pytest.mark.parametrize("name", METHODS)
def test_captured_steps_are_the_steps(name, tmp_path):
    found = []
    for capture in (False, True):
        args = arguments(
            tmp_path, max_steps=5, logging_steps=1, capture_passes=capture, gradient_accumulation_steps=2,
            per_device_train_batch_size=4,
        )  # fmt: skip
        # An eager attention adds its mask, whether or not a text is padded: the same kernels with and without capture.
        model = tiny_bert()
        model.set_attn_implementation("eager")
        with nullcontext() if NAME == "cuda" else graphs_on(NAME):
            trainer = AdversarialTrainer(model, args, train_dataset=tiny_data(), adversary=METHODS[name])
            trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        found.append((losses, weights(trainer)))
    (losses, eager), (again, captured) = found
    assert len(set(losses)) == 5
    assert losses == pytest.approx(again, rel=1e-4)
    for key, weight in eager.items():
        torch.testing.assert_close(captured[key].cpu(), weight.cpu(), rtol=1e-4, atol=1e-6)
