"""Stage 1 of Robust Bird: where it ends, what it trains on, and at which rate."""

from __future__ import annotations

import json

import pytest
import torch

from hf_robust_tickets import AdversarialTrainer, FlyingBird, RobustBird, SparseTrainingCallback
from hf_robust_tickets.adversaries import PGD, FreeLB
from hf_robust_tickets.errors import CheckpointError, ConfigurationError
from hf_robust_tickets.sparse import count_flops
from hf_robust_tickets.training import SparseTrainer, sparse_cost
from hf_robust_tickets.training.sparse.search import MaskSearch
from tests.testing.sparse_training import BIRD, arguments, make_sparse_trainer, train
from tests.testing.tiny import tiny_bert, tiny_data

BATCH = {key: torch.ones(1, 8, dtype=torch.long) for key in ("input_ids", "attention_mask")}


@pytest.mark.parametrize(("budget", "max_steps", "end"), [(0.14, 50, 7), (0.5, 7, 4), (0.333333, 12, 4), (3, 50, 30)])
def test_the_search_ends_at_its_share_of_the_training(budget, max_steps, end):
    """0.14 x 50 is 7.000000000000001, and ends at 7; three epochs of ten steps end at 30."""
    search = MaskSearch(RobustBird(density=0.5, tolerance=1e-9, patience=2, interval=100.0, budget=budget))
    weights = {"w": torch.arange(8.0).reshape(2, 4)}
    ends = [step for step in range(1, end + 1) if search.look(weights, step, max_steps, 10) is not None]
    assert ends == [end] and search.converged is False


class Watched(SparseTrainer):
    """Shows stage 1, which callbacks of the user do not see."""

    def training_step(self, *args, **kwargs):
        if self.args.output_dir.endswith("_search"):
            self.rates.append(self.lr_scheduler.get_last_lr()[0])
        return super().training_step(*args, **kwargs)


def watched(folder, **options):
    args = arguments(folder, max_steps=-1, num_train_epochs=4, warmup_steps=2, **options.pop("options", {}))
    trainer = Watched(
        model=tiny_bert(), args=args, train_dataset=tiny_data(), adversary=FreeLB(steps=2), method=BIRD, **options
    )
    trainer.rates = []
    trainer.train()
    return trainer.rates


def test_stage_1_has_a_constant_rate_unless_asked(tmp_path):
    """Four steps an epoch, a budget of two epochs, two steps of warm-up: at the third the rate is reached."""
    assert watched(tmp_path / "a") == pytest.approx([0.0, 5e-3] + [1e-2] * 6)
    falling = watched(tmp_path / "b", search_lr_scheduler_type=None)
    assert falling == pytest.approx([0.0, 5e-3] + [1e-2 * (8 - n) / 6 for n in range(2, 8)])
    cosine = watched(tmp_path / "c", search_lr_scheduler_type="cosine", options={"lr_scheduler_type": "constant"})
    assert cosine[2] == pytest.approx(1e-2) and cosine[-1] < 2e-3


def test_an_adversary_of_its_own_for_stage_1(tmp_path):
    """Three passes in stage 1, two in stage 2; both are told, paid for and asked again on a resume."""
    trainer = make_sparse_trainer(tmp_path, search_adversary=PGD(steps=3))
    trainer.train()
    steps = trainer.search.log[-1]["step"]
    assert trainer.search.log[-1]["attacked"] is True and trainer.adversary == FreeLB(steps=2)
    search = json.loads((tmp_path / "_search" / "search.json").read_text())
    assert search["adversary"]["name"] == "pgd" and search["cost"]["passes"] == 3 * steps
    assert trainer.cost_meter.passes == 2 * 16
    facts = trainer.card_facts()
    assert facts.adversaries["search"]["name"] == "pgd" and facts.adversaries["train"]["name"] == "freelb"
    cost, dense = sparse_cost(trainer, BATCH), count_flops(trainer.model, BATCH).forward()
    # Eight examples a step. PGD-3: two passes for the input (twice a forward pass each), one for the weights (thrice).
    assert cost.training_flops == pytest.approx(8 * (steps * (2 * 2 + 3) * dense + 16 * cost.inference_flops * 2 * 3))
    with pytest.raises(CheckpointError, match=r"found with other options: expected .*'adversary': None.*'pgd'"):
        make_sparse_trainer(tmp_path).train(resume_from_checkpoint=True)
    with pytest.raises(
        ConfigurationError, match="attacks stage 1 of Robust Bird, got FlyingBird, which has one stage"
    ):
        make_sparse_trainer(tmp_path, method=FlyingBird(density=0.2), search_adversary="pgd")


def test_the_adversary_of_the_training_in_stage_1(tmp_path):
    bird = RobustBird(density=0.2, patience=2, tolerance=0.3, attack_search=True)
    trainer = make_sparse_trainer(tmp_path / "two", method=bird)
    trainer.train()
    search = json.loads((tmp_path / "two" / "_search" / "search.json").read_text())
    assert search["adversary"]["name"] == "freelb" and search["cost"]["passes"] == 2 * search["cost"]["steps"]
    # In one run: no step is left alone.
    trainer, callback = train(
        tmp_path / "one", bird, model=tiny_bert(), kind=AdversarialTrainer, adversary=PGD(steps=3)
    )
    assert trainer.cost_meter.passes == 3 * 12 and 0 < callback.log[0]["step"] < 12
    cost, dense = sparse_cost(trainer, BATCH), count_flops(trainer.model, BATCH).forward()
    found = callback.log[0]["step"]
    assert cost.training_flops == pytest.approx(8 * 7 * (found * dense + (12 - found) * cost.inference_flops))
    assert cost.dense_training_flops == pytest.approx(8 * 7 * 12 * dense)


def test_by_default_stage_1_is_plain():
    assert RobustBird().attack_search is False and not SparseTrainingCallback("robust-bird").demands_attack
    with pytest.raises(ConfigurationError, match="attack_search to be True or False, got 'pgd'"):
        RobustBird(attack_search="pgd")
