"""What is kept: gates -> scores -> tickets -> surgery, and the early-bird rule."""

from __future__ import annotations

from .distance import MaskDistance, mask_distance
from .drawing import draw_ticket, random_ticket
from .early_bird import EarlyBirdDetector
from .gates import Gates, attach_gates, detach_gates, get_gates
from .hub import export_dense, load_pruned, save_pruned
from .modeling_robust_ticket import shrink_linear, write_pruned_files
from .pruning import is_pruned, prune_, pruned_ticket, refuse_unfit
from .ticket import RobustTicket

__all__ = [
    "EarlyBirdDetector",
    "Gates",
    "MaskDistance",
    "RobustTicket",
    "attach_gates",
    "detach_gates",
    "draw_ticket",
    "export_dense",
    "get_gates",
    "is_pruned",
    "load_pruned",
    "mask_distance",
    "prune_",
    "pruned_ticket",
    "random_ticket",
    "refuse_unfit",
    "save_pruned",
    "shrink_linear",
    "write_pruned_files",
]
