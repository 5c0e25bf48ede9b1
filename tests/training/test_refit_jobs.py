"""The refit between the cut and the fine-tuning of a job."""

from __future__ import annotations

import copy
import json
import re

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import Dataset as RowsByNumber

from hf_robust_tickets import RobustTicketArguments, RobustTicketTrainer, prune_
from hf_robust_tickets.errors import CheckpointError, ConfigurationError
from hf_robust_tickets.tickets import refit
from hf_robust_tickets.training.jobs.cutting import RefitBatches
from tests.testing.jobs import make_args, make_trainer
from tests.testing.rounding import assert_same_weights
from tests.testing.tiny import tiny_bert, tiny_data


def nothing_learnt(**options):
    """Options with which the fine-tuning leaves the weights as it finds them."""
    return {"learning_rate": 0.0, "num_train_epochs": 1, "search_learning_rate": 1e-3, **options}


def test_the_job_refits_to_the_weights_it_rewinds_to(tmp_path):
    dense = tiny_bert()
    trainer = make_trainer(tmp_path, model=copy.deepcopy(dense), **nothing_learnt(refit_examples=24, refit_ridge=0.2))
    trainer.train()
    expected = prune_(copy.deepcopy(dense), trainer.ticket)
    batches = list(RefitBatches(trainer, 24))
    assert sum(len(batch["input_ids"]) for batch in batches) == 24
    assert all("labels" not in batch for batch in batches)
    refit(expected, dense, batches, ridge=0.2)
    assert_same_weights(trainer.model, expected)
    cost = json.loads((tmp_path / "cost.json").read_text())
    assert set(cost) == {"search", "refit", "finetune"} and cost["refit"]["theoretical_flops"] > 0
    trainer.save_model()
    assert re.search(r"\| refit examples +\| 24 +\|", (tmp_path / "README.md").read_text())


def test_no_refit_is_the_default(tmp_path):
    dense = tiny_bert()
    trainer = make_trainer(tmp_path, model=copy.deepcopy(dense), **nothing_learnt())
    trainer.train()
    assert_same_weights(trainer.model, prune_(dense, trainer.ticket))
    assert "refit" not in trainer.cost


@pytest.mark.parametrize("after", ["search", "some of the fine-tuning"])
def test_resumed_equals_uninterrupted(tmp_path, after):
    options = {"refit_examples": 16, "save_strategy": "steps", "save_steps": 3}
    whole = make_trainer(tmp_path / "whole", **options)
    whole.train()
    cut = make_trainer(tmp_path / "cut", **options)
    if after == "search":
        cut.search()
    else:
        cut.train()
        for file in ("checkpoint-6", "checkpoint-8"):
            for path in (tmp_path / "cut" / file).iterdir():
                path.unlink()
            (tmp_path / "cut" / file).rmdir()
    resumed = make_trainer(tmp_path / "cut", model=tiny_bert(seed=5, hidden_dropout_prob=0.1), **options)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 8
    assert_same_weights(resumed.model, whole.model)
    assert resumed.cost["refit"]["theoretical_flops"] == whole.cost["refit"]["theoretical_flops"]


def test_another_refit_is_another_job(tmp_path):
    make_trainer(tmp_path, refit_examples=16).search()
    with pytest.raises(CheckpointError, match="refit_examples=8"):
        make_trainer(tmp_path, refit_examples=8).train(resume_from_checkpoint=True)


class Rows(RowsByNumber):
    """Rows of a data set that is no `datasets.Dataset`, with a column that no model takes."""

    def __init__(self):
        self._rows = list(tiny_data(12))

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, number):
        return {**self._rows[number], "weight": 1.0}


def test_rows_of_any_data_set_and_fewer_than_asked_for(tmp_path):
    trainer = RobustTicketTrainer(tiny_bert(), make_args(tmp_path, refit_examples=64), train_dataset=Rows())
    (one, two) = (list(RefitBatches(trainer, count)) for count in (64, 5))
    assert sum(len(batch["input_ids"]) for batch in one) == 12 and sum(len(batch["input_ids"]) for batch in two) == 5
    assert all(set(batch) == {"input_ids", "attention_mask"} for batch in one)
    again = list(RefitBatches(trainer, 64))
    assert all(torch.equal(a["input_ids"], b["input_ids"]) for a, b in zip(one, again, strict=True))


def test_what_cannot_be_is_refused_before_the_job(tmp_path):
    with pytest.raises(ConfigurationError, match="refit_examples must not be negative, got -1"):
        RobustTicketArguments(str(tmp_path), refit_examples=-1)
    with pytest.raises(ConfigurationError, match="refit_ridge must be positive, got 0"):
        RobustTicketArguments(str(tmp_path), refit_ridge=0.0)
    with pytest.raises(ConfigurationError, match="sentences of train_dataset, got none"):
        RobustTicketTrainer(tiny_bert(), make_args(tmp_path, refit_examples=4))


def test_checkpoints_hold_the_refitted_weights(tmp_path):
    trainer = make_trainer(tmp_path, refit_examples=16, save_strategy="epoch", **nothing_learnt())
    trainer.train()
    saved = load_file(tmp_path / "checkpoint-4" / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in trainer.model.state_dict().items())
