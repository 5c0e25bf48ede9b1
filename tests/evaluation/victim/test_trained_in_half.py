"""Models that a trainer has left in mixed precision: attacks see the model that would be saved."""

from __future__ import annotations

import pytest
import torch

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.evaluation.victim.model import evaluation_mode
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import arguments


def trained(folder, model, **options):
    trainer = AdversarialTrainer(model, arguments(folder, bf16=True, **options), train_dataset=tiny_data())
    trainer.train()
    return trainer.model


@pytest.mark.parametrize("times", [1, 2])
def test_the_autocast_of_training_stays_out_and_comes_back(tmp_path, times):
    model = tiny_bert()
    for time in range(times):
        model = trained(tmp_path / str(time), model)
    saved = tiny_bert()
    saved.load_state_dict(model.state_dict())
    batch = {"input_ids": torch.tensor(tiny_data()["input_ids"])}
    with torch.no_grad():
        expected = saved.eval()(**batch).logits
        with evaluation_mode(model):
            assert torch.equal(model(**batch).logits, expected)
        model.eval()
        rounded = model(**batch).logits
    # Without the mode it is the trainer's: rounded, and by far more than float32 rounds.
    assert not torch.allclose(rounded, expected, rtol=0, atol=1e-5)
    assert rounded.dtype == expected.dtype == torch.float32


def test_a_model_that_no_trainer_has_had_keeps_its_forward():
    model = tiny_bert()
    with evaluation_mode(model):
        assert "forward" not in vars(model)
    assert "forward" not in vars(model)
