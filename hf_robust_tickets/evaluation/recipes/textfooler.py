"""TextFooler: nearest neighbours of words, in the order of the words' importance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..components import stopwords
from .registry import RecipeContext, register_recipe

if TYPE_CHECKING:
    from textattack import Attack


def swap_constraints(context: RecipeContext) -> list[Any]:
    """What a word may be swapped for: the constraints on single swaps, which `hard-label` takes over."""
    from textattack.constraints.semantics import WordEmbeddingDistance

    from ..components.constraints import SameTag, Similarity

    return [
        # the paper says 0.7, its code uses 0.5
        WordEmbeddingDistance(embedding=context.vectors, min_cos_sim=0.5),
        # the code lets nouns and verbs replace each other
        SameTag(allow_verb_noun_swap=True),
        # the code compares windows of 15 words around the change with the previous step's text, does not check texts
        # shorter than the window, and forgets to divide the angle by pi: its threshold of 0.5 is 1 - 0.5 / pi
        Similarity(
            context.encoder,
            threshold=0.840845057,
            metric="angular",
            compare_against_original=False,
            window_size=15,
            skip_text_shorter_than_window=True,
        ),
    ]


def _textfooler(context: RecipeContext) -> Attack:
    """Jin, Jin, Zhou, Szolovits: Is BERT Really Robust? AAAI 2020, arXiv 1907.11932."""
    from textattack import Attack
    from textattack.constraints.pre_transformation import (
        InputColumnModification,
        RepeatModification,
        StopwordModification,
    )
    from textattack.search_methods import GreedyWordSwapWIR
    from textattack.transformations import WordSwapEmbedding

    from ..components.goals import Goal

    constraints = [
        RepeatModification(),
        StopwordModification(stopwords=stopwords.TEXTFOOLER),
        # of an NLI pair only the hypothesis is changed (paper, section 3)
        InputColumnModification(["premise", "hypothesis"], {"premise"}),
        *swap_constraints(context),
    ]
    # 50 nearest neighbours (paper, section 3); importance by deletion
    transformation = WordSwapEmbedding(max_candidates=50, embedding=context.vectors)
    return Attack(Goal(context.victim), constraints, transformation, GreedyWordSwapWIR(wir_method="delete"))


register_recipe(
    "textfooler",
    _textfooler,
    citation="arXiv:1907.11932",
    resources=("counter-fitted-vectors", "pos-tagger"),
    needs_encoder=True,
    departures=("word similarity 0.5 as in the authors' code; the paper says 0.7",),
)
