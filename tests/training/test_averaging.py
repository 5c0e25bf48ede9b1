"""Averaged weights: the mean by hand, resuming, the end of a job, and what is refused."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer, TrainerCallback, TrainingArguments

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.sparse import FlyingBird
from hf_robust_tickets.training import SparseTrainingCallback, WeightAveragingCallback
from hf_robust_tickets.training.finetuning.facts import finetuning_facts
from tests.testing.jobs import make_trainer
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import arguments, weights
from tests.testing.vision_models import tiny_image_model


class KeepWeights(TrainerCallback):
    """The weights after every step."""

    def __init__(self):
        self.seen = {}

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.seen[state.global_step] = {name: p.detach().clone() for name, p in model.named_parameters()}


def trained(folder, resume=None, callbacks=(), **options):
    given = {"max_steps": 9, "average_weights_from": 3, "average_weights_every": 2, **options}
    keep = KeepWeights()
    trainer = AdversarialTrainer(
        tiny_bert(), arguments(folder, **given), train_dataset=tiny_data(), callbacks=[keep, *callbacks]
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer, keep.seen


def test_the_average_is_the_mean(tmp_path):
    trainer, seen = trained(tmp_path)
    for name, weight in weights(trainer).items():
        expected = torch.stack([seen[step][name] for step in (3, 5, 7, 9)]).mean(0)
        torch.testing.assert_close(weight, expected, rtol=1e-5, atol=1e-7)
    assert not torch.equal(weights(trainer)["classifier.weight"], seen[9]["classifier.weight"])
    # What is saved is what the model has.
    trainer.save_model(str(tmp_path / "saved"))
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    assert torch.equal(saved["classifier.weight"], weights(trainer)["classifier.weight"])


def test_a_moving_average_by_hand(tmp_path):
    trainer, seen = trained(tmp_path, average_weights_decay=0.8, average_weights_every=1, average_weights_from=0.5)
    # Half of nine steps: the fifth is the first.
    expected = seen[5]["classifier.weight"]
    for step in (6, 7, 8, 9):
        expected = 0.8 * expected + 0.2 * seen[step]["classifier.weight"]
    torch.testing.assert_close(weights(trainer)["classifier.weight"], expected)


def test_training_itself_is_not_changed_and_a_stock_trainer_has_it_too(tmp_path):
    _, averaged = trained(tmp_path / "a")
    _, plain = trained(tmp_path / "b", average_weights_from=None)
    assert torch.equal(averaged[9]["classifier.weight"], plain[9]["classifier.weight"])
    keep = KeepWeights()
    args = TrainingArguments(str(tmp_path / "c"), max_steps=4, save_strategy="no", report_to="none", use_cpu=True)
    average = WeightAveragingCallback(start=2, every=1)
    stock = Trainer(tiny_bert(), args, train_dataset=tiny_data(), callbacks=[keep, average])
    stock.train()
    expected = torch.stack([keep.seen[step]["classifier.weight"] for step in (2, 3, 4)]).mean(0)
    torch.testing.assert_close(weights(stock)["classifier.weight"], expected)


def test_resuming_ends_with_the_same_average(tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 6}
    whole, _ = trained(tmp_path, **saving)
    file = tmp_path / "checkpoint-6" / "weight_average.safetensors"
    assert int(load_file(file)["__averaged__"]) == 2
    resumed, seen = trained(tmp_path, resume=str(file.parent), **saving)
    assert min(seen) == 7
    for name, weight in weights(whole).items():
        assert torch.equal(weight, weights(resumed)[name]), name


def test_the_fine_tuning_of_a_job_is_averaged_and_its_search_is_not(tmp_path):
    keep = KeepWeights()
    options = {"average_weights_from": 2, "average_weights_every": 1, "save_strategy": "steps", "save_steps": 2}
    trainer = make_trainer(tmp_path, callbacks=[keep], **options)
    trainer.search()
    assert not list(tmp_path.rglob("weight_average.safetensors"))
    trainer.train()
    last = max(keep.seen)
    expected = torch.stack([keep.seen[step]["classifier.weight"] for step in range(2, last + 1)]).mean(0)
    torch.testing.assert_close(weights(trainer)["classifier.weight"], expected)
    assert list(tmp_path.glob("checkpoint-*/weight_average.safetensors"))
    assert finetuning_facts(trainer) == {"average_weights_from": 2, "average_weights_every": 1}
    # A second training of the same trainer averages anew, with one callback.
    assert not any(isinstance(c, WeightAveragingCallback) for c in trainer.callback_handler.callbacks)


def test_a_training_that_ends_before_averaging_says_so(tmp_path, caplog):
    trainer, seen = trained(tmp_path, average_weights_from=100)
    assert "no weights were averaged: training ended at step 9" in caplog.text
    assert torch.equal(weights(trainer)["classifier.weight"], seen[9]["classifier.weight"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"average_weights_from": -1}, "averaging starts at a step, or at a fraction"),
        ({"average_weights_from": 1.5}, "averaging starts at a step, or at a fraction"),
        ({"average_weights_every": 0}, "every n-th step, n at least 1, got 0"),
        ({"average_weights_decay": 1.0}, r"is in \(0, 1\), got 1.0"),
        (
            {
                "average_weights_from": 0.5,
                "load_best_model_at_end": True,
                "save_strategy": "steps",
                "eval_strategy": "steps",
            },
            "the average of its weights or with its best checkpoint",
        ),
    ],
)
def test_options_that_cannot_work(tmp_path, options, message):
    with pytest.raises(ConfigurationError, match=message):
        arguments(tmp_path, **options)


def test_models_and_callbacks_that_cannot_be_averaged(tmp_path):
    average = WeightAveragingCallback()
    with pytest.raises(ConfigurationError, match="statistics of batch normalisation in"):
        average.on_train_begin(arguments(tmp_path), None, None, model=tiny_image_model("cifar_resnet"))
    masks = SparseTrainingCallback(FlyingBird(density=0.5))
    with pytest.raises(ConfigurationError, match="weights under masks is not masked"):
        trained(tmp_path, callbacks=[masks])
