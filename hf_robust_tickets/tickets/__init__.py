"""What is kept: gates -> scores -> tickets -> surgery, and the rules that say when a ticket has settled."""

from __future__ import annotations

from .distance import MaskDistance, TicketSpread, chance_distance, mask_distance, ticket_spread
from .drawing import draw_ticket
from .early_bird import EarlyBirdDetector
from .gates import Gates, attach_gates, clamp_gates_, detach_gates, get_gates, kinds_cut_near_zero, share_near_zero
from .hub import export_dense, load_pruned, save_pruned
from .modeling_robust_ticket import write_pruned_files
from .pruning import check_fits, is_pruned, prune_, pruned_ticket
from .random_tickets import random_ticket
from .refitting import RefitStep, refit
from .robust_ticket_surgery import shrink_linear
from .scores import ExampleGradients, Score, ScoreSums, UnitScores, get_score, list_scores, register_score
from .shadow import Shadows, attach_shadows, follow_noise, get_shadows
from .split_half import SplitHalfDetector
from .ticket import RobustTicket
from .vocabulary import VocabularyCut, prune_vocabulary

__all__ = [
    "EarlyBirdDetector",
    "ExampleGradients",
    "Gates",
    "MaskDistance",
    "RefitStep",
    "RobustTicket",
    "Score",
    "ScoreSums",
    "Shadows",
    "SplitHalfDetector",
    "TicketSpread",
    "UnitScores",
    "VocabularyCut",
    "attach_gates",
    "attach_shadows",
    "chance_distance",
    "check_fits",
    "clamp_gates_",
    "detach_gates",
    "draw_ticket",
    "export_dense",
    "follow_noise",
    "get_gates",
    "get_score",
    "get_shadows",
    "is_pruned",
    "kinds_cut_near_zero",
    "list_scores",
    "load_pruned",
    "mask_distance",
    "prune_",
    "prune_vocabulary",
    "pruned_ticket",
    "random_ticket",
    "refit",
    "register_score",
    "save_pruned",
    "share_near_zero",
    "shrink_linear",
    "ticket_spread",
    "write_pruned_files",
]
