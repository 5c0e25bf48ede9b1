"""What each head and neuron is worth: scores by name, one to a file; higher = kept."""

from __future__ import annotations

from .adversarial_taylor import AdversarialTaylorScore
from .base import NORMALISATIONS, Score, UnitScores, score_gates
from .by_example import ExampleGradients
from .gate import GateScore
from .registry import get_score, list_scores, register_score
from .sums import ScoreSums
from .taylor import TaylorScore

__all__ = [
    "NORMALISATIONS",
    "AdversarialTaylorScore",
    "ExampleGradients",
    "GateScore",
    "Score",
    "ScoreSums",
    "TaylorScore",
    "UnitScores",
    "get_score",
    "list_scores",
    "register_score",
    "score_gates",
]
