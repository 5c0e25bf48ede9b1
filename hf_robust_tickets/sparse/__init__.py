"""What is kept, weight by weight: densities, masks, and the methods that choose and move them."""

from __future__ import annotations

from .base import Decision, LayerUpdate, SparseMethod, get_sparse_method, list_sparse_methods, register_sparse_method
from .density import DISTRIBUTIONS, kept_per_layer
from .flops import ModelFlops, count_flops, training_flops
from .flying_bird import FlyingBird, RigL
from .flying_bird_plus import FlyingBirdPlus, RobustRecord
from .grasp import GraSP
from .mask import MaskedWeights, check_masks, mask_difference
from .packing import load_masks, save_masks
from .pattern import Pattern, follows_pattern, pattern_masks
from .robust_bird import MaskQueue, RobustBird
from .scored import ScoredMethod
from .selection import select_weights
from .semi_structured import to_semi_structured_
from .static import SNIP, Dense, FixedMasks, OneShotMagnitude, RandomMask
from .synflow import SynFlow
from .taylor import Taylor

__all__ = [
    "DISTRIBUTIONS",
    "SNIP",
    "Decision",
    "Dense",
    "FixedMasks",
    "FlyingBird",
    "FlyingBirdPlus",
    "GraSP",
    "LayerUpdate",
    "MaskQueue",
    "MaskedWeights",
    "ModelFlops",
    "OneShotMagnitude",
    "Pattern",
    "RandomMask",
    "RigL",
    "RobustBird",
    "RobustRecord",
    "ScoredMethod",
    "SparseMethod",
    "SynFlow",
    "Taylor",
    "check_masks",
    "count_flops",
    "follows_pattern",
    "get_sparse_method",
    "kept_per_layer",
    "list_sparse_methods",
    "load_masks",
    "mask_difference",
    "pattern_masks",
    "register_sparse_method",
    "save_masks",
    "select_weights",
    "to_semi_structured_",
    "training_flops",
]
