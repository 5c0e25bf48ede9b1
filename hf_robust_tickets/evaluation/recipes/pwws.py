"""PWWS: synonyms of WordNet, in the order of what they change times the words' saliency."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..components import stopwords
from .registry import RecipeContext, register_recipe

if TYPE_CHECKING:
    from textattack import Attack


def _pwws(context: RecipeContext) -> Attack:
    """Ren, Deng, He, Che: Probability Weighted Word Saliency, ACL 2019, P19-1103."""
    from textattack import Attack
    from textattack.constraints.pre_transformation import RepeatModification, StopwordModification
    from textattack.search_methods import GreedyWordSwapWIR

    from ..components.goals import Goal
    from ..components.swaps import WordNetSwap

    constraints = [RepeatModification(), StopwordModification(stopwords=stopwords.NLTK_ENGLISH)]
    return Attack(Goal(context.victim), constraints, WordNetSwap(), GreedyWordSwapWIR("weighted-saliency"))


register_recipe(
    "pwws",
    _pwws,
    citation="ACL P19-1103",
    resources=("wordnet",),
    departures=("no named-entity swaps: they need the whole data set with its labels",),
)
