"""Is it robust? Attacks on text classifiers, and what they found. And is it faster than the dense model?"""

from __future__ import annotations

from .auto_attack import AutoAttackResult, evaluate_auto_attack
from .compare import Comparison, compare_reports
from .recipes import RecipeContext, check_resources, get_recipe, list_recipes, register_recipe
from .resources import fetch_resource, install_resource
from .result import ExampleOutcome, RecipeResult, RobustnessReport
from .speed import SpeedReport, measure_speed
from .textattack import evaluate_robustness
from .transfer import TransferResult, evaluate_transfer
from .white_box import WhiteBoxResult, evaluate_white_box

__all__ = [
    "AutoAttackResult",
    "Comparison",
    "ExampleOutcome",
    "RecipeContext",
    "RecipeResult",
    "RobustnessReport",
    "SpeedReport",
    "TransferResult",
    "WhiteBoxResult",
    "check_resources",
    "compare_reports",
    "evaluate_auto_attack",
    "evaluate_robustness",
    "evaluate_transfer",
    "evaluate_white_box",
    "fetch_resource",
    "get_recipe",
    "install_resource",
    "list_recipes",
    "measure_speed",
    "register_recipe",
]
