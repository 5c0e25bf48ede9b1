"""Reports of attacks: as files hold them, and as the evaluation gives them."""

from __future__ import annotations

from typing import Any

from hf_robust_tickets.evaluation import ExampleOutcome, RecipeResult, RobustnessReport


def outcome(
    kind: str = "succeeded", before: str = "a good <film>", after: str = "a fine <film>", index: int = 3
) -> dict[str, Any]:
    """What became of one text, as a file holds it."""
    return {
        "index": index,
        "label": 1,
        "original": before,
        "perturbed": after,
        "outcome": kind,
        "queries": 12,
        "original_prediction": 1,
        "perturbed_prediction": 0,
        "margin": 1.0,
    }


def result(*outcomes: dict[str, Any]) -> dict[str, Any]:
    """What one recipe did, as a file holds it."""
    kinds = [o["outcome"] for o in outcomes]
    return {
        "accuracy_under_attack": 0.5,
        "confidence_interval": [0.1, 0.9],
        "mean_queries": None,
        "not_comparable": ["the vectors are stand-ins"],
        **{kind: kinds.count(kind) for kind in ("succeeded", "failed", "skipped")},
        "outcomes": list(outcomes),
    }


def report(*outcomes: dict[str, Any]) -> dict[str, Any]:
    """A whole file, with one recipe."""
    return {
        "clean_accuracy": 0.75,
        "num_examples": len(outcomes),
        "seed": 7,
        "model": {"id2label": {"0": "negative", "1": "positive"}},
        "versions": {"torch": "2"},
        "warnings": ["the model <was> loud"],
        "failures": {"bae": "no masked model"},
        "recipes": {"pwws": result(*outcomes)},
    }


def report_of(outcomes: str, recipe: str = "pwws", first_row: int = 0, text: str = "row") -> RobustnessReport:
    """A report with one example per letter: w(ithstood), f(ooled), s(kipped)."""
    kinds = {"w": "failed", "f": "succeeded", "s": "skipped"}
    examples = tuple(
        ExampleOutcome(i, 1, f"{text} {i}", f"{text} {i}!", kinds[letter], 10, 1, 0)
        for i, letter in enumerate(outcomes, start=first_row)
    )
    result = RecipeResult(recipe, examples)
    ids = tuple(example.index for example in examples)
    return RobustnessReport({recipe: result}, result.clean_accuracy, sample_ids=ids, seed=0)
