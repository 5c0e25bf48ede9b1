"""A report of one recipe whose figures are known by hand."""

from __future__ import annotations

from hf_robust_tickets.evaluation import ExampleOutcome, RecipeResult, RobustnessReport


def outcome(index: int, kind: str, queries: int) -> ExampleOutcome:
    """One example; a pair of texts after the attack, with a lone surrogate."""
    prediction = {"succeeded": (1, 0), "failed": (1, 1), "skipped": (0, 0)}[kind]
    return ExampleOutcome(index, 1, "a good film", {"a": "gоod", "b": "\ud800"}, kind, queries, *prediction)


def report(**changes) -> RobustnessReport:
    """A report with every field filled, and some changed."""
    outcomes = (
        outcome(0, "succeeded", 10),
        outcome(4, "failed", 30),
        outcome(7, "failed", 50),
        outcome(9, "skipped", 1),
    )
    values = {
        "results": {
            "deepwordbug": RecipeResult("deepwordbug", outcomes, 1.5, {"a": "b"}, ("the vectors stand in",), "x")
        },
        "clean_accuracy": 0.75,
        "sample_ids": (0, 4, 7, 9),
        "seed": 3,
        "failures": {"pwws": "no WordNet"},
        "settings": {"bf16": False},
        "model": {"sha256": "0"},
        "versions": {"python": "3"},
        "warnings": ("a warning",),
    }
    return RobustnessReport(**(values | changes))
