"""Operations and bytes of a sparse training, against numbers computed by hand."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import Trainer

from hf_robust_tickets import AdversarialTrainer, FlyingBird, RobustBird
from hf_robust_tickets.adversaries import PGD
from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.sparse import count_flops, training_flops
from hf_robust_tickets.training import sparse_cost
from tests.testing.sparse_models import TwoLayers
from tests.testing.sparse_training import arguments, train
from tests.testing.tiny import tiny_bert


def test_cost_of_a_training(tmp_path):
    trainer, callback = train(
        tmp_path, FlyingBird(density=0.2, period=4), model=tiny_bert(), kind=AdversarialTrainer, adversary=PGD(steps=4)
    )
    batch = {"input_ids": torch.ones(2, 8, dtype=torch.long), "attention_mask": torch.ones(2, 8, dtype=torch.long)}
    cost = sparse_cost(trainer, batch)
    flops = count_flops(trainer.model, batch)
    assert cost.dense_inference_flops == flops.forward() / 2
    assert cost.inference_flops == pytest.approx(flops.forward(callback.log[-1]["layer_density"]) / 2)
    # 12 steps of 8 sentences: one pass of three forward passes, three ascents of two
    assert cost.dense_training_flops == pytest.approx(12 * 4 * flops.forward() * (3 + 3 * 2))
    expected = training_flops(flops, callback.log, 12, full_passes=1, input_passes=3) * 4
    assert cost.training_flops == pytest.approx(expected) and cost.steps == 12 and cost.seconds > 0
    assert 0.5 < cost.theoretical_saving["training"] < cost.theoretical_saving["inference"] < 0.8
    weights = sum(mask.numel() for mask in callback.masks.values())
    assert (cost.weight_bytes, cost.mask_bytes) == (4 * weights, weights)
    assert [step for step, _ in cost.density] == [0, 4, 8, 12] and len(cost.layers) == 13
    assert json.loads(json.dumps(cost.as_dict())) == cost.as_dict()
    with pytest.raises(ConfigurationError, match="expected an AdversarialTrainer that has trained"):
        sparse_cost(Trainer(model=TwoLayers(), args=arguments(tmp_path)), batch)


def test_cost_of_a_run_that_is_all_search(tmp_path):
    method = RobustBird(density=0.2, tolerance=0.001, budget=5.0)
    trainer, _ = train(tmp_path, method, model=tiny_bert(), kind=AdversarialTrainer, adversary=PGD(steps=4))
    batch = {"input_ids": torch.ones(2, 8, dtype=torch.long), "attention_mask": torch.ones(2, 8, dtype=torch.long)}
    cost = sparse_cost(trainer, batch)
    assert cost.dense_training_flops == 0 and cost.theoretical_saving["training"] is None


def test_cost_of_one_run_with_a_search(tmp_path):
    method = RobustBird(density=0.2, patience=2, tolerance=1.0, interval=0.5)
    trainer, callback = train(tmp_path, method, model=tiny_bert(), kind=AdversarialTrainer, adversary=PGD(steps=4))
    found = callback.log[0]["step"]
    batch = {"input_ids": torch.ones(2, 8, dtype=torch.long), "attention_mask": torch.ones(2, 8, dtype=torch.long)}
    cost, flops = sparse_cost(trainer, batch), count_flops(trainer.model, batch)
    # Without masks and without the search, which was not attacked.
    assert 0 < found < 12
    assert cost.dense_training_flops == pytest.approx((12 - found) * 4 * flops.forward() * (3 + 3 * 2))
