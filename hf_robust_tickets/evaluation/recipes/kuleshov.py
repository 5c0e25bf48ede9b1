"""Kuleshov: nearest neighbours that a language model and a mean of word vectors accept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..components import stopwords
from .registry import RecipeContext, register_recipe

if TYPE_CHECKING:
    from textattack import Attack


def _kuleshov(context: RecipeContext) -> Attack:
    """Kuleshov, Thakoor, Lau, Ermon: Adversarial Examples for Natural Language Classification Problems, 2018."""
    from textattack import Attack
    from textattack.constraints.grammaticality.language_models import GPT2
    from textattack.constraints.overlap import MaxWordsPerturbed
    from textattack.constraints.pre_transformation import RepeatModification, StopwordModification
    from textattack.constraints.semantics.sentence_encoders import ThoughtVector
    from textattack.search_methods import GreedySearch
    from textattack.transformations import WordSwapEmbedding

    from ..components.goals import Goal
    from ..resources import handed_over_model

    constraints = [
        RepeatModification(),
        StopwordModification(stopwords=stopwords.NLTK_ENGLISH),
        # delta = 0.5: at most half of the words (paper, section 4)
        MaxWordsPerturbed(max_percent=0.5),
        # lambda_1 = 0.2 (paper, equation 4)
        ThoughtVector(embedding=context.vectors, threshold=0.2, metric="max_euclidean"),
        # lambda_2 = 2 nats, the paper's value for sentiment (equation 5)
        GPT2(model_name=handed_over_model(LANGUAGE_MODEL) or LANGUAGE_MODEL, max_log_prob_diff=2.0),
    ]
    # N = 15 neighbours (paper, section 4)
    transformation = WordSwapEmbedding(max_candidates=15, embedding=context.vectors)
    return Attack(Goal(context.victim), constraints, transformation, GreedySearch())


LANGUAGE_MODEL = "openai-community/gpt2"

register_recipe(
    "kuleshov",
    _kuleshov,
    citation="OpenReview r1QZ3zbAZ",
    resources=("counter-fitted-vectors", "gpt2"),
    departures=(
        "the goal is a wrong prediction; the paper and TextAttack stop when the true class falls below 0.7, which is "
        "no wrong prediction yet",
        "GPT-2 as in TextAttack; the paper has a trigram model",
    ),
)
