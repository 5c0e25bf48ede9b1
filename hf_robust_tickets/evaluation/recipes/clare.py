"""CLARE: replace, insert and merge, each by a masked language model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..components import stopwords
from .registry import RecipeContext, register_recipe

if TYPE_CHECKING:
    from textattack import Attack


def _clare(context: RecipeContext) -> Attack:
    """Li, Zhang, Peng, Chen, Brockett, Sun, Dolan: CLARE, NAACL 2021, arXiv 2009.07502."""
    from textattack import Attack
    from textattack.constraints.pre_transformation import RepeatModification, StopwordModification
    from textattack.search_methods import GreedySearch
    from textattack.transformations import CompositeTransformation

    from ..components.constraints import Similarity
    from ..components.goals import Goal
    from ..components.substitutions import MaskedInsertion, MaskedMerge, MaskedSwap

    lm = context.masked_lm
    transformation = CompositeTransformation(
        [
            # the 50 likeliest words of each action, and the least probability of a candidate (recipe)
            MaskedSwap(lm, method="bae", max_candidates=50, min_confidence=5e-4),
            MaskedInsertion(lm, max_candidates=50, min_confidence=0.0),
            MaskedMerge(lm, max_candidates=50, min_confidence=5e-3),
        ]
    )
    constraints = [
        RepeatModification(),
        StopwordModification(stopwords=stopwords.NLTK_ENGLISH),
        # 0.7 in the authors' code (recipe), in windows of 15 words; shorter texts are not checked
        Similarity(
            context.encoder,
            threshold=0.7,
            metric="cosine",
            compare_against_original=True,
            window_size=15,
            skip_text_shorter_than_window=True,
        ),
    ]
    # the action that lowers the true class's probability most, again and again (paper, section 2.3)
    return Attack(Goal(context.victim), constraints, transformation, GreedySearch())


register_recipe(
    "clare",
    _clare,
    citation="arXiv:2009.07502",
    resources=("pos-tagger",),
    needs_encoder=True,
    masked_lm="distilbert/distilroberta-base",
    departures=(
        "parts of speech for the merges by NLTK's tagger; TextAttack uses flair's",
        "no bound on the number of actions, as in TextAttack",
    ),
)
