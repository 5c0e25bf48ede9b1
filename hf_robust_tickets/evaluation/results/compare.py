"""Whether two models differ under the same attack: paired tests on the examples that both reports hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Any

from ...errors import DataError
from .base import EvaluationResult
from .example import ExampleOutcome
from .metrics import Z_95
from .recipe import RecipeResult
from .report import RobustnessReport

CLEAN = "clean"
"""Stands for accuracy without an attack where a recipe is named."""


@dataclass(frozen=True)
class Comparison:
    """Two models on the same examples.

    Attributes:
        recipe: The attack, or `"clean"`.
        first: Name of the first model.
        second: Name of the second.
        both: Examples that both models get right (under attack: withstand).
        only_first: Examples that only the first does.
        only_second: Examples that only the second does.
        neither: Examples that neither does.
        remarks: In what the attacks differ apart from the model: then a difference is not due to the models alone.
    """

    recipe: str
    first: str
    second: str
    both: int
    only_first: int
    only_second: int
    neither: int
    remarks: tuple[str, ...] = ()

    @property
    def num_examples(self) -> int:
        """Examples that both reports hold."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def difference(self) -> float:
        """Accuracy of the second minus that of the first, in [-1, 1]."""
        return (self.only_second - self.only_first) / self.num_examples

    @property
    def confidence_interval(self) -> tuple[float, float]:
        """95 % interval of the difference of two paired proportions, cut to [-1, 1].

        Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in
        Medicine 24 (2005): Wald's interval after adding half an example to each of the four counts.
        """
        total = self.num_examples + 2
        first, second = self.only_first + 0.5, self.only_second + 0.5
        centre = (second - first) / total
        half = Z_95 * math.sqrt(first + second - (second - first) ** 2 / total) / total
        return max(-1.0, centre - half), min(1.0, centre + half)

    @property
    def p_value(self) -> float:
        """McNemar's exact test (McNemar 1947; two-sided binomial) of no difference."""
        different = self.only_first + self.only_second
        least = min(self.only_first, self.only_second)
        tail = sum(math.comb(different, i) for i in range(least + 1))
        return min(1.0, 2 * tail / 2**different)

    def to_row(self) -> dict[str, Any]:
        """One row of a table; differences in points, "only first" counts what only the first gets right. "remark" is
        there where there are remarks.
        """
        lower, upper = self.confidence_interval
        remarks = {"remark": "; ".join(self.remarks)} if self.remarks else {}
        return {
            "attack": self.recipe,
            "models": f"{self.first} → {self.second}",
            "examples": self.num_examples,
            "only first": self.only_first,
            "only second": self.only_second,
            "difference": f"{100 * self.difference:+.1f}",
            "95 % interval": f"{100 * lower:+.1f} to {100 * upper:+.1f}",
            "McNemar's p": f"{self.p_value:.3g}",
            **remarks,
        }


def compare_results(results: Mapping[str, EvaluationResult]) -> list[Comparison]:
    """Compares each result with the next; all of one kind that holds an answer per example.

    Args:
        results: Name of the model -> its result.

    Raises:
        DataError: If two neighbours are of different kinds or of one that holds no answers, or share no example.
    """
    comparisons: list[Comparison] = []
    for (first, a), (second, b) in pairwise(results.items()):
        if type(a) is not type(b):
            raise DataError(f"expected two results of one kind, got {a.kind} of {first} and {b.kind} of {second}")
        if isinstance(a, RobustnessReport) and isinstance(b, RobustnessReport):
            comparisons += compare_reports({first: a, second: b})
        elif not a.answers:
            raise DataError(f"results of the kind {a.kind} cannot be compared in pairs: {a.why_no_answers}")
        else:
            comparisons += _by_answers(first, a, second, b)
    return comparisons


def _by_answers(first: str, a: EvaluationResult, second: str, b: EvaluationResult) -> list[Comparison]:
    data = a.settings.get("data"), b.settings.get("data")
    if data[0] != data[1]:
        raise DataError(f"expected results on the same data, got {data[0]} of {first} and {data[1]} of {second}")
    shared = [attack for attack in a.answers if attack in b.answers]
    if not shared:
        raise DataError(
            f"expected an attack that {first} and {second} share, got {list(a.answers)} and {list(b.answers)}"
        )
    differing = [name for name in a.alike if getattr(a, name) != getattr(b, name)]
    remarks = tuple(f"{name}: {getattr(a, name)} and {getattr(b, name)}" for name in differing)
    comparisons = []
    for attack in shared:
        one, other = a.answers[attack], b.answers[attack]
        rows = [row for row in one if row in other]
        if not rows:
            raise DataError(f"expected examples that {first} and {second} share, got none: attack both with one seed")
        counts = _counts([(one[row], other[row]) for row in rows])
        comparisons.append(Comparison(attack, first, second, *counts, remarks=remarks))
    return comparisons


def _counts(right: Sequence[tuple[bool, bool]]) -> list[int]:
    """Both right, only the first, only the second, neither."""
    return [right.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))]


def compare_reports(reports: Mapping[str, RobustnessReport]) -> list[Comparison]:
    """Compares each report with the next, in clean accuracy and under every recipe that both hold.

    Args:
        reports: Name of the model -> its report.

    Raises:
        DataError: If two neighbours share no example or no recipe, or the same row stands for different texts.
    """
    comparisons = []
    for (first, a), (second, b) in pairwise(reports.items()):
        # an attack that fools no model (Input Reduction) has no accuracy to compare
        recipes = [recipe for recipe in a if recipe in b and a[recipe].goal == "misclassify"]
        if not recipes:
            raise DataError(f"expected a recipe that {first} and {second} share, got {list(a)} and {list(b)}")
        for recipe in [CLEAN, *recipes]:
            source = recipes[0] if recipe == CLEAN else recipe
            pairs = _pairs(a[source], b[source], first, second)
            counts = _counts([(_is_right(one, recipe), _is_right(other, recipe)) for one, other in pairs])
            comparisons.append(Comparison(recipe, first, second, *counts, remarks=_remarks(a, b, recipe)))
    return comparisons


def _pairs(a: RecipeResult, b: RecipeResult, first: str, second: str) -> list[tuple[ExampleOutcome, ExampleOutcome]]:
    of_second = {outcome.index: outcome for outcome in b.outcomes}
    pairs = [(outcome, of_second[outcome.index]) for outcome in a.outcomes if outcome.index in of_second]
    if not pairs:
        raise DataError(f"expected examples that {first} and {second} share, got none: attack both with one seed")
    for one, other in pairs:
        if one.original != other.original:
            raise DataError(
                f"expected the same text in row {one.index} of {first} and {second}, got two: the reports are of "
                "different data sets"
            )
    return pairs


def _is_right(outcome: ExampleOutcome, recipe: str) -> bool:
    return outcome.outcome != "skipped" if recipe == CLEAN else outcome.outcome == "failed"


def _remarks(a: RobustnessReport, b: RobustnessReport, recipe: str) -> tuple[str, ...]:
    """In what the two were not evaluated alike."""
    names = ("max_length", "bf16") if recipe == CLEAN else ("max_length", "bf16", "query_budget", "calibrate")
    settings = [(name, a.settings.get(name), b.settings.get(name)) for name in names]
    found = [f"{name}: {one} and {other}" for name, one, other in settings if one != other]
    if recipe == CLEAN:
        return tuple(found)
    one, other = a[recipe], b[recipe]
    for name in sorted(one.resources.keys() | other.resources.keys()):
        values = one.resources.get(name), other.resources.get(name)
        unknown = None in values and name.endswith("sha256")  # reports from before it was kept
        if values[0] != values[1] and not unknown:
            found.append(f"{name}: {values[0]} and {values[1]}")
    if one.description != other.description:
        lines = [[line.strip() for line in text.splitlines()] for text in (one.description, other.description)]
        different = next((pair for pair in zip_longest(*lines, fillvalue="") if pair[0] != pair[1]), None)
        found.append("attacks: " + (" and ".join(different) if different else "differ in their layout"))
    return tuple(found)
