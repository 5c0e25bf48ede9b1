"""Adversaries and tickets inside `transformers.Trainer`: the only room that imports it."""

from .arguments import AdversarialTrainingArguments, AdversaryOptions, RobustTicketArguments, TicketOptions
from .callbacks import EarlyBirdCallback
from .catastrophic import CatastrophicOverfittingCallback
from .cost import CostCallback, PhaseCost
from .gated import GatedTrainer
from .publishing import PublishingTrainer
from .robust_accuracy import RobustAccuracyCallback
from .robustness import RobustnessCallback
from .sparse import SparseTrainingCallback
from .sparse_cost import SparseCost, sparse_cost
from .sparse_trainer import SparseTrainer
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
    "RobustAccuracyCallback",
    "RobustTicketArguments",
    "RobustTicketTrainer",
    "RobustnessCallback",
    "SparseCost",
    "SparseTrainer",
    "SparseTrainingCallback",
    "TicketOptions",
    "sparse_cost",
]
