"""How an evaluation goes: its order, the figures so far, the time that is left, and when it is enough."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from tqdm.auto import tqdm

from ..results import metrics
from ..results.example import ExampleOutcome
from ..sampling import Example


def representative_order(examples: Sequence[Example], seed: int) -> list[Example]:
    """The sample in an order of which every beginning is a seeded, stratified sample too.

    Within a class the order is random; the classes take turns such that each has its share, within one example.
    """
    strata: dict[int, list[Example]] = defaultdict(list)
    for example in examples:
        strata[example.label].append(example)
    placed = []
    for label in sorted(strata):
        stratum = strata[label]
        random.Random(f"{seed}:{label}").shuffle(stratum)
        placed += [((place + 0.5) / len(stratum), label, example) for place, example in enumerate(stratum)]
    return [example for _, _, example in sorted(placed, key=lambda entry: entry[:2])]


@dataclass(frozen=True)
class Tally:
    """Counts of one recipe so far."""

    failed: int = 0
    total: int = 0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy under attack."""
        return metrics.wilson_interval(self.failed, self.total)

    def __str__(self) -> str:
        lower, upper = self.interval
        return f"{self.failed / self.total if self.total else math.nan:.1%} [{lower:.1%}, {upper:.1%}]"

    def plus(self, outcome: ExampleOutcome) -> Tally:
        """With one more outcome."""
        return replace(self, failed=self.failed + (outcome.outcome == "failed"), total=self.total + 1)


class Progress:
    """Follows the outcomes: a bar for people, and where to stop.

    Where to stop depends on the beginning of the order alone, however many examples are attacked at a time and in
    whatever order they end: on the shortest beginning, all attacked, after which every interval is narrow enough.

    Args:
        order: The examples in the order in which they are begun.
        recipes: Names of the recipes.
        until_width: Upper minus lower end at which an interval is narrow enough; None to attack everything.
        show: Whether to show the bar.
        reducing: Those of the recipes that fool no model: they leave no accuracy to show or to wait for.
    """

    def __init__(
        self,
        order: Sequence[Example],
        recipes: Sequence[str],
        until_width: float | None = None,
        show: bool = False,
        reducing: Collection[str] = (),
    ) -> None:
        self._order = order
        self._until_width = until_width
        self._recipes = frozenset(recipes)
        self._so_far = {recipe: Tally() for recipe in recipes if recipe not in reducing}
        self._beginning = dict(self._so_far)
        self._length = 0
        self._known: dict[int, dict[str, ExampleOutcome]] = defaultdict(dict)
        self.enough: int | None = None
        self._bar = tqdm(total=len(order), desc="attacks", unit="example", disable=not show)

    @property
    def width(self) -> float:
        """Width of the widest interval over the beginning that is attacked without a gap."""
        return max(upper - lower for lower, upper in (tally.interval for tally in self._beginning.values()))

    def add(self, index: int, found: Mapping[str, ExampleOutcome], fresh: bool = True) -> None:
        """Takes note of outcomes of one example; `fresh` ones count for the time that is left."""
        known = self._known[index]
        complete = len(known) == len(self._recipes)
        for recipe, outcome in found.items():
            if recipe in self._recipes and recipe not in known:
                known[recipe] = outcome
                if recipe in self._so_far:
                    self._so_far[recipe] = self._so_far[recipe].plus(outcome)
        if len(known) == len(self._recipes) and not complete:
            self._advance()
            # the remaining time is estimated from the examples that this run attacks
            if not self._bar.disable:
                self._bar.initial += not fresh
            said = ", ".join(f"{name} {tally}" for name, tally in self._so_far.items())
            self._bar.set_postfix_str(said, refresh=False)
            self._bar.update()

    def _advance(self) -> None:
        while self.enough is None and self._length < len(self._order):
            known = self._known[self._order[self._length].index]
            if len(known) < len(self._recipes):
                return
            self._length += 1
            self._beginning = {name: tally.plus(known[name]) for name, tally in self._beginning.items()}
            if self._until_width is not None and self._so_far and self.width <= self._until_width:
                self.enough = self._length

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()
