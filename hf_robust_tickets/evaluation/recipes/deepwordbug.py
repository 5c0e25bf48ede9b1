"""DeepWordBug: edits of characters, in the order of the words' importance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..components import stopwords
from .registry import RecipeContext, register_recipe

if TYPE_CHECKING:
    from textattack import Attack


def _deepwordbug(context: RecipeContext) -> Attack:
    """Gao, Lanchantin, Soffa, Qi: DeepWordBug, 2018, arXiv 1801.04354."""
    from textattack import Attack, transformations
    from textattack.constraints.overlap import LevenshteinEditDistance
    from textattack.constraints.pre_transformation import RepeatModification, StopwordModification
    from textattack.search_methods import GreedyWordSwapWIR

    from ..components.goals import Goal

    transformation = transformations.CompositeTransformation(
        [
            # the paper's four edits, one random place each
            transformations.WordSwapNeighboringCharacterSwap(),
            transformations.WordSwapRandomCharacterSubstitution(),
            transformations.WordSwapRandomCharacterDeletion(),
            transformations.WordSwapRandomCharacterInsertion(),
        ]
    )
    constraints = [
        RepeatModification(),
        StopwordModification(stopwords=stopwords.NLTK_ENGLISH),
        # the paper's bound on the edits per text
        LevenshteinEditDistance(30),
    ]
    return Attack(Goal(context.victim), constraints, transformation, GreedyWordSwapWIR(wir_method="unk"))


register_recipe(
    "deepwordbug",
    _deepwordbug,
    citation="arXiv:1801.04354",
    departures=("importance by replacing a word with [UNK], as in TextAttack; the paper combines two scores",),
)
