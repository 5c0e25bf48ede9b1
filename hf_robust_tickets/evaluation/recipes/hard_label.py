"""An attack that sees the predicted class alone: what a model's confidence hides, it cannot miss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..components import stopwords
from .registry import RecipeContext, register_recipe
from .textfooler import swap_constraints

if TYPE_CHECKING:
    from textattack import Attack


def _hard_label(context: RecipeContext) -> Attack:
    """Maheshwary, Maheshwary, Pudi: Generating Natural Language Attacks in a Hard Label Black Box Setting, AAAI 2021,
    arXiv 2012.14956.
    """
    from textattack import Attack
    from textattack.constraints.pre_transformation import RepeatModification, StopwordModification
    from textattack.transformations import WordSwapEmbedding

    from ..components.goals import LabelGoal
    from ..components.hard_label import HardLabelSearch

    constraints = [
        RepeatModification(),
        StopwordModification(stopwords=stopwords.TEXTFOOLER),
        # as in TextFooler's code, the similarity that of each single swap
        *swap_constraints(context),
    ]
    # 50 nearest neighbours (authors' code)
    transformation = WordSwapEmbedding(max_candidates=50, embedding=context.vectors)
    return Attack(LabelGoal(context.victim), constraints, transformation, HardLabelSearch(context.encoder))


register_recipe(
    "hard-label",
    _hard_label,
    citation="arXiv:2012.14956",
    resources=("counter-fitted-vectors", "pos-tagger"),
    needs_encoder=True,
    label_only=True,
    departures=(
        "words that TextFooler would take (neighbours of cosine 0.5 and more, its stop words, its similarity of "
        "single swaps), so that both attack among the same ones",
        "cosines of whole texts; the authors' code takes windows around the changed word",
        "random starts are asked about ten at a time",
        "of a generation the best text is the one that changes fewest words, then the one most alike; children that "
        "are neither as near nor as alike are not asked about",
        "a query budget is obligatory; the paper has none",
    ),
)
