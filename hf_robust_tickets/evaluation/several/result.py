"""What attacks on several decisions found."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..._files import write_json
from ..results.metrics import wilson_interval


@dataclass(frozen=True)
class SeveralOutcome:
    """What became of one example.

    Attributes:
        index: Row in the data set.
        original: The text; of words with tags, joined by spaces.
        perturbed: The text that the attack ended with.
        outcome: "succeeded", "failed" (the model withstood) or "skipped" (it was wrong to begin with).
        queries: Texts that the attack asked about.
        truth: The true labels' numbers, or the tag of each word (negative: none).
        before: What the model said of the original, in the same form.
        after: Of the perturbed text.
    """

    index: int
    original: str
    perturbed: str
    outcome: Literal["succeeded", "failed", "skipped"]
    queries: int
    truth: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    def __post_init__(self) -> None:
        """Lists, as JSON gives them, become tuples: an outcome that was read equals the one that was written."""
        for name in ("truth", "before", "after"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class SeveralResult:
    """One recipe's outcomes.

    Attributes:
        recipe: Its name.
        outcomes: One per example.
        description: The attack, as TextAttack prints it.
        resources: What it used.
        seconds: Time that it took.
    """

    recipe: str
    outcomes: tuple[SeveralOutcome, ...]
    description: str = ""
    resources: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def accuracy(self) -> float:
        """Share of the examples that the model had right before: all labels, or enough tags."""
        return (len(self.outcomes) - self._count("skipped")) / len(self.outcomes)

    @property
    def accuracy_under_attack(self) -> float:
        """Share of all examples that the model had right and withstood the attack on."""
        return self._count("failed") / len(self.outcomes)

    @property
    def confidence_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy under attack."""
        return wilson_interval(self._count("failed"), len(self.outcomes))

    @property
    def success_rate(self) -> float:
        """Share of the attacked examples on which the attack succeeded; NaN where none was attacked."""
        attacked = len(self.outcomes) - self._count("skipped")
        return self._count("succeeded") / attacked if attacked else float("nan")

    @property
    def mean_queries(self) -> float:
        """Mean queries of the attacked examples; NaN where none was attacked."""
        queries = [one.queries for one in self.outcomes if one.outcome != "skipped"]
        return sum(queries) / len(queries) if queries else float("nan")

    def _count(self, outcome: str) -> int:
        return sum(one.outcome == outcome for one in self.outcomes)


@dataclass(frozen=True)
class SeveralReport:
    """What all recipes found.

    Attributes:
        task: "labels" or "tags".
        results: One per recipe.
        failures: Recipe -> why it could not run.
        settings: What the evaluation was run with.
        model: What is known of the model.
    """

    task: Literal["labels", "tags"]
    results: tuple[SeveralResult, ...]
    failures: Mapping[str, str]
    settings: Mapping[str, Any]
    model: Mapping[str, Any]

    def __getitem__(self, recipe: str) -> SeveralResult:
        """The result of a recipe."""
        return next(result for result in self.results if result.recipe == recipe)

    def __str__(self) -> str:
        """A line per recipe."""
        what = {"labels": "whole label sets right", "tags": "sentences with their tags right"}[self.task]
        return "\n".join(
            f"{one.recipe}: {what} {one.accuracy:.1%}, under attack {one.accuracy_under_attack:.1%} "
            f"({len(one.outcomes)} examples, {one.mean_queries:.0f} queries)"
            for one in self.results
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, the figures beside the outcomes."""
        values = asdict(self)
        for result, one in zip(values["results"], self.results):
            result |= {"accuracy": one.accuracy, "accuracy_under_attack": one.accuracy_under_attack}
            result |= {"confidence_interval": list(one.confidence_interval)}
        return values

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes it as JSON, whole or not at all; the path."""
        write_json(path, self.to_dict())
        return Path(path)
