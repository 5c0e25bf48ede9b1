"""Masks in checkpoints: trainings that are cut off and go on, and the best weights."""

from __future__ import annotations

import json

import pytest
import torch

from hf_robust_tickets import AdversarialTrainer, FlyingBird
from hf_robust_tickets.adversaries import FreeLB
from hf_robust_tickets.errors import CheckpointError
from hf_robust_tickets.sparse import FixedMasks, select_weights
from tests.testing.sparse_models import TwoLayers, vectors
from tests.testing.sparse_training import METHODS, Interrupt, arguments, train
from tests.testing.tiny import tiny_bert, tiny_data

SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "name",
    [
        "plus",
        "robust-bird",
        *(pytest.param(n, marks=SLOW) for n in ("random_growth", "reset_regrown", "snip")),
        "flying-bird",
    ],
)
def test_resumed_training_equals_one_that_was_not_cut_off(tmp_path, name):
    options = {"save_strategy": "steps", "save_steps": 5, "eval_strategy": "epoch", "max_steps": 12}

    def run(folder, **kwargs):
        return train(
            folder, METHODS[name], model=tiny_bert(hidden_dropout_prob=0.1), kind=AdversarialTrainer, options=options,
            adversary=FreeLB(steps=2), eval_dataset=tiny_data(16, seed=2), **kwargs,
        )  # fmt: skip

    whole, expected = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", callbacks=[Interrupt()])
    resumed, callback = run(tmp_path / "cut", resume=True)
    assert callback.log == json.loads(json.dumps(expected.log)) and callback.records == expected.records
    assert callback.distances == expected.distances and callback.converged == expected.converged
    assert all(torch.equal(mask, expected.masks[key]) for key, mask in callback.masks.items())
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_restored_callbacks_are_as_good(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 5, "restore_callback_states_from_checkpoint": True}
    method = FlyingBird(density=0.3, period=2)
    whole, _ = train(tmp_path / "whole", method, options=options)
    resumed, _ = train(tmp_path / "resumed", method, options=options, resume=str(tmp_path / "whole" / "checkpoint-5"))
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_checkpoints_hold_fixed_masks_once_and_go_on_with_them(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 5, "restore_callback_states_from_checkpoint": True}
    masks = FlyingBird(density=0.5).initial_masks(select_weights(TwoLayers()), 3)
    whole, _ = train(tmp_path / "whole", FixedMasks(masks), options=options)
    record = json.loads((tmp_path / "whole/checkpoint-5/trainer_state.json").read_text())
    saved = record["stateful_callbacks"]["SparseTrainingCallback"]
    assert set(saved["args"]["method"]) == {"name", "density", "fingerprint"}
    path = str(tmp_path / "whole/checkpoint-5")
    resumed, _ = train(tmp_path / "resumed", FixedMasks(masks), options=options, resume=path)
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    other = FlyingBird(density=0.5).initial_masks(select_weights(TwoLayers()), 4)
    with pytest.raises(CheckpointError, match=r"another sparse training: expected method\.fingerprint"):
        train(tmp_path / "other", FixedMasks(other), options={"save_strategy": "no"}, resume=path)


def test_masks_belong_to_the_best_weights(tmp_path):
    scores = iter(range(0, -9, -1))

    def worse_and_worse(prediction):
        return {"steps_left": next(scores)}

    trainer, callback = train(
        tmp_path,
        FlyingBird(density=0.3, period=1, growth="random"),
        eval_dataset=vectors(16, seed=1),
        compute_metrics=worse_and_worse,
        options={"eval_strategy": "steps", "eval_steps": 4, "save_strategy": "steps", "save_steps": 4,
                 "load_best_model_at_end": True, "metric_for_best_model": "steps_left", "greater_is_better": True},
    )  # fmt: skip
    assert trainer.state.best_global_step == 4
    for name, mask in callback.masks.items():
        assert dict(trainer.model.named_parameters())[name].detach()[~mask].abs().max() == 0


def test_checkpoint_of_another_sparse_training(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 6}
    train(tmp_path, FlyingBird(density=0.3, period=2), options=options)
    with pytest.raises(CheckpointError, match=r"another sparse training: expected method.density 0.2, got 0.3;"):
        train(tmp_path, FlyingBird(density=0.2, period=2), options=options, resume=True)


def test_going_on_without_the_masks_is_refused(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 6}
    train(tmp_path, FlyingBird(density=0.3, period=2), model=tiny_bert(), kind=AdversarialTrainer, options=options)
    args = arguments(tmp_path, **options)
    trainer = AdversarialTrainer(tiny_bert(), args, train_dataset=tiny_data(), adversary=None)
    with pytest.raises(
        CheckpointError, match="expected the SparseTrainingCallback that the checkpoint was trained with"
    ):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
