"""The check for catastrophic overfitting: what it measures, and what it calls a collapse."""

from __future__ import annotations

import logging

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.adversaries import FGM, PixelFast
from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.training import CatastrophicOverfittingCallback
from tests.testing.device import USE_CPU
from tests.testing.pixels import MEAN, STD, tiny_convnet, tiny_images

FAST = PixelFast(image_mean=MEAN, image_std=STD)


def train(tmp_path, callback, adversary=FAST, **options):
    values = {
        "output_dir": str(tmp_path), "max_steps": 4, "per_device_train_batch_size": 4, "save_strategy": "no",
        "report_to": "none", "disable_tqdm": True, "use_cpu": USE_CPU,
    }  # fmt: skip
    trainer = AdversarialTrainer(
        model=tiny_convnet(),
        args=TrainingArguments(**(values | options)),
        train_dataset=tiny_images(8),
        adversary=adversary,
        callbacks=[callback],
    )
    trainer.train()
    return trainer


# (accuracy under PGD, accuracy under one step) of each check
@pytest.mark.parametrize(
    ("accuracies", "collapses_at"),
    [
        ([(0.4, 0.5), (0.45, 0.55), (0.05, 0.9)], 2),
        ([(0.4, 0.5), (0.3, 0.6), (0.15, 0.6)], 2),  # in two halves
        ([(0.4, 0.5), (0.1, 0.2)], None),  # just worse
        ([(0.4, 0.5), (0.25, 0.9)], None),  # not far enough
        ([(0.0, 0.1), (0.1, 0.9)], None),
    ],
)
@pytest.mark.parametrize("stop", [True, False])
def test_what_a_collapse_is(accuracies, collapses_at, stop, caplog):
    callback = CatastrophicOverfittingCallback(tiny_images(4), stop=stop)
    for i, (pgd, single) in enumerate(accuracies):
        control = TrainerControl()
        with caplog.at_level(logging.WARNING):
            callback._note(pgd, single, TrainerState(global_step=10 * i, epoch=float(i)), control)
        assert callback.records[-1]["collapsed"] == (i == collapses_at)
        assert control.should_training_stop == (stop and i == collapses_at)
    assert ("catastrophic overfitting at step 20" in caplog.text) == (collapses_at == 2)
    assert callback.collapsed == (collapses_at is not None)


def test_inside_a_training(tmp_path):
    callback = CatastrophicOverfittingCallback(tiny_images(6, seed=1))
    train(tmp_path, callback)
    assert [record["step"] for record in callback.records] == [2, 4]
    assert all(0 <= record["pgd"] <= 1 and not record["collapsed"] for record in callback.records)
    counted = CatastrophicOverfittingCallback(tiny_images(6, seed=1), every_steps=3)
    train(tmp_path, counted)
    assert [record["step"] for record in counted.records] == [3]


class AfterAGoodEpoch(CatastrophicOverfittingCallback):
    """Begins with the record of a model that was right under PGD."""

    def reset(self):
        self.records = [{"step": 0, "epoch": 0.0, "pgd": 0.99, "single_step": 0.0, "collapsed": False}]


def test_a_collapse_stops_the_training(tmp_path):
    callback = AfterAGoodEpoch(tiny_images(6, seed=1), every_steps=1, stop=True)
    trainer = train(tmp_path, callback, learning_rate=0.0)
    assert callback.records[1]["pgd"] < 0.79 and callback.collapsed and trainer.state.global_step == 1
    goes_on = AfterAGoodEpoch(tiny_images(6, seed=1), every_steps=1)
    assert train(tmp_path, goes_on, learning_rate=0.0).state.global_step == 4


def test_bad_arguments(tmp_path):
    for options, message in (({"drop": 0.0}, "drop in"), ({"every_steps": 0}, "every_steps >= 1")):
        with pytest.raises(ConfigurationError, match=message):
            CatastrophicOverfittingCallback(tiny_images(4), **options)
    with pytest.raises(ConfigurationError, match="got an empty data set"):
        CatastrophicOverfittingCallback([])
    with pytest.raises(ConfigurationError, match="got fgm with max_norm=0"):
        CatastrophicOverfittingCallback(tiny_images(4), adversary=FGM())
    with pytest.raises(ConfigurationError, match="expected an adversary, got none"):
        train(tmp_path, CatastrophicOverfittingCallback(tiny_images(4)), adversary=None, max_steps=2)
