"""Searches, surgery, masks and sparse training on a device."""

from __future__ import annotations

import pytest
import torch

from hf_robust_tickets import attach_gates, load_pruned, prune_, random_ticket, save_pruned
from hf_robust_tickets.adversaries import FreeLB
from tests.testing.device import NAME, device
from tests.testing.jobs import SEARCHES, make_trainer, slow_job
from tests.testing.sparse_training import (
    METHODS,
    arguments,
    assert_masked_weights_and_state_are_zero,
    make_sparse_trainer,
    train,
)
from tests.testing.tiny import tiny_bert, tiny_data

pytestmark = pytest.mark.gpu


def batch():
    return {key: torch.tensor(value, device=device()) for key, value in tiny_data(4)[:].items()}


def test_pruning_equals_masking(tmp_path):
    model = tiny_bert().to(device()).eval()
    ticket, gated = random_ticket(model, 0.5, 0.5, seed=1, round_to=1), tiny_bert().to(device()).eval()
    gates = attach_gates(gated)
    with torch.no_grad():
        for gate, mask in zip(gates.parameters(), (*ticket.heads, *ticket.neurons)):
            assert gate.device.type == NAME
            gate.copy_(mask)
        prune_(model, ticket)
        found, expected = model(**batch()).logits.cpu(), gated(**batch()).logits.cpu()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert {p.device.type for p in model.parameters()} == {NAME}
    save_pruned(model, tmp_path)
    opened = load_pruned(tmp_path).to(device()).eval()
    with torch.no_grad():
        torch.testing.assert_close(opened(**batch()).logits.cpu(), found, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("search", sorted(SEARCHES))
def test_whole_jobs(search, tmp_path):
    trainer = make_trainer(tmp_path, **SEARCHES[search], num_train_epochs=1)
    trainer.train()
    assert trainer.ticket is not None and trainer.args.device.type == NAME
    assert {p.device.type for p in trainer.model.parameters()} == {NAME}
    assert sum(trainer.ticket.head_counts) == 7
    assert trainer.evaluate()["eval_loss"] > 0


def test_a_job_that_was_cut_off_goes_on(tmp_path):
    slow_job(tmp_path).train()
    again = slow_job(tmp_path)
    again.train(resume_from_checkpoint=True)
    assert again.ticket is not None


@pytest.mark.parametrize("name", sorted(METHODS))
def test_sparse_training(name, tmp_path):
    trainer, callback = train(tmp_path, METHODS[name])
    assert {mask.device.type for mask in callback.masks.values()} == {NAME}
    assert assert_masked_weights_and_state_are_zero(trainer, callback) > 0
    assert callback.log[-1]["density"] == pytest.approx(0.2, abs=0.02)


def test_sparse_training_resumes(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 6}
    whole, _ = train(tmp_path, METHODS["flying-bird"], options=options)
    resumed, _ = train(tmp_path, METHODS["flying-bird"], options=options, resume=str(tmp_path / "checkpoint-6"))
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0 if NAME == "fake" else 1e-6)


def test_a_sparse_trainer_searches_and_trains(tmp_path):
    trainer = make_sparse_trainer(tmp_path, adversary=FreeLB(steps=2))
    trainer.train()
    assert {p.device.type for p in trainer.model.parameters()} == {NAME}
    assert not arguments(tmp_path).use_cpu
