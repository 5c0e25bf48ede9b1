"""The adversary of a fine-tuning that nobody has named."""

from __future__ import annotations

import logging

import pytest
from datasets import Dataset
from transformers import AutoModelForCausalLM, DataCollatorWithPadding

from hf_robust_tickets import RobustTicketArguments, RobustTicketTrainer
from hf_robust_tickets.adversaries import HotFlip
from hf_robust_tickets.errors import ConfigurationError
from tests.testing.families import tiny_config
from tests.testing.jobs import make_args
from tests.testing.small_tokenizers import wordpiece
from tests.testing.tiny import tiny_bert, tiny_tokenizer

TOKENIZER = wordpiece()
TEXTS = ["the film was good", "a dull plot", "great acting, great love", "unwatchable!"] * 8


def job(folder, model=None, tokenizer=TOKENIZER, **options):
    data = Dataset.from_dict({"input_ids": TOKENIZER(TEXTS)["input_ids"], "labels": [1, 0, 1, 0] * 8})
    return RobustTicketTrainer(
        model=model or tiny_bert(vocab_size=100),
        args=make_args(folder, finetune_adversary="auto", **options),
        train_dataset=data,
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(TOKENIZER),
    )


@pytest.fixture
def short(monkeypatch):
    """Trainings of a few steps are long enough."""
    monkeypatch.setattr("hf_robust_tickets.training.jobs.recipe.LEAST_STEPS", 1)


def test_it_is_what_nobody_has_to_name():
    assert RobustTicketArguments("out").finetune_adversary == "auto"
    assert RobustTicketArguments.earlyrobust(output_dir="out").finetune_adversary is None


def test_a_classifier_with_its_tokenizer_is_attacked_from_the_second_third_on(tmp_path, caplog, short):
    trainer = job(tmp_path, num_train_epochs=3)
    assert isinstance(trainer.adversary, HotFlip)
    assert trainer.adversary.step_size == 0.12 and trainer.adversary.step_unit == "relative"
    trainer.train()
    # Twelve steps, of which the last eight are of two passes.
    assert trainer.cost["finetune"]["passes"] == 4 + 2 * 8
    assert "plain" not in caplog.text


@pytest.mark.parametrize(
    ("model", "tokenizer", "reason"),
    [
        (None, None, "pass processing_class=tokenizer"),
        (None, tiny_tokenizer(), "expected a vocabulary with tokens of letters"),
        ("gpt2", TOKENIZER, "measured on classifiers of whole texts, got GPT2LMHeadModel; name finetune_adversary"),
    ],
)
def test_others_are_fine_tuned_plainly_and_told_why(tmp_path, caplog, short, model, tokenizer, reason):
    if model is not None:
        model = AutoModelForCausalLM.from_config(tiny_config(model))
    with caplog.at_level(logging.INFO):
        trainer = job(tmp_path, model, tokenizer)
    assert trainer.adversary is None
    assert "the fine-tuning will be a plain one: " in caplog.text and reason in caplog.text


@pytest.mark.parametrize("name", [None, "none"])
def test_none_is_plain(tmp_path, name):
    options = make_args(tmp_path, finetune_adversary=name)
    assert RobustTicketTrainer(tiny_bert(), options, train_dataset=[], processing_class=TOKENIZER).adversary is None


def test_options_want_the_name_of_a_method(tmp_path):
    with pytest.raises(ConfigurationError, match="needs finetune_adversary, got auto: name the method"):
        make_args(tmp_path, finetune_adversary="auto", finetune_adversary_kwargs={"steps": 2})


def test_a_job_that_was_cut_off_goes_on_under_the_recipe(tmp_path, short):
    whole = job(tmp_path / "whole", save_strategy="steps", save_steps=3, num_train_epochs=2)
    whole.train()
    again = job(tmp_path / "whole", save_strategy="steps", save_steps=3, num_train_epochs=2)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-6"))
    for (name, weight), other in zip(whole.model.named_parameters(), again.model.parameters(), strict=True):
        assert weight.equal(other), name


@pytest.mark.parametrize(("options", "steps"), [({"num_train_epochs": 3}, 12), ({"max_steps": 569}, 569)])
def test_a_short_training_is_plain(tmp_path, caplog, options, steps):
    with caplog.at_level(logging.INFO):
        trainer = job(tmp_path, **options)
    assert trainer.adversary is None
    assert f"needs 570 in all, got {steps}; train longer, or name finetune_adversary" in caplog.text


@pytest.mark.parametrize("options", [{"max_steps": 570}, {"num_train_epochs": 143}])
def test_a_long_training_has_it(tmp_path, options):
    assert isinstance(job(tmp_path, **options).adversary, HotFlip)
