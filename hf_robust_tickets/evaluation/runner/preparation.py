"""From the names of recipes to attacks: resources are looked for, loaded once, and shared."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..._compat import import_textattack
from ...errors import MissingDependencyError, MissingResourceError
from ..components.encoders import TextEncoder
from ..components.masked_lm import MaskedLM
from ..recipes import Recipe, RecipeContext, columns_to_change, limit_columns
from ..recipes.parts import PartsLoader, describe_parts, stand_ins
from ..resources import ensure_resources
from ..results.comparability import departures
from ..results.example import ExampleOutcome
from ..results.recipe import RecipeResult
from ..sampling import Example
from ..victim.model import Victim
from ..victim.temperature import Temperature
from .attacker import Attacker
from .store import Outcomes

if TYPE_CHECKING:
    from textattack import Attack

logger = logging.getLogger(__name__)

CALIBRATED = "@T*"
"""What is put behind a recipe's name where its attack is made at the calibrated temperature."""


@dataclass(frozen=True)
class PreparedRecipe:
    """A recipe, built, and what it was built with."""

    recipe: Recipe
    attacker: Attacker
    encoder: TextEncoder | None
    vectors: Any
    masked_lm: MaskedLM | None = None
    changed: tuple[str, ...] = ()
    by_rule: tuple[str, ...] = ()
    calibrated: bool = False

    @property
    def resources(self) -> dict[str, Any]:
        """What the recipe uses, for the report."""
        return describe_parts(self)

    def not_comparable(self, outcomes: Sequence[ExampleOutcome]) -> tuple[str, ...]:
        """Why its figures cannot be compared with published ones; empty when they can."""
        attacker = self.attacker
        return stand_ins(self) + departures(
            attacker.victim, outcomes, attacker.query_budget, self.changed, self.by_rule
        )

    @property
    def fingerprint(self) -> str:
        """What must not change while outcomes are gathered: components, constants, resources."""
        return f"{self.attacker.attack!r} {self.resources}"

    def result(self, outcomes: Outcomes, examples: Sequence[Example]) -> RecipeResult:
        """The outcomes of some examples, in their order."""
        name = self.recipe.name
        found = tuple(outcomes.found[name][example.index] for example in examples)
        return RecipeResult(
            recipe=name,
            outcomes=found,
            seconds=outcomes.seconds[name],
            resources=self.resources,
            not_comparable=self.not_comparable(found),
            description=repr(self.attacker.attack),
            goal=self.recipe.goal,
            sha256=hashlib.sha256(self.fingerprint.encode()).hexdigest(),
        )


def prepare(
    recipes: Sequence[Recipe],
    victim: Victim,
    sentence_encoder: Any,
    masked_language_model: Any,
    columns: Sequence[str],
    modify_columns: str | Sequence[str] | None = None,
    query_budget: int | None = None,
    word_vectors: str | os.PathLike[str] | None = None,
    temperature: Temperature | None = None,
) -> tuple[list[PreparedRecipe], dict[str, str]]:
    """Builds the recipes whose resources are there, and says why the others are not.

    Args:
        recipes: The recipes.
        victim: The attacked model.
        sentence_encoder: As in `evaluate_robustness`, as are the others.
        masked_language_model: For recipes that use one.
        columns: The text columns.
        modify_columns: Those that may change.
        query_budget: Queries after which an example is given up.
        word_vectors: Folder of the word vectors; None for TextAttack's cache.
        temperature: Recipes that see scores are built a second time, to see them at this temperature; None for once.
            The victim is a `ScoredVictim` then.

    Returns:
        What can run, and recipe -> reason for what cannot.

    Raises:
        MissingResourceError: If nothing can run.
    """
    import_textattack()
    from ..components.goals import Goal, calibrate_attack

    parts = PartsLoader(victim, sentence_encoder, masked_language_model, word_vectors)
    prepared: list[PreparedRecipe] = []
    errors: dict[str, MissingResourceError | MissingDependencyError] = {}
    allowed = {recipe.name: columns_to_change(recipe, columns, modify_columns) for recipe in recipes}

    def build(recipe: Recipe, context: RecipeContext, calibrated: bool = False) -> Attack:
        attack = parts.build(recipe, context)
        limit_columns(attack, columns, allowed[recipe.name])
        if calibrated:
            calibrate_attack(attack, victim, temperature.value)
        return attack

    for recipe in recipes:
        try:
            ensure_resources(parts.looked_for(recipe))
            context = parts.context(recipe)
            caches = [part for part in (context.encoder, context.masked_lm) if part is not None]
            attacker = Attacker(recipe, functools.partial(build, recipe, context), victim, caches, query_budget)
            attacker.attack  # noqa: B018  (built here, so that a missing resource is not taken for an error of the attack)
        except (MissingResourceError, MissingDependencyError) as error:
            logger.warning("recipe %s cannot run: %s", recipe.name, error)
            errors[recipe.name] = error
            continue
        made_of = (context.encoder, context.vectors, context.masked_lm)
        by_rule = columns_to_change(recipe, columns, None)
        first = PreparedRecipe(recipe, attacker, *made_of, allowed[recipe.name], by_rule)
        prepared.append(first)
        if temperature is not None and type(attacker.attack.goal_function) is Goal:
            twin = replace(recipe, name=recipe.name + CALIBRATED)
            again = functools.partial(build, recipe, context, calibrated=True)
            second = Attacker(twin, again, victim, caches, query_budget, seed_name=recipe.name)
            prepared.append(replace(first, recipe=twin, attacker=second, calibrated=True))
    if not prepared:
        first = next(iter(errors.values()))
        if len(set(map(str, errors.values()))) == 1:
            raise first
        raise MissingResourceError("; ".join(f"{name}: {error}" for name, error in errors.items())) from first
    return prepared, {name: str(error) for name, error in errors.items()}
