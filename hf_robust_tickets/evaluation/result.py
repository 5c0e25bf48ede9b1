"""What a robustness evaluation found: every example's outcome, the figures, and what they were obtained with."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from .._files import write_json
from ..errors import CheckpointError, UnknownNameError
from . import metrics
from .calibration import Calibration
from .outcome import ExampleOutcome
from .outcome import Text as Text

SCHEMA = "hf_robust_tickets/robustness"
SCHEMA_VERSION = 2
"""2: outcomes hold probabilities."""

READABLE_VERSIONS = (1, 2)


@dataclass(frozen=True)
class RecipeResult:
    """All outcomes of one recipe; every figure is derived from them.

    Attributes:
        recipe: Name of the recipe.
        outcomes: One per example of the sample, in its order.
        seconds: Time spent in this recipe's attacks.
        resources: What the recipe used: sentence encoder, word vectors.
        not_comparable: Why the figures cannot be set beside published ones; empty when they can.
        description: The attack's components and constants, as TextAttack prints them.
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
        rows = {kind: [getattr(outcome, name) for outcome in self.outcomes] for kind, name in kinds.items()}
        if not self.outcomes or any(None in values for values in rows.values()):
            return None
        labels = [outcome.label for outcome in self.outcomes]
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
        """Whether the figures can be set beside published ones: "yes", or "no, because ..."."""
        return "no, because " + "; ".join(self.not_comparable) if self.not_comparable else "yes"

    def to_dict(self) -> dict[str, Any]:
        """As JSON: the figures for people, the outcomes from which `from_dict` derives them again."""
        lower, upper = self.confidence_interval
        calibration = self.calibration
        return {
            "accuracy_under_attack": _number(self.accuracy_under_attack),
            "confidence_interval": [_number(lower), _number(upper)],
            "attack_success_rate": _number(self.attack_success_rate),
            "mean_queries": _number(self.mean_queries),
            "goal": self.goal,
            "mean_words": _number(self.mean_words),
            "mean_words_left": _number(self.mean_words_left),
            **self.counts,
            "calibration": calibration and {kind: found.to_dict() for kind, found in calibration.items()},
            "seconds": self.seconds,
            "comparable_with_published_numbers": self.comparable,
            "not_comparable": list(self.not_comparable),
            "resources": dict(self.resources),
            "description": self.description,
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
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
        )


@dataclass(frozen=True)
class RobustnessReport(Mapping[str, RecipeResult]):
    """The result of `evaluate_robustness`: a mapping from recipe to `RecipeResult`, and the circumstances.

    Attributes:
        results: The recipes that ran.
        clean_accuracy: Accuracy on the sample without an attack, in [0, 1].
        sample_ids: Rows of the data set that were used.
        seed: Seed of the sample and of the attacks.
        failures: Recipe -> reason, for the recipes that could not run.
        settings: The arguments that bear on the figures.
        model: What was attacked: name, class, number of parameters, sha256 of its weights, its ticket if any.
        versions: Versions of the packages involved.
        warnings: What a reader of the figures has to know.
    """

    results: Mapping[str, RecipeResult]
    clean_accuracy: float
    sample_ids: tuple[int, ...]
    seed: int
    failures: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

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
                f"{name}: accuracy under attack {result.accuracy_under_attack:.1%} [{lower:.1%}, {upper:.1%}], "
                f"attack success rate {result.attack_success_rate:.1%}, {result.mean_queries:.1f} queries, "
                f"{result.seconds:.1f} s; comparable with published numbers: {result.comparable}"
            )
        lines += [f"{name}: did not run: {reason}" for name, reason in self.failures.items()]
        return "\n".join(lines + [f"warning: {warning}" for warning in self.warnings])

    def to_dict(self) -> dict[str, Any]:
        """The whole report as JSON values."""
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "clean_accuracy": _number(self.clean_accuracy),
            "clean_confidence_interval": list(self.clean_confidence_interval),
            "num_examples": len(self.sample_ids),
            "seed": self.seed,
            "settings": dict(self.settings),
            "model": dict(self.model),
            "versions": dict(self.versions),
            "warnings": list(self.warnings),
            "failures": dict(self.failures),
            "sample_ids": list(self.sample_ids),
            "recipes": {name: result.to_dict() for name, result in self.results.items()},
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the report as JSON, atomically: a reader sees the old file or the new one.

        Args:
            path: The file; its folder is made if need be.
        """
        write_json(Path(path), self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RobustnessReport:
        """Reads what `save` wrote; a `CheckpointError` if it is something else, or of another schema version."""
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8", errors="surrogatepass"))
        except json.JSONDecodeError as error:
            raise CheckpointError(f"expected a robustness report in {path}, got no valid JSON ({error})") from error
        return cls.from_dict(values, origin=f" in {path}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], origin: str = "") -> RobustnessReport:
        """The inverse of `to_dict`; `origin` is for the error, which is that of `load`."""
        if not isinstance(values, dict) or values.get("schema") != SCHEMA:
            raise CheckpointError(f"expected a robustness report (schema {SCHEMA!r}){origin}, got another JSON file")
        if values["schema_version"] not in READABLE_VERSIONS:
            raise CheckpointError(
                f"expected a schema version of {READABLE_VERSIONS}{origin}, got {values['schema_version']}: "
                "evaluate again, or read it with the version of hf_robust_tickets that wrote it"
            )
        accuracy = values["clean_accuracy"]
        return cls(
            results={name: RecipeResult.from_dict(name, result) for name, result in values["recipes"].items()},
            clean_accuracy=math.nan if accuracy is None else accuracy,
            sample_ids=tuple(values["sample_ids"]),
            **{name: values[name] for name in ("seed", "failures", "settings", "model", "versions")},
            warnings=tuple(values["warnings"]),
        )


class UnknownRecipeResult(UnknownNameError, KeyError):
    """A recipe that the report does not hold; still a `KeyError`, as a mapping owes its users."""

    def __str__(self) -> str:
        return str(self.args[0])


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value
