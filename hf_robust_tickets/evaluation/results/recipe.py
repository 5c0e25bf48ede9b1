"""What one recipe found: every example's outcome, and the figures that are derived from them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from . import metrics
from .calibration import Calibration
from .example import ExampleOutcome


@dataclass(frozen=True)
class RecipeResult:
    """All outcomes of one recipe; every figure is derived from them.

    Attributes:
        recipe: Name of the recipe.
        outcomes: One per example of the sample, in its order.
        seconds: Time spent in this recipe's attacks.
        resources: What the recipe used: sentence encoder, word vectors.
        not_comparable: Why the figures cannot be compared with published ones; empty when they can.
        description: The attack's components and constants, as TextAttack prints them.
        model: What was attacked, as the report says it; class numbers are this model's.
        sha256: Of what the recipe was built from: components, constants, resources. Empty in reports from before it
            was kept.
        at_temperatures: Where the attack was calibrated: `temperature` (T*), `accuracy_at_1` and
            `accuracy_at_temperature`, accuracies under attack of which this result is the smaller one. Else empty.
        goal: "misclassify", or "reduce" for an attack that shortens texts under the same prediction: its outcomes hold
            no success, and its figure is `mean_words_left`.
    """

    recipe: str
    outcomes: tuple[ExampleOutcome, ...]
    seconds: float = 0.0
    resources: Mapping[str, Any] = field(default_factory=dict)
    not_comparable: tuple[str, ...] = ()
    description: str = ""
    goal: Literal["misclassify", "reduce"] = "misclassify"
    model: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    sha256: str = ""
    at_temperatures: Mapping[str, float] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """How many attacks succeeded, failed and were skipped."""
        found = Counter(outcome.outcome for outcome in self.outcomes)
        return {name: found[name] for name in ("succeeded", "failed", "skipped")}

    @property
    def num_examples(self) -> int:
        """Size of the sample, skipped examples included."""
        return len(self.outcomes)

    @property
    def clean_accuracy(self) -> float:
        """(succeeded + failed) / all."""
        return metrics.clean_accuracy(**self.counts)

    @property
    def accuracy_under_attack(self) -> float:
        """Failed / all, in [0, 1]; NaN for an attack that does not aim at a wrong prediction."""
        if self.goal == "reduce":
            return math.nan
        return metrics.accuracy_under_attack(**self.counts)

    @property
    def attack_success_rate(self) -> float:
        """Succeeded / (succeeded + failed), in [0, 1]; NaN when nothing was attacked, or not aimed at."""
        if self.goal == "reduce":
            return math.nan
        return metrics.attack_success_rate(**self.counts)

    @property
    def mean_queries(self) -> float:
        """Mean number of queries over the attacked examples; NaN when nothing was attacked."""
        queries = [outcome.queries for outcome in self.outcomes if outcome.outcome != "skipped"]
        return sum(queries) / len(queries) if queries else math.nan

    @property
    def confidence_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy under attack: the spread due to the sample of examples alone."""
        if self.goal == "reduce":
            return math.nan, math.nan
        return metrics.wilson_interval(self.counts["failed"], self.num_examples)

    @property
    def calibration(self) -> dict[str, Calibration] | None:
        """`"clean"` and `"under_attack"`: calibration on the texts before and after; None without probabilities."""
        kinds = {"clean": "probabilities", "under_attack": "perturbed_probabilities"}
        read = [outcome for outcome in self.outcomes if outcome.error is None or outcome.probabilities is not None]
        rows = {kind: [getattr(outcome, name) for outcome in read] for kind, name in kinds.items()}
        if not read or any(None in values for values in rows.values()):
            return None
        labels = [outcome.label for outcome in read]
        return {kind: Calibration.of(values, labels) for kind, values in rows.items()}

    @property
    def mean_words(self) -> float:
        """Mean number of words of the attacked examples, separated by white space; NaN when nothing was attacked."""
        return metrics.mean_words(outcome.original for outcome in self.outcomes if outcome.outcome != "skipped")

    @property
    def mean_words_left(self) -> float:
        """The same after the attack."""
        return metrics.mean_words(outcome.perturbed for outcome in self.outcomes if outcome.outcome != "skipped")

    @property
    def comparable(self) -> str:
        """Whether the figures can be compared with published ones: "yes", or "no, because ..."."""
        return "no, because " + "; ".join(self.not_comparable) if self.not_comparable else "yes"

    def to_dict(self) -> dict[str, Any]:
        """As JSON: the figures for people, the outcomes from which `from_dict` derives them again."""
        lower, upper = self.confidence_interval
        calibration = self.calibration
        return {
            "accuracy_under_attack": number(self.accuracy_under_attack),
            "confidence_interval": [number(lower), number(upper)],
            "attack_success_rate": number(self.attack_success_rate),
            "mean_queries": number(self.mean_queries),
            "goal": self.goal,
            "mean_words": number(self.mean_words),
            "mean_words_left": number(self.mean_words_left),
            **self.counts,
            "calibration": calibration and {kind: found.to_dict() for kind, found in calibration.items()},
            "seconds": self.seconds,
            "comparable_with_published_numbers": self.comparable,
            "not_comparable": list(self.not_comparable),
            "resources": dict(self.resources),
            "description": self.description,
            "sha256": self.sha256,
            "at_temperatures": dict(self.at_temperatures),
            "outcomes": [outcome.to_dict() for outcome in self.outcomes],
        }

    @classmethod
    def from_dict(cls, recipe: str, values: Mapping[str, Any]) -> RecipeResult:
        """The inverse of `to_dict`."""
        return cls(
            recipe=recipe,
            outcomes=tuple(ExampleOutcome(**outcome) for outcome in values["outcomes"]),
            seconds=values["seconds"],
            resources=values["resources"],
            not_comparable=tuple(values["not_comparable"]),
            description=values["description"],
            goal=values.get("goal", "misclassify"),
            sha256=values.get("sha256", ""),
            at_temperatures=values.get("at_temperatures", {}),
        )


def number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value
