"""What recipes are built from, loaded once for all of them, and how reports name it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Protocol

from ...errors import ConfigurationError, MissingDependencyError, MissingResourceError
from ..components.encoders import TextEncoder, load_sentence_encoder
from ..components.masked_lm import MaskedLM, load_masked_lm
from ..resources import VECTORS_SHAPE
from ..victim.model import Victim
from .registry import Recipe, RecipeContext

if TYPE_CHECKING:
    from textattack import Attack


class PartsLoader:
    """Loads encoders, vectors and masked language models when the first recipe asks for them.

    Args:
        victim: The attacked model.
        sentence_encoder: As in `evaluate_robustness`.
        masked_language_model: As in `evaluate_robustness`.
        word_vectors: As in `evaluate_robustness`.
    """

    def __init__(
        self, victim: Victim, sentence_encoder: Any, masked_language_model: Any, word_vectors: Any = None
    ) -> None:
        self.victim = victim
        self._word_vectors = word_vectors
        self._device = next(victim.model.parameters()).device
        # what failed once is not waited for again
        self._encoder = functools.cache(
            lambda paper: _or_error(load_sentence_encoder, sentence_encoder, self._device, paper)
        )
        self._masked_lm = functools.cache(
            lambda paper: _or_error(load_masked_lm, masked_language_model, paper, self._device)
        )

    @functools.cached_property
    def _vectors(self) -> Any:
        from ..components.word_vectors import load_word_vectors

        return load_word_vectors(self._word_vectors)

    def looked_for(self, recipe: Recipe) -> tuple[str, ...]:
        """Names of the resources that have to lie in the usual places."""
        handed_over = () if self._word_vectors is None else ("counter-fitted-vectors",)
        return tuple(name for name in recipe.resources if name not in handed_over)

    def context(self, recipe: Recipe) -> RecipeContext:
        """What a recipe is built from.

        Raises:
            MissingResourceError: If something is not there.
        """
        return RecipeContext(
            self.victim,
            encoder=_raised(self._encoder(recipe.encoder)) if recipe.needs_encoder else None,
            vectors=self._vectors if recipe.needs_vectors else None,
            masked_lm=_raised(self._masked_lm(recipe.masked_lm)) if recipe.masked_lm else None,
        )

    def build(self, recipe: Recipe, context: RecipeContext) -> Attack:
        """Builds the attack.

        Raises:
            ConfigurationError: If the recipe gives something else.
        """
        from textattack import Attack

        attack = recipe.build(context)
        if not isinstance(attack, Attack):
            raise ConfigurationError(
                f"expected a textattack.Attack from the recipe {recipe.name!r}, got {type(attack).__name__}"
            )
        return attack


class Built(Protocol):
    """A recipe with what it was built from."""

    recipe: Recipe
    encoder: TextEncoder | None
    vectors: Any
    masked_lm: MaskedLM | None


def describe_parts(built: Built) -> dict[str, Any]:
    """What a recipe used, for the report."""
    found: dict[str, Any] = {}
    if built.encoder is not None:
        found["sentence_encoder"] = built.encoder.name
    if built.vectors is not None:
        words, dimensions = built.vectors.embedding_matrix.shape
        found["word_vectors"] = f"{words} words x {dimensions}"
        found["word_vectors_sha256"] = built.vectors.sha256
    if built.masked_lm is not None:
        found["masked_language_model"] = built.masked_lm.name
    if built.recipe.source:
        found["recipe_source"] = dict(built.recipe.source)
    return found


def stand_ins(built: Built) -> tuple[str, ...]:
    """Why a recipe's figures cannot be compared with published ones; empty if they can."""
    reasons = []
    recipe = built.recipe
    if recipe.source:
        reasons.append(f"the recipe is {recipe.source['file']} (sha256 {recipe.source['sha256'][:12]}...)")
    if built.encoder is not None and not built.encoder.published:
        paper = "Universal Sentence Encoder" if recipe.encoder == "use" else recipe.encoder
        reasons.append(f"the sentence encoder {built.encoder.name} stands in for the {paper}")
    if built.masked_lm is not None and not built.masked_lm.published:
        reasons.append(f"the masked language model {built.masked_lm.name} stands in for {recipe.masked_lm}")
    if built.vectors is not None and not built.vectors.published:
        words, dimensions = VECTORS_SHAPE
        reasons.append(
            f"word vectors of {describe_parts(built)['word_vectors']} stand in for the published counter-fitted ones "
            f"of {words} words x {dimensions}"
        )
    return tuple(reasons)


def _or_error(load: Any, *arguments: Any) -> Any:
    try:
        return load(*arguments)
    except (MissingResourceError, MissingDependencyError) as error:
        return error


def _raised(loaded: Any) -> Any:
    if isinstance(loaded, Exception):
        raise loaded
    return loaded
