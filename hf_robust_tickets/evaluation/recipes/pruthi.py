"""Pruthi: a misspelling or two, tried everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..components import stopwords
from .registry import RecipeContext, register_recipe

if TYPE_CHECKING:
    from textattack import Attack


def _pruthi(context: RecipeContext) -> Attack:
    """Pruthi, Dhingra, Lipton: Combating Adversarial Misspellings, ACL 2019, arXiv 1905.11268."""
    from textattack import Attack, transformations
    from textattack.constraints.overlap import MaxWordsPerturbed
    from textattack.constraints.pre_transformation import MinWordLength, RepeatModification, StopwordModification
    from textattack.search_methods import GreedySearch

    from ..components.goals import Goal

    # first and last letters stay, every other place is tried (paper, section 3)
    inner = {"random_one": False, "skip_first_char": True, "skip_last_char": True}
    transformation = transformations.CompositeTransformation(
        [
            # the paper's four edits: swap neighbours, drop, add, hit a neighbouring key
            transformations.WordSwapNeighboringCharacterSwap(**inner),
            transformations.WordSwapRandomCharacterDeletion(**inner),
            transformations.WordSwapRandomCharacterInsertion(**inner),
            transformations.WordSwapQWERTY(**inner),
        ]
    )
    constraints = [
        # words of 4 letters and more (paper, section 3)
        MinWordLength(min_length=4),
        StopwordModification(stopwords=stopwords.NLTK_ENGLISH),
        # one misspelt word; the paper reports 1 and 2
        MaxWordsPerturbed(max_num_words=1),
        RepeatModification(),
    ]
    return Attack(Goal(context.victim), constraints, transformation, GreedySearch())


register_recipe(
    "pruthi",
    _pruthi,
    citation="arXiv:1905.11268",
    departures=("one misspelt word, the recipe's default; the paper also reports two",),
)
