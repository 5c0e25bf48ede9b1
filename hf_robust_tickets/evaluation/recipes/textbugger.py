"""TextBugger: five small changes of a word, visible or semantic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..components import stopwords
from .registry import RecipeContext, register_recipe

if TYPE_CHECKING:
    from textattack import Attack


def _textbugger(context: RecipeContext) -> Attack:
    """Li, Ji, Du, Li, Wang: TextBugger, NDSS 2019, arXiv 1812.05271."""
    from textattack import Attack, transformations
    from textattack.constraints.pre_transformation import RepeatModification, StopwordModification
    from textattack.search_methods import GreedyWordSwapWIR

    from ..components.constraints import Similarity
    from ..components.goals import Goal
    from ..components.swaps import HomoglyphSwap

    inner = {"random_one": True, "skip_first_char": True, "skip_last_char": True}
    transformation = transformations.CompositeTransformation(
        [
            # the paper's five bugs: insert a space, delete, swap neighbours, look-alike, one of 5 nearest neighbours
            transformations.WordSwapRandomCharacterInsertion(letters_to_insert=" ", **inner),
            transformations.WordSwapRandomCharacterDeletion(**inner),
            transformations.WordSwapNeighboringCharacterSwap(**inner),
            HomoglyphSwap(),
            transformations.WordSwapEmbedding(max_candidates=5, embedding=context.vectors),
        ]
    )
    constraints = [
        RepeatModification(),
        StopwordModification(stopwords=stopwords.NLTK_ENGLISH),
        # 0.8 is the paper's; TextAttack's default metric for this encoder is angular, the paper's is the cosine
        Similarity(context.encoder, threshold=0.8, metric="angular"),
    ]
    return Attack(Goal(context.victim), constraints, transformation, GreedyWordSwapWIR(wir_method="delete"))


register_recipe(
    "textbugger",
    _textbugger,
    citation="arXiv:1812.05271",
    resources=("counter-fitted-vectors",),
    needs_encoder=True,
    departures=("angular similarity and counter-fitted vectors, as in TextAttack; the paper: cosine and GloVe",),
)
