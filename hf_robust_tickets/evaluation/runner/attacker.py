"""Example after example, or several side by side: runs the attacks that were prepared."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..fingerprints import seeded
from ..recipes import Recipe
from ..results.example import ExampleOutcome, plain, tokenizer_input
from ..results.false_robustness import margins
from ..sampling import Example
from ..victim import request_batching
from ..victim.long_texts import LONGEST_WORD, beginnings
from ..victim.model import Victim
from .indigestible import Failures, check_readable, record
from .query_budget import QueryBudget, can_change

if TYPE_CHECKING:
    from textattack import Attack
    from torch import Tensor

SIDE_BY_SIDE = 32
"""Examples at a time on an accelerator, where a forward call of a few texts leaves it idle."""


@dataclass(frozen=True)
class Task:
    """One example, and the recipes that it is still to be attacked with."""

    example: Example
    recipes: tuple[str, ...]


@dataclass(frozen=True)
class TaskResult:
    """What was found: recipe -> outcome, and recipe -> seconds."""

    index: int
    found: dict[str, ExampleOutcome]
    seconds: dict[str, float]


class TextCache(Protocol):
    """A cache of texts, one per example that is attacked at the same time."""

    def forget(self) -> None:
        """Empties it."""


class Attacker:
    """A recipe, built as often as examples are attacked side by side: an attack remembers the example that it is at.

    Args:
        recipe: The recipe.
        build: Makes its attack, as often as is asked.
        victim: The attacked model.
        caches: Caches of texts, emptied when an example is over.
        query_budget: Queries after which an example is given up; None for no limit.
        seed_name: What seeds the attack together with seed and row; None for the recipe's name.
    """

    def __init__(
        self,
        recipe: Recipe,
        build: Callable[[], Attack],
        victim: Victim,
        caches: Sequence[TextCache] = (),
        query_budget: int | None = None,
        seed_name: str | None = None,
    ) -> None:
        self.recipe = recipe
        self._seed_name = seed_name or recipe.name
        self.victim = victim
        self.caches = (victim, *caches)
        self._build = build
        self.query_budget = query_budget
        self._local = threading.local()
        self._failures = Failures()

    @property
    def attack(self) -> Attack:
        """The attack of this thread."""
        if not hasattr(self._local, "attack"):
            # it is the same in every thread and process, and uses no random numbers of the caller
            with seeded(0, self._seed_name, -1):
                attack = self._build()
            self._local.budget = QueryBudget(attack, self.query_budget)
            self._local.attack = attack
        return self._local.attack

    def run(self, example: Example, seed: int) -> ExampleOutcome:
        """Attacks one example; one whose text the attack cannot digest is recorded, not attacked."""
        self._failures.begin()
        try:
            check_readable(example.texts)
            return self._attack(example, seed)
        except Exception as error:
            if not self._failures.are_of_the_text(error):
                raise
            return record(example, error, self.victim)

    def _attack(self, example: Example, seed: int) -> ExampleOutcome:
        """Of a text much longer than what the model reads, the beginning is attacked."""
        from textattack.shared import AttackedText

        heads, rests = beginnings(example.texts, self.victim.tokenizer, self.victim.max_length)
        text = AttackedText(OrderedDict(heads))
        logits = self.victim([text.tokenizer_input])[0]
        prediction = _prediction(logits)
        outcome, final, queries = self._search(text, example, seed, prediction)
        given = final.tokenizer_input
        texts = dict(zip(example.texts, (given,) if isinstance(given, str) else given))
        if self.recipe.goal == "misclassify":
            # what the model does not read is no word that Input Reduction has to keep
            texts = {column: part + rests[column] for column, part in texts.items()}
        perturbed = self.victim([tokenizer_input(texts)])[0]  # asked before (of a long text: its beginning): no query
        if any(rests.values()) and outcome == "succeeded" and _prediction(perturbed) == example.label:
            outcome = "failed"  # an edit that moved what the model did not read before into its sight
        return ExampleOutcome(
            index=example.index,
            label=example.label,
            original=plain(example.texts),
            perturbed=plain(example.texts if outcome == "skipped" else texts),
            outcome=outcome,
            queries=queries,
            original_prediction=prediction,
            perturbed_prediction=_prediction(perturbed),
            margin=margins(logits[None])[0],
            probabilities=tuple(logits.double().softmax(0).tolist()),
            perturbed_probabilities=tuple(perturbed.double().softmax(0).tolist()),
        )

    def _search(self, text: Any, example: Example, seed: int, prediction: int) -> tuple[str, Any, int]:
        """What became of it, the text that it ended with, and the number of queries."""
        from textattack.attack_results import SkippedAttackResult, SuccessfulAttackResult

        attack, budget = self.attack, self._local.budget
        budget.begin()
        try:
            with _sparing_huge_words(attack, text):
                if not can_change(attack, text):
                    return "failed" if prediction == example.label else "skipped", text, 1
                with seeded(seed, self._seed_name, example.index):
                    result = attack.attack(text, example.label)
        except (IndexError, ValueError):
            if not budget.withheld:
                raise
            return "failed", text, attack.goal_function.num_queries
        outcome = "failed"
        if isinstance(result, SkippedAttackResult):
            outcome = "skipped"
        elif isinstance(result, SuccessfulAttackResult):
            outcome = "succeeded"
        return outcome, result.perturbed_result.attacked_text, int(result.num_queries)


@contextlib.contextmanager
def _sparing_huge_words(attack: Attack, text: Any) -> Iterator[None]:
    """Keeps an attack from words of thousands of characters: one edit at each, and each candidate as long again."""
    from ..components.constraints import ShorterWords

    constraints = attack.pre_transformation_constraints
    huge = any(len(word) > LONGEST_WORD for word in text.words)
    added = [ShorterWords(LONGEST_WORD)] if huge else []
    constraints += added
    try:
        yield
    finally:
        del constraints[len(constraints) - len(added) :]


def _prediction(logits: Tensor) -> int:
    """As goal functions see it: where rounding makes probabilities equal, the first class wins."""
    return int(logits.softmax(0).numpy().argmax())


def attack_all(
    attackers: Sequence[Attacker], tasks: Iterable[Task], seed: int, concurrent: int
) -> Iterator[TaskResult]:
    """Attacks examples and yields what was found as it is found, not always in order.

    An example is attacked with all its recipes before it is forgotten: the clean text and the texts that recipes share
    are asked and encoded once.

    Args:
        attackers: All recipes.
        tasks: What to do; the next one is taken when there is room for it.
        seed: The evaluation's seed.
        concurrent: Examples side by side.
    """
    calls = (functools.partial(_attack_one, attackers, task, seed) for task in tasks)
    if concurrent == 1:
        yield from (call() for call in calls)
    else:
        yield from request_batching.run_together(calls, concurrent)


def _attack_one(attackers: Sequence[Attacker], task: Task, seed: int) -> TaskResult:
    result = TaskResult(task.example.index, {}, {})
    for attacker in attackers:
        name = attacker.recipe.name
        if name not in task.recipes:
            continue
        start = request_batching.seconds()
        try:
            result.found[name] = attacker.run(task.example, seed)
        except Exception as error:
            error.add_note(f"while attacking row {task.example.index} with {name}")
            raise
        result.seconds[name] = request_batching.seconds() - start
    for cache in {id(cache): cache for attacker in attackers for cache in attacker.caches}.values():
        cache.forget()
    return result
