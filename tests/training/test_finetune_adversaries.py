"""Adversaries of the fine-tuning of a job: another method, its own layer, steps and turns."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from tests.testing.jobs import make_trainer
from tests.testing.training import entries


class Turns(TrainerCallback):
    """Which steps of a training were attacked, and how its weights began."""

    def __init__(self):
        self.trainer, self.attacked, self.start = None, [], None

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self.start = {name: p.detach().clone() for name, p in model.named_parameters()}

    def on_step_begin(self, args, state, control, **kwargs):
        self.attacked.append(self.trainer.is_attacking)


def job(folder, **options):
    turns = Turns()
    trainer = make_trainer(folder, callbacks=[turns], logging_steps=1, **options)
    turns.trainer = trainer
    trainer.train()
    return trainer, turns


def test_every_second_step_from_a_quarter_on(tmp_path):
    kwargs = {"steps": 2, "every": 2, "start_step": 0.25, "layer": -1, "step_size": 0.1}
    trainer, turns = job(tmp_path, finetune_adversary="freelb", finetune_adversary_kwargs=kwargs)
    # Eight steps: none before the third, and every second from there.
    assert turns.attacked == [False, False, True, False, True, False, True, False]
    assert trainer.adversary.step_size == 0.1 and trainer.adversary_options.adversary_layer == -1
    # The last layer attacked: all but the head runs once.
    assert trainer.step_cost == pytest.approx(1.0)
    assert trainer.cost_meter.passes == 3 * 2 + 5
    # The search had its own: every step, at the embedding.
    assert (
        trainer.args.adversary_layer == 0 and trainer.cost["search"]["passes"] == 2 * trainer.cost["search"]["steps"]
    )


def test_trades_on_the_pruned_model(tmp_path):
    kwargs = {"steps": 1, "coefficient": 2.0, "norm": "l2", "layer": 1}
    trainer, turns = job(tmp_path, finetune_adversary="trades", finetune_adversary_kwargs=kwargs)
    assert all(turns.attacked) and trainer.adversary.coefficient == 2.0
    assert all("adversary_divergence" in entry for entry in entries(trainer))
    assert trainer.cost["finetune"]["passes"] == 3 * trainer.cost["finetune"]["steps"]


@pytest.mark.parametrize("rewind", [True, False])
def test_where_the_fine_tuning_begins(tmp_path, rewind):
    _, turns = job(tmp_path, rewind=rewind, finetune_adversary="freelb")
    kept = load_file(tmp_path / "_search" / ("start.safetensors" if rewind else "end.safetensors"))
    name = "classifier.weight"
    assert torch.equal(turns.start[name], kept[name])
    start = load_file(tmp_path / "_search" / "start.safetensors")
    assert torch.equal(kept[name], start[name]) == rewind
