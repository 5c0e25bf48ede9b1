"""All trainers under signals at random moments: what goes on ends with the result of an uninterrupted run."""

from __future__ import annotations

import signal

import pytest
import torch
from safetensors.torch import load_file

from tests.testing.killing import storm

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGKILL] * 2
NAMES = ["adversarial", "tickets", "scores", "robust-bird", "flying-bird"]

TRAININGS = """
from hf_robust_tickets import FlyingBird
from hf_robust_tickets.errors import CheckpointError
from safetensors.torch import save_file
from tests.testing.jobs import SEARCHES, SLOW_SEARCH, make_trainer
from tests.testing.mishaps import cut_trainer
from tests.testing.sparse_training import make_sparse_trainer
from tests.testing.tiny import tiny_bert

JIT = {"enable_jit_checkpoint": True}

def job(folder, search):
    model = tiny_bert(seed=99, hidden_dropout_prob=0.1)
    return make_trainer(folder, model=model, **{**SLOW_SEARCH, **SEARCHES[search], **JIT})

MAKE = {
    "adversarial": lambda folder: cut_trainer("ta-vat", folder, max_steps=16, **JIT),
    "tickets": lambda folder: job(folder, "shadow"),
    "scores": lambda folder: job(folder, "adversarial-taylor"),
    "robust-bird": lambda folder: make_sparse_trainer(folder, args=JIT),
    "flying-bird": lambda folder: make_sparse_trainer(folder, method=FlyingBird(density=0.3, period=2), args=JIT),
}

def go_on(folder, name):
    trainer = MAKE[name](folder)
    # A machine that is taken away gives no longer than this here.
    trainer.stopping.jit_manager.kill_wait = 0.01
    try:
        trainer.train(resume_from_checkpoint=True)
    except CheckpointError as error:
        if "train without resume_from_checkpoint" not in str(error):
            raise
        trainer.train()
    if not trainer.stopping.stopped:
        weights = {key: value.detach().clone() for key, value in trainer.model.state_dict().items()}
        save_file(weights, folder + "/final.safetensors")
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_any_signal_at_any_moment(tmp_path, seed):
    said = storm(TRAININGS, NAMES, tmp_path / "whole", tmp_path / "cut", SIGNALS, seed, timeout=1500)
    print(said)
    for name in NAMES:
        one, other = (load_file(tmp_path / kind / name / "final.safetensors") for kind in ("whole", "cut"))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), f"{name}\n{said}"
