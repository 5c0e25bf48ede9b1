"""Adversaries and tickets inside `transformers.Trainer`: the only room that imports it."""

from .arguments import AdversarialTrainingArguments, AdversaryOptions
from .augmentation.options import AugmentationOptions
from .callbacks.averaging import WeightAveragingCallback
from .callbacks.base import AttackCallback
from .callbacks.catastrophic import CatastrophicOverfittingCallback
from .callbacks.early_bird import EarlyBirdCallback
from .callbacks.overfitting import RobustOverfittingCallback
from .callbacks.robustness import RobustSelectionCallback
from .callbacks.scores import ScoreCallback
from .captured.options import CaptureOptions
from .extensions import Extension, register_extension
from .finetuning.options import FineTuningOptions
from .jobs.cost import PhaseCost
from .sparse.callback import SparseTrainingCallback
from .sparse.cost import SparseCost, sparse_cost
from .sparse.trainer import SparseTrainer
from .steps.registry import register_step
from .ticket_arguments import RobustTicketArguments, TicketOptions
from .ticket_trainer import RobustTicketTrainer
from .trainer import AdversarialTrainer

__all__ = [
    "AdversarialTrainer",
    "AdversarialTrainingArguments",
    "AdversaryOptions",
    "AttackCallback",
    "AugmentationOptions",
    "CaptureOptions",
    "CatastrophicOverfittingCallback",
    "EarlyBirdCallback",
    "Extension",
    "FineTuningOptions",
    "PhaseCost",
    "RobustOverfittingCallback",
    "RobustSelectionCallback",
    "RobustTicketArguments",
    "RobustTicketTrainer",
    "ScoreCallback",
    "SparseCost",
    "SparseTrainer",
    "SparseTrainingCallback",
    "TicketOptions",
    "WeightAveragingCallback",
    "register_extension",
    "register_step",
    "sparse_cost",
]
