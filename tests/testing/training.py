"""Short trainings of tiny models, and what is read off them: gradients, weights, batches and the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from hf_robust_tickets import AdversarialTrainer, AdversarialTrainingArguments
from hf_robust_tickets.adversaries import Adversary
from tests.testing.device import USE_CPU
from tests.testing.tiny import tiny_bert, tiny_data


def arguments(folder: str | Path, **options: Any) -> AdversarialTrainingArguments:
    """Four steps of eight sentences on the CPU, logged every two steps; nothing is saved."""
    values = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 8,
        "max_steps": 4,
        "logging_steps": 2,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "learning_rate": 1e-3,
        "use_cpu": USE_CPU,
    }
    return AdversarialTrainingArguments(**(values | options))


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Copies of all weights by name."""
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


class KeepGradient(TrainerCallback):
    """The gradient that the optimiser is about to use, in its first step."""

    gradient: dict[str, torch.Tensor] | None = None

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if self.gradient is None:
            self.gradient = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def first_gradient(
    folder: str | Path,
    trainer_class: type[Trainer] = AdversarialTrainer,
    model: PreTrainedModel | None = None,
    *,
    batch: int = 8,
    accumulation: int = 1,
    options: dict[str, Any] | None = None,
    **kwargs: Any,
) -> dict[str, torch.Tensor]:
    """The gradient of one step, by the name of the weight; `kwargs` are the trainer's."""
    keep = KeepGradient()
    options = options or {}
    kind = AdversarialTrainingArguments if issubclass(trainer_class, AdversarialTrainer) else TrainingArguments
    args = kind(
        output_dir=str(folder),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        max_steps=1,
        max_grad_norm=0,
        save_strategy="no",
        disable_tqdm=True,
        report_to="none",
        **options,
    )
    data = kwargs.pop("train_dataset", None) or tiny_data()
    trainer = trainer_class(model=model or tiny_bert(), args=args, train_dataset=data, callbacks=[keep], **kwargs)
    trainer.train()
    return keep.gradient


def assert_equal_gradients(
    first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], **tolerance: float
) -> None:
    """The same weights have gradients, and equal ones."""
    assert first.keys() == second.keys() and first
    for name in first:
        torch.testing.assert_close(first[name], second[name], **(tolerance or {"rtol": 1e-4, "atol": 1e-6}))


def summed_loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """A `compute_loss_func`: cross entropy, divided by the number of items of the whole step."""
    total = torch.nn.functional.cross_entropy(outputs.logits, labels, reduction="sum")
    return total / (num_items_in_batch if num_items_in_batch is not None else len(labels))


class KeepBatch:
    """Keeps the first batch that a trainer is given."""

    first: dict[str, torch.Tensor]

    def trainer_class(self) -> type[AdversarialTrainer]:
        keep = self

        class Keeping(AdversarialTrainer):
            def training_step(self, model, inputs, *args, **kwargs):
                if not hasattr(keep, "first"):
                    keep.first = {key: value.clone() for key, value in inputs.items()}
                return super().training_step(model, inputs, *args, **kwargs)

        return Keeping


class KeepLastBatch(AdversarialTrainer):
    """Keeps the last batch it was given."""

    def training_step(self, model, inputs, *args, **kwargs):
        self.batch = {key: value.clone() for key, value in inputs.items()}
        return super().training_step(model, inputs, *args, **kwargs)


def entries(trainer: Trainer) -> list[dict[str, Any]]:
    """What was logged while it trained."""
    return [log for log in trainer.state.log_history if "loss" in log]


def logged(
    folder: str | Path,
    adversary: Adversary | None,
    model: PreTrainedModel | None = None,
    data: Dataset | None = None,
    loss: Any = None,
    **options: Any,
) -> list[dict[str, Any]]:
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
