"""What a robustness evaluation found: every example's outcome, the figures, and what they were obtained with."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..._files import write_json
from ...errors import CheckpointError, UnknownNameError
from . import metrics
from .example import ExampleOutcome as ExampleOutcome
from .example import Text as Text
from .recipe import RecipeResult, number

SCHEMA = "hf_robust_tickets/robustness"
SCHEMA_VERSION = 2
"""2: outcomes hold probabilities."""

READABLE_VERSIONS = (1, 2)


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
            "clean_accuracy": number(self.clean_accuracy),
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
        if values.get("schema_version") not in READABLE_VERSIONS:
            raise CheckpointError(
                f"expected a schema version of {READABLE_VERSIONS}{origin}, got {values.get('schema_version')}: "
                "evaluate again, or read it with the version of hf_robust_tickets that wrote it"
            )
        try:
            return cls._from_dict(values)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise CheckpointError(
                f"expected a whole robustness report{origin}, got one with a missing or unknown field ({error!r}): "
                "evaluate again, or read it with the version of hf_robust_tickets that wrote it"
            ) from error

    @classmethod
    def _from_dict(cls, values: Mapping[str, Any]) -> RobustnessReport:
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
