"""What a robustness evaluation found: every example's outcome, the figures, and what they were obtained with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...errors import UnknownNameError
from . import metrics
from .base import EvaluationResult
from .recipe import RecipeResult, number


@dataclass(frozen=True)
class RobustnessReport(EvaluationResult, Mapping[str, RecipeResult], kind="robustness"):
    """The result of `evaluate_robustness`: a mapping from recipe to `RecipeResult`, and the circumstances.

    Attributes:
        results: The recipes that ran.
        clean_accuracy: Accuracy on the sample without an attack, in [0, 1].
        failures: Recipe -> reason, for the recipes that could not run.
    """

    results: Mapping[str, RecipeResult]
    clean_accuracy: float
    failures: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Each result knows whose classes its numbers are."""
        results = {name: replace(result, model=self.model) for name, result in self.results.items()}
        object.__setattr__(self, "results", results)

    def __getitem__(self, recipe: str) -> RecipeResult:
        if recipe not in self.results:
            reason = f" (it failed: {self.failures[recipe]})" if recipe in self.failures else ""
            raise UnknownRecipeResult(f"expected one of {sorted(self.results)}, got {recipe!r}{reason}")
        return self.results[recipe]

    def __contains__(self, recipe: object) -> bool:
        return recipe in self.results

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    @property
    def clean_confidence_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the clean accuracy."""
        total = len(self.sample_ids)
        return metrics.wilson_interval(round(self.clean_accuracy * total) if total else 0, total)

    def to_table(self) -> list[dict[str, Any]]:
        """One row per recipe, failed ones last: plain values for tables, data frames and cards."""
        rows = [
            {
                "recipe": name,
                "clean_accuracy": self.clean_accuracy,
                "accuracy_under_attack": result.accuracy_under_attack,
                "confidence_interval": result.confidence_interval,
                "attack_success_rate": result.attack_success_rate,
                "mean_queries": result.mean_queries,
                "num_examples": result.num_examples,
                "seconds": result.seconds,
                "comparable": result.comparable,
            }
            for name, result in self.results.items()
        ]
        return rows + [{"recipe": name, "failure": reason} for name, reason in self.failures.items()]

    def summary(self) -> str:
        """A few lines of text: what a person wants to read first."""
        lower, upper = self.clean_confidence_interval
        lines = [
            f"clean accuracy {self.clean_accuracy:.1%} [{lower:.1%}, {upper:.1%}] on {len(self.sample_ids)} examples"
        ]
        for name, result in self.results.items():
            if result.goal == "reduce":
                lines.append(
                    f"{name}: {result.mean_words_left:.1f} of {result.mean_words:.1f} words left under the same "
                    f"prediction (no accuracy under attack), {result.mean_queries:.1f} queries, {result.seconds:.1f} s"
                )
                continue
            lower, upper = result.confidence_interval
            lines.append(
                f"{name}: accuracy under attack {result.accuracy_under_attack:.1%} [{lower:.1%}, {upper:.1%}]"
                f"{_at_temperatures(result)}, attack success rate {result.attack_success_rate:.1%}, "
                f"{result.mean_queries:.1f} queries, {result.seconds:.1f} s; "
                f"comparable with published numbers: {result.comparable}"
            )
        lines += [f"{name}: did not run: {reason}" for name, reason in self.failures.items()]
        return "\n".join(lines + [f"warning: {warning}" for warning in self.warnings])

    def derived(self) -> dict[str, Any]:
        """Size of the sample, and the interval of the clean accuracy."""
        return {
            "clean_confidence_interval": list(self.clean_confidence_interval),
            "num_examples": len(self.sample_ids),
        }

    @property
    def answers(self) -> dict[str, dict[int, bool]]:
        """Recipe -> row -> whether the model withstood it; recipes without an accuracy under attack are left out."""
        return {
            name: {outcome.index: outcome.outcome == "failed" for outcome in result.outcomes}
            for name, result in self.results.items()
            if result.goal == "misclassify"
        }

    def to_dict(self) -> dict[str, Any]:
        """The whole report as JSON values, the recipes last."""
        values = super().to_dict()
        return {**{name: value for name, value in values.items() if name != "recipes"}, "recipes": values["recipes"]}

    @classmethod
    def _key(cls, name: str) -> str:
        return "recipes" if name == "results" else name

    def _encoded(self, name: str, value: Any) -> Any:
        if name == "results":
            return {recipe: result.to_dict() for recipe, result in value.items()}
        return number(value) if name == "clean_accuracy" else super()._encoded(name, value)

    @classmethod
    def _decoded(cls, name: str, value: Any) -> Any:
        if name == "results":
            return {recipe: RecipeResult.from_dict(recipe, result) for recipe, result in value.items()}
        if name == "clean_accuracy":
            return math.nan if value is None else value
        return super()._decoded(name, value)


def _at_temperatures(result: RecipeResult) -> str:
    """Both figures of a calibrated attack, in brackets."""
    both = result.at_temperatures
    if not both:
        return ""
    return " (T = 1: {accuracy_at_1:.1%}; T* = {temperature:.3g}: {accuracy_at_temperature:.1%})".format(**both)


class UnknownRecipeResult(UnknownNameError, KeyError):
    """A recipe that the report does not hold; still a `KeyError`, as a mapping owes its users."""

    def __str__(self) -> str:
        return str(self.args[0])
