"""Input Reduction: how few words keep the prediction. It fools no model, so it yields no accuracy under attack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..components import stopwords
from .registry import RecipeContext, register_recipe

if TYPE_CHECKING:
    from textattack import Attack


def _input_reduction(context: RecipeContext) -> Attack:
    """Feng, Wallace, Grissom, Iyyer, Rodriguez, Boyd-Graber: Pathologies, EMNLP 2018, arXiv 1804.07781."""
    from textattack import Attack
    from textattack.constraints.pre_transformation import RepeatModification, StopwordModification
    from textattack.search_methods import GreedyWordSwapWIR
    from textattack.transformations import WordDeletion

    from ..components.goals import ReductionGoal

    constraints = [RepeatModification(), StopwordModification(stopwords=stopwords.NLTK_ENGLISH)]
    # importance by deletion (paper, section 2.2)
    return Attack(ReductionGoal(context.victim), constraints, WordDeletion(), GreedyWordSwapWIR(wir_method="delete"))


register_recipe(
    "input-reduction",
    _input_reduction,
    citation="arXiv:1804.07781",
    goal="reduce",
    departures=("no beam search, and stop words stay, as in TextAttack",),
)
