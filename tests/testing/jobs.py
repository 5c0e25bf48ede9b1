"""Whole jobs on tiny models: search, cut and fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from hf_robust_tickets import RobustTicketArguments, RobustTicketTrainer
from tests.testing.tiny import tiny_bert, tiny_data

# A search that has time to be cut off, and checkpoints to go on from.
SLOW_SEARCH = {"ticket_tolerance": 0.5, "ticket_patience": 4, "save_strategy": "steps", "save_steps": 2}
# The same of every kind: four steps of training before the first of four batches is scored.
_SCORING = {"score_warmup": 4, "score_batches": 4, "ticket_tolerance": 1e-3}
SEARCHES = {
    "gate": {},
    "shadow": {"gate_shadow": True},
    "taylor": {"ticket_score": "taylor", **_SCORING},
    "adversarial-taylor": {"ticket_score": "adversarial-taylor", **_SCORING},
}


def make_args(folder: str | Path, **options: Any) -> RobustTicketArguments:
    """Two epochs after a search of at most two, which four of eight steps are enough for."""
    values = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 8,
        "num_train_epochs": 2,
        "ticket_score": "gate",
        # A job of a few steps settles by its tolerance alone.
        "gate_shadow": False,
        "search_epochs": 2.0,
        "adversary_steps": 2,
        "ticket_interval": 0.25,
        "ticket_patience": 2,
        "ticket_tolerance": 0.5,
        # A layer has 64 neurons: counts are what the sparsity says.
        "round_to": 1,
        "finetune_adversary": None,
        "save_strategy": "no",
        "disable_tqdm": True,
        "report_to": "none",
    }
    return RobustTicketArguments(**(values | options))


def make_trainer(folder: str | Path, model: PreTrainedModel | None = None, **options: Any) -> RobustTicketTrainer:
    """A job on 32 sentences; `options` are of its arguments, or of the trainer."""
    kwargs = {key: options.pop(key) for key in ("callbacks", "ticket", "model_init", "optimizers") if key in options}
    if "model_init" not in kwargs:
        kwargs["model"] = model or tiny_bert(hidden_dropout_prob=0.1)
    data = tiny_data(32)
    return RobustTicketTrainer(args=make_args(folder, **options), train_dataset=data, eval_dataset=data, **kwargs)


def slow_job(folder: str | Path, seed: int = 99, search: str = "gate") -> RobustTicketTrainer:
    """A job with a slow search, one of `SEARCHES`; the seed draws its random classifier."""
    options = {**SLOW_SEARCH, **SEARCHES[search]}
    return make_trainer(folder, model=tiny_bert(seed=seed, hidden_dropout_prob=0.1), **options)


def finish(folder: Path, resume: bool, seed: int = 99, search: str = "gate") -> RobustTicketTrainer:
    """Trains a slow job to its end, from where it was cut off if asked to, and saves the model in `small`."""
    trainer = slow_job(folder, seed, search)
    trainer.train(resume_from_checkpoint=resume)
    trainer.save_model(str(folder / "small"))
    return trainer


def saved_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights that `finish` saved in a folder."""
    return load_file(folder / "small" / "model.safetensors")
