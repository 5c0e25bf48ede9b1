"""Trainings that something happens to: they are cut off, or their loss is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from hf_robust_tickets import AdversarialTrainer
from tests.testing.methods import METHODS
from tests.testing.tiny import tiny_bert, tiny_data
from tests.testing.training import arguments


def cut_trainer(name: str, folder: str | Path, seed: int = 0, **options: Any) -> AdversarialTrainer:
    """Five steps of two micro-batches with a checkpoint every two steps; the seed draws the random classifier."""
    values = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "adversary_warmup": 3}
    values |= {"save_strategy": "steps", "save_steps": 2, "max_steps": 5}
    options = arguments(folder, **(values | options))
    model = tiny_bert(seed, hidden_dropout_prob=0.1)
    return AdversarialTrainer(model, options, train_dataset=tiny_data(), adversary=METHODS[name])


class Poisoned(AdversarialTrainer):
    """From a step on, the loss is not a number (or, with `hidden`, only its gradient is not)."""

    poisoned_from, hidden = 4, False

    def compute_loss(
        self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool = False, **kwargs: Any
    ) -> Any:
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        if self.state.global_step + 1 >= self.poisoned_from:
            if self.hidden:
                outputs.logits.register_hook(lambda grad: grad * float("nan"))
            else:
                loss = loss * float("nan")
        return (loss, outputs) if return_outputs else loss
