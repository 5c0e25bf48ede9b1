"""What a job refuses: folders, models, data and options it cannot go on with."""

from __future__ import annotations

import pytest
import torch
from transformers import Trainer, TrainingArguments

from hf_robust_tickets import RobustTicketTrainer, attach_gates, random_ticket
from hf_robust_tickets.errors import (
    CheckpointError,
    ConfigurationError,
    DataError,
    TicketError,
    UnknownArchitectureError,
)
from tests.testing.jobs import make_args, make_trainer
from tests.testing.tiny import tiny_bert, tiny_data


def test_folder_of_another_job(tmp_path):
    make_trainer(tmp_path).train()
    with pytest.raises(CheckpointError, match=r"belongs to another job: expected head_sparsity=0\.5"):
        make_trainer(tmp_path, head_sparsity=0.5).train()
    with pytest.raises(CheckpointError, match="belongs to another job"):
        make_trainer(tmp_path, model=tiny_bert(intermediate_size=32)).train(resume_from_checkpoint=True)


def test_checkpoint_of_another_ticket(tmp_path):
    make_trainer(tmp_path / "a", save_strategy="epoch", seed=1).train()
    make_trainer(tmp_path / "b", seed=2, neuron_sparsity=0.5).train()
    with pytest.raises(CheckpointError, match="was not made with this job's ticket"):
        make_trainer(tmp_path / "b", seed=2, neuron_sparsity=0.5).train(
            resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-8")
        )


def test_folder_with_another_training(tmp_path):
    stock = TrainingArguments(str(tmp_path), max_steps=1, save_steps=1, report_to="none")
    Trainer(model=tiny_bert(), args=stock, train_dataset=tiny_data(8)).train()
    with pytest.raises(CheckpointError, match=r"checkpoints of another training \(checkpoint-1\)"):
        make_trainer(tmp_path).train()
    assert (tmp_path / "checkpoint-1").is_dir()


def test_ticket_of_another_shape_is_refused_before_anything_happens(tmp_path):
    ticket = random_ticket(tiny_bert(intermediate_size=32), 0.2, 0.2, round_to=1)
    with pytest.raises(TicketError, match="draw it from this model"):
        make_trainer(tmp_path, ticket=ticket)


def test_nothing_to_resume(tmp_path):
    with pytest.raises(CheckpointError, match="no job to resume"):
        make_trainer(tmp_path).train(resume_from_checkpoint=True)


def test_ready_made_optimiser(tmp_path):
    model = tiny_bert()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with pytest.raises(ConfigurationError, match="optimizer_cls_and_kwargs"):
        make_trainer(tmp_path, model=model, optimizers=(optimizer, None))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    with pytest.raises(ConfigurationError, match="lr_scheduler_type"):
        make_trainer(tmp_path, model=model, optimizers=(None, scheduler))


def test_model_with_gates(tmp_path):
    model = tiny_bert()
    attach_gates(model)
    with pytest.raises(ConfigurationError, match="detach_gates"):
        make_trainer(tmp_path, model=model)


def test_fused_layers(tmp_path, monkeypatch):
    model = tiny_bert()
    model._use_kernels = True  # what `use_kernels=True` leaves; the kernels themselves need an accelerator
    with pytest.raises(ConfigurationError, match=r"set model.use_kernels = False first"):
        make_trainer(tmp_path, model=model)
    # Liger needs an accelerator too: the Trainer would patch the model here, and does nothing instead.
    monkeypatch.setattr("transformers.integrations.liger.apply_liger_kernel", lambda *args: None, raising=False)
    monkeypatch.setattr("transformers.trainer.apply_liger_kernel", lambda *args: None, raising=False)
    with pytest.raises(ConfigurationError, match="use_liger_kernel=True, whose fused layers are not tested"):
        make_trainer(tmp_path, use_liger_kernel=True)


def test_pruned_model(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.train()
    with pytest.raises(ConfigurationError, match="pruned already"):
        trainer.train()


def test_data_without_labels(tmp_path):
    data = tiny_data(8).remove_columns("labels")
    with pytest.raises(DataError, match="no labels: expected one of the columns labels, label, got input_ids"):
        RobustTicketTrainer(model=tiny_bert(), args=make_args(tmp_path), train_dataset=data)


def test_unknown_architecture(tmp_path):
    model = tiny_bert()
    model.config.model_type = "nobody_knows"
    with pytest.raises(UnknownArchitectureError, match="register_architecture"):
        make_trainer(tmp_path, model=model)


def test_budget_too_short_for_a_ticket(tmp_path):
    with pytest.raises(ConfigurationError, match="without a ticket: raise its budget"):
        make_trainer(tmp_path, search_max_steps=1, ticket_interval=0.5).train()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head_sparsity": 1.0}, r"head_sparsity must be in \[0, 1\), got 1.0"),
        ({"neuron_sparsity": -0.1}, "neuron_sparsity must be in"),
        ({"head_scope": "model"}, "head_scope must be one of global, layer"),
        ({"ticket_patience": 0}, "ticket_patience must be at least 1"),
        ({"adversary_norm": "l3"}, "norm must be one of l2, linf, l1"),
        ({"finetune_adversary_kwargs": {"steps": 4}}, "finetune_adversary_kwargs needs finetune_adversary"),
        (
            {"finetune_adversary": "yopo", "finetune_adversary_kwargs": {"inner": 4}},
            "finetune_adversary_kwargs has no option inner: expected steps, .*inner_steps, .*start_step",
        ),
        ({"finetune_adversary": "pgd", "finetune_adversary_kwargs": "{steps}"}, "must be a dict, or JSON"),
        ({"finetune_adversary": "fgm", "finetune_adversary_kwargs": {"steps": 4}}, "FGM has exactly 2 passes"),
    ],
)
def test_bad_options(tmp_path, options, message):
    with pytest.raises(ConfigurationError, match=message):
        make_args(tmp_path, **options)
