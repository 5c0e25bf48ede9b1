"""Trainings that a callback watches, which attacks a development sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from hf_robust_tickets import AdversarialTrainer, RobustSelectionCallback
from hf_robust_tickets.adversaries import PGD
from tests.testing.device import USE_CPU
from tests.testing.tiny import tiny_bert, tiny_data

KEY = "eval_accuracy_under_attack"

PGD_3 = PGD(steps=3, step_size=0.02, max_norm=0.03, init_magnitude=0.01, step_unit="absolute")


def callback(attack: Any = PGD_3, size: int = 12, **options: Any) -> RobustSelectionCallback:
    """Attacks `size` of 24 sentences."""
    return RobustSelectionCallback(tiny_data(24, seed=7), attack, num_examples=size, batch_size=16, **options)


def arguments(folder: str | Path, **options: Any) -> TrainingArguments:
    """Four steps of eight sentences on the CPU, logged every three."""
    values = {"max_steps": 4, "per_device_train_batch_size": 8, "learning_rate": 1e-2, "logging_steps": 3}
    values |= {"report_to": [], "use_cpu": USE_CPU, "disable_tqdm": True, "seed": 1, "save_strategy": "no"}
    return TrainingArguments(folder, **(values | options))


def train(
    folder: str | Path,
    callbacks: list[TrainerCallback],
    kind: type[Trainer] = AdversarialTrainer,
    dropout: float = 0.1,
    **options: Any,
) -> Trainer:
    """Trains without an adversary, with callbacks."""
    own = {"adversary": None} if kind is AdversarialTrainer else {}
    trainer = kind(
        tiny_bert(hidden_dropout_prob=dropout),
        arguments(folder, **options),
        train_dataset=tiny_data(48),
        eval_dataset=tiny_data(16, seed=3),
        callbacks=callbacks,
        **own,
    )
    trainer.train()
    return trainer


def words_of(data: Dataset) -> list[dict[str, Any]]:
    """Texts in the words of `tiny_tokenizer`, for attacks on words."""
    return [{"text": " ".join(f"w{i + 1}" for i in row["input_ids"]), "label": row["labels"]} for row in data]
