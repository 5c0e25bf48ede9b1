"""The curves of robust overfitting: what is measured, that nothing else changes, and that they survive a stop."""

from __future__ import annotations

import itertools

import pytest
import torch
from transformers import TrainerCallback, TrainingArguments, ViTImageProcessor

from hf_robust_tickets import AdversarialTrainer, AdversarialTrainingArguments
from hf_robust_tickets.adversaries import PixelPGD
from hf_robust_tickets.errors import CheckpointError, ConfigurationError, DataError
from hf_robust_tickets.evaluation import evaluate_white_box
from hf_robust_tickets.reporting.overfitting import summarize_overfitting
from hf_robust_tickets.training import RobustOverfittingCallback
from tests.testing.device import USE_CPU
from tests.testing.pixels import MEAN, STD, tiny_convnet, tiny_images

ATTACK = PixelPGD(steps=3, step_size=0.05, max_norm=0.1, image_mean=MEAN, image_std=STD)


class Stop(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == 4
        return control


def trainer(tmp_path, callbacks, adversary=ATTACK, processing_class=None, arguments=TrainingArguments, **options):
    values = {
        "output_dir": str(tmp_path), "num_train_epochs": 3, "per_device_train_batch_size": 8, "save_strategy": "epoch",
        "report_to": "none", "disable_tqdm": True, "use_cpu": USE_CPU, "learning_rate": 0.01, "optim": "sgd",
    }  # fmt: skip
    args = arguments(**(values | options))
    return AdversarialTrainer(
        model=tiny_convnet(),
        args=args,
        train_dataset=tiny_images(16),
        adversary=adversary,
        callbacks=callbacks,
        processing_class=processing_class,
    )


def watch(**options):
    splits = {"train": tiny_images(16), "validation": tiny_images(8, seed=1), "test": tiny_images(8, seed=2)}
    return RobustOverfittingCallback(**({"splits": splits} | options))


def test_records_of_every_epoch(tmp_path):
    callback = watch()
    run = trainer(tmp_path / "a", [callback])
    run.train()
    assert [(record.step, round(record.epoch)) for record in callback.records] == [(2, 1), (4, 2), (6, 3)]
    last = callback.records[-1]
    run.model.eval()
    for name, images in callback._splits.items():
        with torch.no_grad():
            logits = run.model(torch.tensor(images["pixel_values"])).logits
        right = (logits.argmax(1) == torch.tensor(images["labels"])).float().mean()
        assert last.standard[name] == pytest.approx(float(right))
        assert last.robust[name] <= last.standard[name]
    assert summarize_overfitting(callback.records).final_robust == last.robust["test"]
    # The training is what it is without them, random starts included.
    plain = trainer(tmp_path / "b", [])
    plain.train()
    for one, other in zip(run.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not run.model._forward_pre_hooks


def test_epochs_before_the_attack_begins(tmp_path):
    callback = watch()
    args = {"adversary_start_step": 5, "save_strategy": "no"}
    run = trainer(tmp_path, [callback], arguments=AdversarialTrainingArguments, **args)
    run.train()
    assert [record.step for record in callback.records] == [2, 4, 6]
    assert all(record.robust["test"] <= record.standard["test"] for record in callback.records)


def test_an_attack_of_its_own_under_plain_training(tmp_path):
    callback = watch(adversary=PixelPGD(steps=3, step_size=1.0, max_norm=1.0), every=16)
    processor = ViTImageProcessor(image_mean=list(MEAN), image_std=list(STD))
    options = {"learning_rate": 0.3, "num_train_epochs": 20, "save_strategy": "no"}
    trainer(tmp_path, [callback], adversary=None, processing_class=processor, **options).train()
    assert [record.step for record in callback.records] == [32, 40]
    # The box is all of the ball: every image can become every other.
    assert all(record.robust["test"] < record.standard["test"] for record in callback.records)
    with pytest.raises(ConfigurationError, match="expected an adversary, got none"):
        trainer(tmp_path / "c", [watch()], adversary=None).train()


def test_records_survive_a_stop(tmp_path):
    whole = watch()
    trainer(tmp_path / "whole", [whole]).train()
    first, second = watch(), watch()
    trainer(tmp_path / "cut", [first, Stop()]).train()
    trainer(tmp_path / "cut", [second]).train(resume_from_checkpoint=True)
    assert second.records == whole.records and first.records == whole.records[:2]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"splits": {"test": tiny_images(4)}}, r"splits .*, got \{'test': 4\}"),
        ({"adversary": PixelPGD(steps=2, step_size=1.0, max_norm=1.0)}, "adversary None, got .*pixel-pgd"),
    ],
)
def test_records_of_something_else_are_not_continued(tmp_path, other, says):
    trainer(tmp_path, [watch(), Stop()]).train()
    with pytest.raises(CheckpointError, match=says):
        trainer(tmp_path, [watch(**other)]).train(resume_from_checkpoint=True)


def test_bad_arguments(tmp_path):
    for options, message in (({"splits": {}}, "at least one split"), ({"every": 0}, "every >= 1")):
        with pytest.raises(ConfigurationError, match=message):
            RobustOverfittingCallback(**({"splits": {"test": tiny_images(4)}} | options))
    unlabelled = tiny_images(4).remove_columns("labels")
    with pytest.raises(DataError, match="expected class labels in a column"):
        trainer(tmp_path, [RobustOverfittingCallback({"test": unlabelled})]).train()


def test_ranks_share_a_split():
    """Two shares are the whole, without overlap."""
    from hf_robust_tickets.training.callbacks.overfitting import SplitBatches

    class Rank:
        world_size, device = 2, torch.device("cpu")

        def __init__(self, index):
            self.process_index = index

    images = tiny_images(7).add_column("index", list(range(7)))
    shares = [
        SplitBatches(
            tiny_convnet(),
            images,
            2,
            lambda rows: {k: torch.tensor([row[k] for row in rows]) for k in rows[0]},
            Rank(i),
        )
        for i in range(2)
    ]
    seen = [[int(i) for batch in share for i in batch["index"]] for share in shares]
    assert seen == [[0, 2, 4, 6], [1, 3, 5]] and sorted(itertools.chain(*seen)) == list(range(7))


def test_the_callback_and_white_box_evaluation_measure_the_same(tmp_path):
    """One loop: with one seed and one batch, two ways to the same figure; "any" is never above it."""
    images = tiny_images(32, seed=3)
    found = {}
    for criterion in ("last", "any"):
        callback = RobustOverfittingCallback({"test": images}, batch_size=32, criterion=criterion)
        run = trainer(tmp_path / criterion, [callback], save_strategy="no")
        run.train()
        result = evaluate_white_box(
            run.model, images, adversary=ATTACK, criterion=criterion, seed=0, batch_size=32, progress=False
        )
        measured = callback.records[-1].robust["test"]
        # by "any", white-box evaluation counts the clean input and a single step as visited too
        assert result.robust_accuracy[ATTACK.max_norm] == (
            measured if criterion == "last" else pytest.approx(measured, abs=2 / 32)
        )
        assert result.robust_accuracy[ATTACK.max_norm] <= measured
        assert callback.records[-1].criterion == result.criterion == result.to_dict()["criterion"] == criterion
        found[criterion] = result.robust_accuracy[ATTACK.max_norm]
    assert found["any"] <= found["last"]
