"""Attacks on models that decide several things about a text: its labels, or a tag for each of its words."""

from __future__ import annotations

from .api import evaluate_label_sets, evaluate_tags
from .result import SeveralOutcome, SeveralReport, SeveralResult

__all__ = ["SeveralOutcome", "SeveralReport", "SeveralResult", "evaluate_label_sets", "evaluate_tags"]
