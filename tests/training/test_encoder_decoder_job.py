"""The whole job on pairs of texts: a search in both stacks, the cut and the fine-tuning."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset

from hf_robust_tickets import AdversarialTrainer, RobustTicketTrainer, get_architecture, load_pruned
from hf_robust_tickets.training.steps.base import AdversarialStep
from tests.testing.families import logits, task_inputs, task_model, tiny_model
from tests.testing.jobs import SEARCHES, make_args
from tests.testing.rounding import assert_same_outputs
from tests.testing.training import KeepGradient, arguments, assert_equal_gradients


def pairs(number: int = 16) -> Dataset:
    """Texts, and their first tokens in reverse order, which are fewer."""
    batch = task_inputs("t5", "seq2seq")
    rows = [{key: batch[key][i % 3].tolist() for key in ("input_ids", "attention_mask")} for i in range(number)]
    return Dataset.from_list([{**row, "labels": [*row["input_ids"][4::-1], 1, -100]} for row in rows])


@pytest.mark.parametrize("family", ["t5", "bart"])
@pytest.mark.parametrize("search", ["gate", "taylor", "adversarial-taylor"])
def test_whole_job(family, search, tmp_path):
    args = make_args(tmp_path, **{**SEARCHES[search], "search_epochs": 4.0}, head_sparsity=0.25, save_strategy="epoch")
    model, data = task_model(family, "seq2seq"), pairs()
    trainer = RobustTicketTrainer(model, args=args, train_dataset=data, eval_dataset=data)
    trainer.train()
    ticket, architecture = trainer.ticket, get_architecture(trainer.model)
    assert ticket.head_sparsity == pytest.approx(0.25) and ticket.neuron_sparsity > 0.2
    assert architecture.num_heads(trainer.model) == ticket.head_counts
    assert architecture.num_neurons(trainer.model) == ticket.neuron_counts
    assert trainer.evaluate()["eval_loss"] > 0
    again = load_pruned(tmp_path / "checkpoint-4")
    inputs = task_inputs(family, "seq2seq")
    assert_same_outputs(logits(again, inputs), logits(trainer.model.eval(), inputs))


@pytest.mark.parametrize("layer", [0, 1, -1])
def test_adversarial_training_perturbs_the_encoder(layer, tmp_path):
    model = tiny_model("t5", "ForConditionalGeneration", dropout_rate=0.0)
    encoded, embedded = [], []
    model.encoder.final_layer_norm.register_forward_hook(lambda module, args, output: encoded.append(output.detach()))
    model.decoder.embed_tokens.register_forward_hook(lambda module, args, output: embedded.append(output.detach()))
    args = arguments(tmp_path, adversary="pgd", adversary_steps=2, adversary_layer=layer, max_steps=1)
    AdversarialTrainer(model, args=args, train_dataset=pairs()).train()
    assert not torch.allclose(encoded[0], encoded[-1])
    assert torch.equal(embedded[0], embedded[-1])


@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize("adversary", ["freelb", "pgd", "trades"])
def test_the_layers_below_a_hidden_layer_run_once(layer, adversary, tmp_path, monkeypatch, same_starts):
    """The position bias that a layer of T5 hands on beside its hidden states gets its gradient once too."""

    def gradient():
        keep, model = KeepGradient(), tiny_model("t5", "ForConditionalGeneration", dropout_rate=0.0)
        args = arguments(tmp_path, adversary=adversary, adversary_layer=layer, max_steps=1, max_grad_norm=0)
        AdversarialTrainer(model, args=args, train_dataset=pairs(), callbacks=[keep]).train()
        return keep.gradient

    cached = gradient()
    monkeypatch.setattr(AdversarialStep, "caches_layers", False)
    assert_equal_gradients(cached, gradient())
