"""What sparse methods decide on: records of attacked steps and of evaluations, and adversarial gradients."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from torch import nn

from hf_robust_tickets import AdversarialTrainer, FlyingBird, FlyingBirdPlus
from hf_robust_tickets.adversaries import PGD, TRADES
from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.training.sparse.records import TrainingAccuracy
from tests.testing.sparse_training import METHODS, train, train_adversarially
from tests.testing.tiny import tiny_bert, tiny_data


def test_plus_follows_its_records(tmp_path):
    trainer, callback = train(
        tmp_path,
        METHODS["plus"],
        model=tiny_bert(),
        kind=AdversarialTrainer,
        adversary=PGD(steps=3, step_size=1.0, step_unit="absolute"),
        eval_dataset=tiny_data(16, seed=2),
        options={"eval_strategy": "epoch"},
    )
    records, updates = callback.records, callback.log[1:]
    assert [record.step for record in records] == [4, 8, 12] and [entry["step"] for entry in updates] == [3, 6, 9, 12]
    assert all(0 <= record.train_accuracy <= 1 and record.validation_loss > 0 for record in records)
    assert [(e["prune_more"], e["grow_more"]) for e in updates[:2]] == [(False, False)] * 2  # no difference yet
    widens = records[1].gap > records[0].gap
    rises = records[1].validation_loss >= records[0].validation_loss
    assert (updates[2]["prune_more"], updates[2]["grow_more"]) == (widens, rises)
    attacked = trainer.evaluate()["eval_loss"]  # clean
    assert records[-1].validation_loss > attacked


@pytest.mark.parametrize("adversary", [PGD(steps=3), TRADES()])
def test_plus_counts_the_last_pass_of_each_micro_batch(tmp_path, adversary):
    _, callback = train(
        tmp_path, METHODS["plus"], model=tiny_bert(), kind=AdversarialTrainer, adversary=adversary,
        eval_dataset=tiny_data(16, seed=2), options={"per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2, "max_steps": 3, "eval_strategy": "no"},
    )  # fmt: skip
    assert callback._history.accuracy.state()[1] == 3 * 8


@pytest.mark.parametrize(("growth", "attacked"), [("gradient", 6 + 3), ("random", 6)])
def test_masks_grow_by_the_adversarial_gradient_where_only_some_steps_are_attacked(tmp_path, growth, attacked):
    method, every = FlyingBird(density=0.3, period=4, growth=growth), {"adversary_every": 2}
    trainer, callback = train_adversarially(tmp_path, method, every)
    assert [entry["step"] for entry in callback.log] == [0, 4, 8, 12]
    # Steps 1, 3, ..., 11 are attacked in their turn, and those of the updates out of it; two passes each.
    assert trainer.cost_meter.passes == 12 + attacked
    # Before the attack begins there is none to grow by.
    trainer, _ = train_adversarially(tmp_path, method, {"adversary_start_step": 12})
    assert trainer.cost_meter.passes == 12


def test_plus_counts_steps_under_attack_alone(tmp_path):
    method, splits = FlyingBirdPlus(density=0.3, period=100), {"eval_dataset": tiny_data(16, seed=2)}
    _, callback = train_adversarially(tmp_path, method, {"adversary_every": 3}, **splits)
    assert callback._history.accuracy.state()[1] == 4 * 8
    options = {"adversary_start_step": 6, "eval_strategy": "steps", "eval_steps": 4}
    _, callback = train_adversarially(tmp_path, method, options, **splits)
    assert [record.step for record in callback.records] == [8, 12]  # none at 4, before the attack


def test_the_perturbed_pass_counts_where_it_has_no_labels_of_its_own():
    class Signs(nn.Module):
        def forward(self, x, labels=None):
            logits = torch.stack([-x, x], 1)
            return (logits,) if labels is None else (logits.sum(), logits)

    model, labels = Signs().train(), torch.tensor([0, 1, 1])
    accuracy = TrainingAccuracy()
    accuracy.watch(model)
    model(x=torch.tensor([-1.0, 1.0, 1.0]), labels=labels)  # all right
    with torch.no_grad():
        model(x=torch.tensor([1.0, -1.0, -1.0]))  # not a pass of the training
    model(x=torch.tensor([-1.0, -1.0, 1.0]))  # the second is wrong
    accuracy.commit()
    accuracy.commit()
    assert accuracy.state() == [2, 3]
    accuracy.leave()
    assert not model._forward_hooks


def test_plus_without_evaluations_says_so(tmp_path, caplog):
    _, callback = train(tmp_path, METHODS["plus"])
    assert "has no evaluations to decide on" in caplog.text and "never the test split" in caplog.text
    assert {entry["density"] for entry in callback.log} == {callback.density}


def test_a_test_split_decides_about_nothing(tmp_path, caplog):
    def run(dev):
        options = {"eval_strategy": "epoch", "max_steps": 6}
        return train(tmp_path, METHODS["plus"], model=tiny_bert(), eval_dataset=dev, options=options)[1].records

    def split(name):
        data = tiny_data(16, seed=2)
        return Dataset.from_dict(data.to_dict(), split=name)

    with pytest.raises(ConfigurationError, match="must be a development split, got the split 'test'"):
        run(split("test"))
    alone = run(split("validation"))
    among = run({"test": tiny_data(16, seed=3), "dev": split("validation"), "other": split("test")})
    assert len(alone) == 2 and [r.validation_loss for r in among] == [r.validation_loss for r in alone]
    assert "the evaluation 'eval_test' is of a test split and decides about nothing" in caplog.text
    with pytest.raises(ConfigurationError, match=r"must be a development split, got the split 'test\[:50%\]'"):
        run(split("test[:50%]"))


def test_plus_without_labels_in_training(tmp_path):
    with pytest.raises(ConfigurationError, match="expected class labels in the training batches"):
        train(
            tmp_path, METHODS["plus"], model=tiny_bert(), eval_dataset=tiny_data(16, seed=2),
            options={"eval_strategy": "epoch", "label_smoothing_factor": 0.1},
        )  # fmt: skip
