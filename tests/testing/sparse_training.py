"""Sparse trainings of tiny models: one of each method, and what must be zero in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from hf_robust_tickets import (
    AdversarialTrainer,
    AdversarialTrainingArguments,
    FlyingBird,
    FlyingBirdPlus,
    RobustBird,
    SparseTrainingCallback,
)
from hf_robust_tickets.adversaries import PGD, FreeLB
from hf_robust_tickets.sparse import SNIP, OneShotMagnitude, RandomMask, RigL
from hf_robust_tickets.training import SparseTrainer
from tests.testing.device import USE_CPU
from tests.testing.sparse_models import TwoLayers, vectors
from tests.testing.tiny import tiny_bert, tiny_data

METHODS = {
    "flying-bird": FlyingBird(density=0.2, period=3),
    "random_growth": FlyingBird(density=0.2, period=3, growth="random"),
    "reset_regrown": FlyingBird(density=0.2, period=3, reset_regrown=True),
    "plus": FlyingBirdPlus(density=0.2, period=3, start_epoch=0, window=1),
    "robust-bird": RobustBird(density=0.2, patience=2, tolerance=0.3, budget=0.9),
    "rigl": RigL(density=0.2, period=3),
    "snip": SNIP(density=0.2),
    "magnitude": OneShotMagnitude(density=0.2),
    "random": RandomMask(density=0.2),
}

BIRD = RobustBird(density=0.2, patience=2, tolerance=0.3)


def arguments(folder: str | Path, **options: Any) -> TrainingArguments:
    """Twelve steps of eight examples on the CPU; nothing is saved or logged."""
    values = {
        "per_device_train_batch_size": 8,
        "max_steps": 12,
        "learning_rate": 1e-2,
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "report_to": "none",
        "use_cpu": USE_CPU,
    }
    return TrainingArguments(str(folder), **(values | options))


def train(
    folder: str | Path,
    method: Any,
    *,
    model: nn.Module | None = None,
    kind: type[Trainer] = Trainer,
    callbacks: tuple[TrainerCallback, ...] | list[TrainerCallback] = (),
    options: dict[str, Any] | None = None,
    **kwargs: Any,
) -> tuple[Trainer, SparseTrainingCallback]:
    """Trains under the masks of a method, or of a callback; `resume` is a checkpoint to go on from."""
    callback = method if isinstance(method, SparseTrainingCallback) else SparseTrainingCallback(method)
    model = TwoLayers() if model is None else model
    kwargs.setdefault("train_dataset", vectors() if isinstance(model, TwoLayers) else tiny_data())
    resume = kwargs.pop("resume", None)
    trainer = kind(model=model, args=arguments(folder, **(options or {})), callbacks=[callback, *callbacks], **kwargs)
    trainer.train(resume_from_checkpoint=resume)
    return trainer, callback


def train_adversarially(
    folder: str | Path, method: Any, options: dict[str, Any], **kwargs: Any
) -> tuple[AdversarialTrainer, SparseTrainingCallback]:
    """Trains an encoder under masks and PGD of two passes; `options` are of the attack."""
    callback = SparseTrainingCallback(method)
    args = AdversarialTrainingArguments(**(arguments(folder).to_dict() | {"accelerator_config": None} | options))
    trainer = AdversarialTrainer(
        tiny_bert(), args, train_dataset=tiny_data(), callbacks=[callback], adversary=PGD(steps=2), **kwargs
    )
    trainer.train()
    return trainer, callback


def assert_masked_weights_and_state_are_zero(trainer: Trainer, callback: SparseTrainingCallback) -> int:
    """Masked weights and what the optimiser keeps of them are zero, others are not; gives how often was compared."""
    parameters = dict(trainer.model.named_parameters())
    state = trainer.optimizer.optimizer.state
    compared = 0
    for name, mask in callback.masks.items():
        assert parameters[name].detach()[~mask].abs().max() == 0
        assert parameters[name].detach()[mask].abs().max() > 0
        for value in state[parameters[name]].values():
            if isinstance(value, torch.Tensor) and value.shape == mask.shape:
                assert value[~mask].abs().max() == 0
                compared += 1
    return compared


def make_sparse_trainer(
    folder: str | Path,
    *,
    method: Any = BIRD,
    model: PreTrainedModel | None = None,
    args: dict[str, Any] | None = None,
    **kwargs: Any,
) -> SparseTrainer:
    """Four epochs of 32 sentences under FreeLB, with a checkpoint every three steps; `args` are further arguments."""
    options = {"save_strategy": "steps", "save_steps": 3, "logging_strategy": "no", "report_to": "none"}
    options |= args or {}
    arguments = TrainingArguments(
        str(folder), num_train_epochs=4, per_device_train_batch_size=8, learning_rate=1e-2, disable_tqdm=True,
        use_cpu=USE_CPU, **options,
    )  # fmt: skip
    kwargs.setdefault("adversary", FreeLB(steps=2))
    return SparseTrainer(
        model=model or tiny_bert(hidden_dropout_prob=0.1),
        args=arguments,
        train_dataset=tiny_data(),
        method=method,
        **kwargs,
    )


class KeepBatches(Trainer):
    """Remembers what it trained on, a batch per call, in `batches`."""

    def training_step(self, model: nn.Module, inputs: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        self.__dict__.setdefault("batches", []).append({key: value.clone() for key, value in inputs.items()})
        return super().training_step(model, inputs, *args, **kwargs)


class Interrupt(TrainerCallback):
    """Cuts a training off after its seventh step."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 7:
            raise KeyboardInterrupt


class WatchRates(TrainerCallback):
    """Remembers the learning rate of each step in `rates`."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])
