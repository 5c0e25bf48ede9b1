"""CheckList: contractions, names, numbers and places, which should change no prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .registry import RecipeContext, register_recipe

if TYPE_CHECKING:
    from textattack import Attack


def _checklist(context: RecipeContext) -> Attack:
    """Ribeiro, Wu, Guestrin, Singh: Beyond Accuracy, ACL 2020, arXiv 2005.04118; its invariance tests."""
    from textattack import Attack, transformations
    from textattack.constraints.pre_transformation import RepeatModification
    from textattack.search_methods import GreedySearch

    from ..components.goals import Goal

    # three replacements of each name, number and place, where the tagger is surer than 0.7 (recipe)
    transformation = transformations.CompositeTransformation(
        [
            transformations.WordSwapExtend(),
            transformations.WordSwapContract(),
            transformations.WordSwapChangeName(num_name_replacements=3, confidence_score=0.7),
            transformations.WordSwapChangeNumber(max_change=1, n=3),
            transformations.WordSwapChangeLocation(n=3, confidence_score=0.7),
        ]
    )
    # without it "is not" and "isn't" would take turns for ever
    return Attack(Goal(context.victim), [RepeatModification()], transformation, GreedySearch())


register_recipe(
    "checklist",
    _checklist,
    citation="arXiv:2005.04118",
    resources=("flair",),
    departures=("a search for a wrong prediction, as in TextAttack; the paper counts failures of single tests",),
)
