"""Frozen word embeddings: nothing moves there, whatever trains, is cut, or goes on."""

from __future__ import annotations

import pytest
import torch
from transformers import TrainerCallback

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.errors import ConfigurationError
from tests.testing.jobs import make_trainer
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import arguments, first_gradient, weights

WORDS = "bert.embeddings.word_embeddings.weight"


class SizeOfOptimizer(TrainerCallback):
    sizes = ()

    def on_train_begin(self, args, state, control, optimizer=None, model=None, **kwargs):
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        self.sizes = (*self.sizes, sum(p.numel() for p in model.parameters() if id(p) in held))


@pytest.mark.parametrize("adversary", [None, "freelb", "trades"])
def test_words_stay_and_all_else_moves(tmp_path, adversary):
    model, size = tiny_bert(), SizeOfOptimizer()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    options = arguments(tmp_path, freeze_embeddings=True)
    trainer = AdversarialTrainer(model, options, train_dataset=tiny_data(), adversary=adversary, callbacks=[size])
    trainer.train()
    moved = {name for name, weight in weights(trainer).items() if not torch.equal(weight, before[name])}
    assert WORDS not in moved and moved == before.keys() - {WORDS}
    assert size.sizes == (sum(p.numel() for p in model.parameters()) - before[WORDS].numel(),)
    # Afterwards the model is as it was: the next training may be another.
    assert all(p.requires_grad for p in model.parameters())


def test_the_other_gradients_are_what_they_were(tmp_path):
    whole = first_gradient(tmp_path, adversary="freelb", options={"adversary_init_magnitude": 0.0})
    frozen = {"adversary_init_magnitude": 0.0, "freeze_embeddings": True}
    rest = first_gradient(tmp_path, adversary="freelb", options=frozen)
    assert rest.keys() == whole.keys() - {WORDS}
    for name, gradient in rest.items():
        torch.testing.assert_close(gradient, whole[name])


def test_a_job_freezes_in_its_fine_tuning_and_resumes(tmp_path):
    model = tiny_bert()
    before = model.get_parameter(WORDS).detach().clone()
    saving = {"save_strategy": "steps", "save_steps": 3, "freeze_embeddings": True, "rewind": False}
    size = SizeOfOptimizer()
    trainer = make_trainer(tmp_path, model=model, finetune_adversary="freelb", callbacks=[size], **saving)
    trainer.search()
    # The search trains all of them, and without rewinding the fine-tuning begins there.
    searched = model.get_parameter(WORDS).detach().clone()
    assert not torch.equal(searched, before)
    trainer.train()
    assert torch.equal(model.get_parameter(WORDS), searched)
    assert size.sizes == (sum(p.numel() for p in model.parameters()) - searched.numel(),)
    again = make_trainer(tmp_path, model=tiny_bert(), finetune_adversary="freelb", **saving)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    for name, weight in weights(trainer).items():
        torch.testing.assert_close(weights(again)[name], weight, rtol=0, atol=0)


def test_reentrant_checkpointing_is_refused(tmp_path):
    checkpointing = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}}
    trainer = AdversarialTrainer(
        tiny_bert(), arguments(tmp_path, freeze_embeddings=True, **checkpointing), train_dataset=tiny_data()
    )
    with pytest.raises(ConfigurationError, match="above frozen embeddings reentrant activation checkpointing"):
        trainer.train()
