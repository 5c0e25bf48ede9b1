"""What the log says of an attack, against numbers computed by hand."""

from __future__ import annotations

import pytest
import transformers
from datasets import Dataset

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.adversaries import FreeLB
from tests.tickets.models import tiny_config
from tests.tiny import tiny_bert, tiny_data
from tests.training.test_attacks import METHODS, arguments
from tests.training.test_trainer import summed_loss

NO_START = FreeLB(steps=2, init_magnitude=0.0, step_size=0.3)


def entries(trainer):
    return [log for log in trainer.state.log_history if "loss" in log]


def logged(folder, adversary, model=None, data=None, loss=None, **options):
    """The log of one training, one entry per step."""
    trainer = AdversarialTrainer(
        model or tiny_bert(),
        arguments(folder, **({"max_steps": 1, "logging_steps": 1} | options)),
        train_dataset=data or tiny_data(),
        adversary=adversary,
        compute_loss_func=loss,
    )
    trainer.train()
    return entries(trainer)


def language_model():
    transformers.set_seed(0)
    ids = tiny_data()["input_ids"]
    return transformers.LlamaForCausalLM(tiny_config("llama")), Dataset.from_dict({"input_ids": ids, "labels": ids})


@pytest.mark.parametrize("kind", ["compute_loss_func", "language model", "penalty"])
def test_losses_in_the_log_do_not_depend_on_accumulation(kind, tmp_path):
    """Where the loss is normalised over all micro-batches of a step, a micro-batch's is but a share of it."""
    adversary = METHODS["trades"] if kind == "penalty" else NO_START

    def entry(batch, accumulation):
        model, data, loss = None, None, summed_loss
        if kind == "language model":
            (model, data), loss = language_model(), None
        options = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation}
        return logged(tmp_path / str(batch), adversary, model, data, loss, **options)[0]

    whole, parts = entry(8, 1), entry(2, 4)
    names = {"loss", *(name for name in whole if name.endswith(("_loss", "_gap")))}
    assert names >= {"loss", "adversary_clean_loss"}
    assert {name: parts[name] for name in names} == pytest.approx({name: whole[name] for name in names}, rel=2e-3)
