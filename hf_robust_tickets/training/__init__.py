"""Adversaries and tickets inside `transformers.Trainer`: the only room that imports it."""

from .arguments import AdversarialTrainingArguments, AdversaryOptions, RobustTicketArguments, TicketOptions
from .callbacks.catastrophic import CatastrophicOverfittingCallback
from .callbacks.cost import CostCallback, PhaseCost
from .callbacks.early_bird import EarlyBirdCallback
from .callbacks.overfitting import RobustOverfittingCallback
from .callbacks.robustness import RobustSelectionCallback
from .hub.upload import PublishingTrainer
from .jobs.gated import GatedTrainer
from .sparse.callback import SparseTrainingCallback
from .sparse.cost import SparseCost, sparse_cost
from .sparse.trainer import SparseTrainer
from .ticket_trainer import RobustTicketTrainer
from .trainer import AdversarialTrainer

__all__ = [
    "AdversarialTrainer",
    "AdversarialTrainingArguments",
    "AdversaryOptions",
    "CatastrophicOverfittingCallback",
    "CostCallback",
    "EarlyBirdCallback",
    "GatedTrainer",
    "PhaseCost",
    "PublishingTrainer",
    "RobustOverfittingCallback",
    "RobustSelectionCallback",
    "RobustTicketArguments",
    "RobustTicketTrainer",
    "SparseCost",
    "SparseTrainer",
    "SparseTrainingCallback",
    "TicketOptions",
    "sparse_cost",
]
