"""Adversaries and tickets inside `transformers.Trainer`: the only room that imports it."""

from .arguments import AdversarialTrainingArguments, AdversaryOptions, RobustTicketArguments, TicketOptions
from .callbacks import EarlyBirdCallback
from .cost import CostCallback, PhaseCost
from .gated import GatedTrainer
from .publishing import PublishingTrainer
from .robust_accuracy import RobustAccuracyCallback
from .sparse import SparseTrainingCallback
from .sparse_trainer import SparseTrainer
from .ticket_trainer import RobustTicketTrainer
from .trainer import AdversarialTrainer

__all__ = [
    "AdversarialTrainer",
    "AdversarialTrainingArguments",
    "AdversaryOptions",
    "CostCallback",
    "EarlyBirdCallback",
    "GatedTrainer",
    "PhaseCost",
    "PublishingTrainer",
    "RobustAccuracyCallback",
    "RobustTicketArguments",
    "RobustTicketTrainer",
    "SparseTrainer",
    "SparseTrainingCallback",
    "TicketOptions",
]
