"""The whole job: its phases, and the files it leaves."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments

from hf_robust_tickets import (
    AdversarialTrainer,
    AdversarialTrainingArguments,
    EarlyBirdCallback,
    RobustTicketTrainer,
    attach_gates,
    get_architecture,
    load_pruned,
    random_ticket,
)
from hf_robust_tickets.adversaries import FreeLB
from hf_robust_tickets.errors import TicketError
from hf_robust_tickets.tickets import is_pruned
from hf_robust_tickets.training.jobs.gate_search import GatePenalty
from tests.testing.jobs import make_args, make_trainer
from tests.testing.rounding import assert_same_outputs, assert_same_weights
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import KeepGradient


def test_whole_job(tmp_path):
    trainer = make_trainer(tmp_path)
    output = trainer.train()
    architecture = get_architecture(trainer.model)
    assert architecture.num_heads(trainer.model) == trainer.ticket.head_counts
    assert architecture.num_neurons(trainer.model) == trainer.ticket.neuron_counts
    assert sum(trainer.ticket.head_counts) == 8 - 1 and sum(trainer.ticket.neuron_counts) == 128 - 51
    assert output.global_step == 8
    assert trainer.converged and trainer.search_log[-1]["stop"]
    # Patience 2 needs three tickets: the search cannot stop before, and it did stop before its budget of 8 steps.
    assert 3 <= trainer.cost["search"]["steps"] < 8
    assert trainer.cost["search"]["passes"] == 2 * trainer.cost["search"]["steps"]
    assert trainer.cost["finetune"]["passes"] == trainer.cost["finetune"]["steps"] == 8
    written = {path.name for path in tmp_path.iterdir()}
    assert {"ticket.safetensors", "ticket.json", "cost.json", "search_log.json", "_job.json"} <= written
    assert json.loads((tmp_path / "ticket.json").read_text())["converged"] is True
    assert json.loads((tmp_path / "cost.json").read_text()) == trainer.cost
    assert trainer.evaluate()["eval_loss"] > 0


def test_saved_model_opens_with_equal_logits(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.train()
    trainer.save_model(str(tmp_path / "small"))
    batch = {key: torch.tensor(value) for key, value in tiny_data(4)[:].items()}
    with torch.no_grad():
        expected = trainer.model.eval()(**batch).logits
        opened = load_pruned(tmp_path / "small").eval()
        assert_same_weights(opened, trainer.model)
        assert_same_outputs(opened(**batch).logits, expected)


def test_a_ticket_may_remove_whole_blocks(tmp_path):
    # 127 of the 128 neurons go: one of the two layers has none left.
    trainer = make_trainer(tmp_path, keep_one=False, neuron_sparsity=127 / 128, save_strategy="epoch")
    trainer.train()
    assert sorted(trainer.ticket.neuron_counts) == [0, 1]
    opened = load_pruned(tmp_path / "checkpoint-8")
    assert [p.shape for p in opened.parameters()] == [p.shape for p in trainer.model.parameters()]
    again = make_trainer(tmp_path, keep_one=False, neuron_sparsity=127 / 128, save_strategy="epoch")
    again.train(resume_from_checkpoint=True)
    assert again.ticket == trainer.ticket


def test_gates_leave_no_trace(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.train()
    assert not [name for name, _ in trainer.model.named_parameters() if "gate" in name]
    assert not [m for m in trainer.model.modules() if m._forward_pre_hooks]


def test_rewinds_to_the_weights_before_the_search(tmp_path):
    start = {name: value.clone() for name, value in tiny_bert(hidden_dropout_prob=0.1).state_dict().items()}
    embedding = "bert.embeddings.word_embeddings.weight"
    for rewind in (True, False):
        trainer = make_trainer(tmp_path / str(rewind), rewind=rewind, learning_rate=1e-3)
        seen = []
        trainer.add_callback(AtBegin(seen))
        trainer.train()
        assert torch.equal(seen[-1], start[embedding]) is rewind


class AtBegin(TrainerCallback):
    def __init__(self, seen):
        self.seen = seen

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self.seen.append(model.get_input_embeddings().weight.detach().clone())


def test_no_convergence_is_said(tmp_path, caplog):
    trainer = make_trainer(tmp_path, ticket_tolerance=1e-6, ticket_patience=5, search_epochs=1.0)
    trainer.train()
    assert trainer.converged is False and not trainer.search_log[-1]["stop"]
    assert "still changed when the search's budget ended" in caplog.text
    assert json.loads((tmp_path / "ticket.json").read_text())["converged"] is False
    assert trainer.ticket == trainer.tickets[-1]


def test_user_callbacks_see_the_fine_tuning_alone(tmp_path):
    steps = []

    class Count(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            steps.append(args.output_dir)

    trainer = make_trainer(tmp_path, callbacks=[Count()])
    trainer.train()
    assert steps == [str(tmp_path)] * 8


def test_given_ticket_is_not_searched_for(tmp_path):
    model = tiny_bert(hidden_dropout_prob=0.1)
    ticket = random_ticket(model, head_sparsity=0.5, neuron_sparsity=0.5, seed=3, round_to=1)
    trainer = make_trainer(tmp_path, model=model, ticket=ticket)
    trainer.train()
    assert trainer.ticket == ticket and "search" not in trainer.cost and trainer.converged is None
    assert get_architecture(trainer.model).num_neurons(trainer.model) == ticket.neuron_counts


def test_plain_training_arguments(tmp_path):
    args = TrainingArguments(str(tmp_path), max_steps=2, save_strategy="no", report_to="none")
    trainer = RobustTicketTrainer(model=tiny_bert(), args=args, train_dataset=tiny_data(8 * 72))
    trainer.train()
    # 128 - 51 neurons, each layer's rounded up to a multiple of 16.
    assert all(count % 16 == 0 for count in trainer.ticket.neuron_counts)
    assert 128 - 51 <= sum(trainer.ticket.neuron_counts) < 128


def test_model_init(tmp_path):
    trainer = make_trainer(tmp_path, model_init=lambda: tiny_bert(hidden_dropout_prob=0.1))
    trainer.train()
    assert get_architecture(trainer.model).num_neurons(trainer.model) == trainer.ticket.neuron_counts
    with_model = make_trainer(tmp_path / "2")
    with_model.train()
    assert trainer.ticket == with_model.ticket


def test_finetuning_can_be_adversarial_too(tmp_path):
    trainer = make_trainer(tmp_path, finetune_adversary="pgd", finetune_adversary_kwargs={"steps": 3})
    trainer.train()
    assert trainer.cost["finetune"]["passes"] == 3 * 8


def test_best_checkpoint_is_a_pruned_one(tmp_path):
    trainer = make_trainer(
        tmp_path, save_strategy="epoch", eval_strategy="epoch", load_best_model_at_end=True, save_total_limit=1
    )
    trainer.train()
    assert get_architecture(trainer.model).num_neurons(trainer.model) == trainer.ticket.neuron_counts
    assert not list((tmp_path / "_search").glob("checkpoint-*"))
    assert load_pruned(trainer.state.best_model_checkpoint) is not None


def test_search_then_train_is_train(tmp_path):
    one, other = make_trainer(tmp_path / "a"), make_trainer(tmp_path / "b")
    ticket = one.search()
    assert not is_pruned(one.model) and (tmp_path / "a" / "ticket.safetensors").exists()
    one.train()
    other.train()
    assert ticket == one.ticket == other.ticket and one.cost["search"]["steps"] == other.cost["search"]["steps"]
    assert all(torch.equal(a, b) for a, b in zip(one.model.state_dict().values(), other.model.state_dict().values()))
    assert (tmp_path / "a" / "ticket.safetensors").exists()


def test_search_with_model_init(tmp_path):
    trainer = make_trainer(tmp_path, model_init=lambda: tiny_bert(hidden_dropout_prob=0.1))
    ticket = trainer.search()
    trainer.train()
    assert get_architecture(trainer.model).num_neurons(trainer.model) == ticket.neuron_counts


def test_no_ticket_is_drawn_before_the_attack(tmp_path):
    trainer = make_trainer(tmp_path, adversary_start_step=3)
    trainer.train()
    assert trainer.search_log[0]["step"] == 4 and trainer.cost["search"]["passes"] > trainer.cost["search"]["steps"]


def test_callbacks_added_later_and_schedules_stay_out_of_the_search(tmp_path):
    trainer = make_trainer(
        tmp_path,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr": 1e-6},
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
    )
    trainer.add_callback(EarlyStoppingCallback(2))
    trainer.train()


def test_gates_have_a_group_of_their_own(tmp_path):
    groups = []

    class Look(RobustTicketTrainer):
        def training_step(self, *args, **kwargs):
            groups[:] = [{k: g[k] for k in ("initial_lr", "weight_decay")} for g in self.optimizer.param_groups]
            return super().training_step(*args, **kwargs)

    args = make_args(tmp_path, gate_learning_rate=0.05, weight_decay=0.1, learning_rate=1e-4)
    trainer = Look(model=tiny_bert(), args=args, train_dataset=tiny_data(32))
    trainer.search()
    assert groups[-1] == {"initial_lr": 0.05, "weight_decay": 0.0} and groups[0]["initial_lr"] == 1e-4


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("extra", ["plain", "label_smoothing"])
def test_penalty_counts_once_per_step(tmp_path, accumulation, extra):
    """With heads and neurons at one, the gradient of the L1 norm is its weight, whatever the accumulation."""

    def gradients(weight):
        model = tiny_bert()
        attach_gates(model)
        keep = KeepGradient()
        args = AdversarialTrainingArguments(
            str(tmp_path), max_steps=1, per_device_train_batch_size=8 // accumulation, max_grad_norm=0,
            gradient_accumulation_steps=accumulation, save_strategy="no", report_to="none",
            label_smoothing_factor=0.1 if extra == "label_smoothing" else 0,
        )  # fmt: skip
        adversary = FreeLB(steps=3, init_magnitude=0.0, step_unit="absolute")
        trainer = AdversarialTrainer(
            model=model, args=args, train_dataset=tiny_data(), callbacks=[keep], adversary=adversary
        )
        trainer.runner.terms.append(GatePenalty(heads=weight, neurons=2 * weight))
        trainer.train()
        return {name: g for name, g in keep.gradient.items() if "gate" in name}

    without, penalised = gradients(0.0), gradients(0.5)
    for name, gradient in penalised.items():
        expected = 0.5 if "attention" in name else 1.0
        torch.testing.assert_close(gradient - without[name], torch.full_like(gradient, expected), rtol=0, atol=1e-5)


def test_callback_alone_on_the_stock_trainer(tmp_path):
    model = tiny_bert()
    args = TrainingArguments(str(tmp_path), num_train_epochs=3, save_strategy="no", report_to="none")
    watch = EarlyBirdCallback(interval=0.25, patience=2, tolerance=0.9)
    with pytest.raises(TicketError, match="attach_gates"):
        Trainer(model=model, args=args, train_dataset=tiny_data(32), callbacks=[watch]).train()
    attach_gates(model)
    trainer = Trainer(model=model, args=args, train_dataset=tiny_data(32), callbacks=[watch])
    trainer.train()
    assert watch.ticket == watch.tickets[0] and trainer.state.global_step == 3
