"""From the names of recipes to attacks: resources are looked for, loaded once, and shared."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .._compat import import_textattack
from ..errors import MissingDependencyError, MissingResourceError
from .batched import Victim
from .encoders import TextEncoder, load_sentence_encoder
from .engine import Attacker
from .examples import Example
from .recipes import Recipe, RecipeContext
from .resources import VECTORS_SHAPE, ensure_resources
from .result import RecipeResult
from .store import Outcomes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A recipe, built, and what it was built with."""

    recipe: Recipe
    attacker: Attacker
    encoder: TextEncoder | None
    vectors: Any

    @property
    def resources(self) -> dict[str, Any]:
        """What the recipe uses, for the report."""
        found: dict[str, Any] = {}
        if self.encoder is not None:
            found["sentence_encoder"] = self.encoder.name
        if self.vectors is not None:
            words, dimensions = self.vectors.embedding_matrix.shape
            found["word_vectors"] = f"{words} words x {dimensions}"
        return found

    @property
    def not_comparable(self) -> tuple[str, ...]:
        """Why its figures cannot be set beside published ones; empty when they can."""
        reasons = []
        if self.encoder is not None and not self.encoder.published:
            reasons.append(f"the sentence encoder {self.encoder.name} stands in for the Universal Sentence Encoder")
        if self.vectors is not None and not self.vectors.published:
            words, dimensions = VECTORS_SHAPE
            reasons.append(
                f"word vectors of {self.resources['word_vectors']} stand in for the published counter-fitted ones of "
                f"{words} words x {dimensions}"
            )
        return tuple(reasons)

    @property
    def fingerprint(self) -> str:
        """What must not change while outcomes are gathered: components, constants, resources."""
        return f"{self.attacker.attack!r} {self.resources}"

    def result(self, outcomes: Outcomes, examples: Sequence[Example]) -> RecipeResult:
        """The outcomes of some examples, in their order."""
        name = self.recipe.name
        return RecipeResult(
            recipe=name,
            outcomes=tuple(outcomes.found[name][example.index] for example in examples),
            seconds=outcomes.seconds[name],
            resources=self.resources,
            not_comparable=self.not_comparable,
            description=repr(self.attacker.attack),
        )


def prepare(
    recipes: Sequence[Recipe], victim: Victim, sentence_encoder: Any, query_budget: int | None = None
) -> tuple[list[Prepared], dict[str, str]]:
    """Builds the recipes whose resources are there, and says why the others are not.

    Args:
        recipes: The recipes.
        victim: The attacked model.
        sentence_encoder: As in `evaluate_robustness`.
        query_budget: As there.

    Returns:
        What can run, and recipe -> reason for what cannot.

    Raises:
        MissingResourceError: If nothing can run.
    """
    import_textattack()
    prepared: list[Prepared] = []
    errors: dict[str, MissingResourceError | MissingDependencyError] = {}

    @functools.cache
    def encoder() -> TextEncoder | MissingResourceError | MissingDependencyError:
        try:
            return load_sentence_encoder(sentence_encoder, next(victim.model.parameters()).device)
        except (MissingResourceError, MissingDependencyError) as error:
            return error

    @functools.cache
    def vectors() -> Any:
        from .components import load_word_vectors

        return load_word_vectors()

    for recipe in recipes:
        try:
            ensure_resources(recipe.resources)
            loaded = encoder() if recipe.needs_encoder else None
            if isinstance(loaded, Exception):
                raise loaded
            words = vectors() if recipe.needs_vectors else None
            build = functools.partial(recipe.build, RecipeContext(victim, loaded, words))
            attacker = Attacker(recipe, build, victim, [loaded] if loaded is not None else [], query_budget)
            attacker.attack  # noqa: B018  (built here, where a missing resource is told from an error)
        except (MissingResourceError, MissingDependencyError) as error:
            logger.warning("recipe %s cannot run: %s", recipe.name, error)
            errors[recipe.name] = error
            continue
        prepared.append(Prepared(recipe, attacker, loaded, words))
    if not prepared:
        first = next(iter(errors.values()))
        if len(set(map(str, errors.values()))) == 1:
            raise first
        raise MissingResourceError("; ".join(f"{name}: {error}" for name, error in errors.items())) from first
    return prepared, {name: str(error) for name, error in errors.items()}
