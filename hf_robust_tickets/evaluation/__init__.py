"""Is it robust? Attacks on text classifiers, and what they found. And is it faster than the dense model?"""

from __future__ import annotations

from .api import attack_text, evaluate_robustness
from .config import EvaluationConfig
from .datasets.accuracy import AccuracyResult, evaluate_accuracy
from .datasets.contrast_sets import ContrastResult, contrast_groups, evaluate_contrast
from .datasets.image_transfer import ImageTransferResult, evaluate_image_transfer
from .datasets.noise import NoiseResult, add_noise, evaluate_noise
from .datasets.transfer import TransferResult, evaluate_transfer
from .efficiency.speed import SpeedReport, measure_speed
from .gate.api import evaluate_gate
from .gate.result import GateResult, GateRow
from .recipes import RecipeContext, check_resources, get_recipe, list_recipes, register_recipe
from .resources import fetch_resource, install_resource
from .results.base import EvaluationResult, load_result
from .results.calibration import Calibration
from .results.compare import Comparison, compare_reports, compare_results
from .results.example import ExampleOutcome
from .results.recipe import RecipeResult
from .results.report import RobustnessReport
from .several import SeveralReport, evaluate_label_sets, evaluate_tags
from .white_box.api import WhiteBoxResult, evaluate_white_box
from .white_box.auto_attack import AutoAttackResult, evaluate_auto_attack
from .white_box.hotflip import evaluate_hotflip

__all__ = [
    "AccuracyResult",
    "AutoAttackResult",
    "Calibration",
    "Comparison",
    "ContrastResult",
    "EvaluationConfig",
    "EvaluationResult",
    "ExampleOutcome",
    "GateResult",
    "GateRow",
    "ImageTransferResult",
    "NoiseResult",
    "RecipeContext",
    "RecipeResult",
    "RobustnessReport",
    "SeveralReport",
    "SpeedReport",
    "TransferResult",
    "WhiteBoxResult",
    "add_noise",
    "attack_text",
    "check_resources",
    "compare_reports",
    "compare_results",
    "contrast_groups",
    "evaluate_accuracy",
    "evaluate_auto_attack",
    "evaluate_contrast",
    "evaluate_gate",
    "evaluate_hotflip",
    "evaluate_image_transfer",
    "evaluate_label_sets",
    "evaluate_noise",
    "evaluate_robustness",
    "evaluate_tags",
    "evaluate_transfer",
    "evaluate_white_box",
    "fetch_resource",
    "get_recipe",
    "install_resource",
    "list_recipes",
    "load_result",
    "measure_speed",
    "register_recipe",
]
