"""A2T: an attack cheap enough for adversarial training, with importance by gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..components import stopwords
from .registry import RecipeContext, register_recipe

if TYPE_CHECKING:
    from textattack import Attack


ENCODER = "sentence-transformers/stsb-distilbert-base"
"""The sentence encoder of the paper (section 3.2) and the recipe."""


def _a2t(context: RecipeContext) -> Attack:
    """Yoo, Qi: Towards Improving Adversarial Training of NLP Models, Findings of EMNLP 2021, arXiv 2109.00544."""
    from textattack.constraints.semantics import WordEmbeddingDistance
    from textattack.transformations import WordSwapEmbedding

    # 20 neighbours of cosine 0.8 and more (paper, section 3.2)
    transformation = WordSwapEmbedding(max_candidates=20, embedding=context.vectors)
    return _attack(context, transformation, [WordEmbeddingDistance(embedding=context.vectors, min_cos_sim=0.8)])


def _a2t_mlm(context: RecipeContext) -> Attack:
    """A2T-MLM: the same with 20 words that a masked language model proposes."""
    from ..components.substitutions import MaskedSwap

    # 20 candidates (paper, section 3.2), without a bound on their probability (recipe)
    transformation = MaskedSwap(context.masked_lm, method="bae", max_candidates=20, min_confidence=0.0, batch_size=16)
    return _attack(context, transformation, [])


def _attack(context: RecipeContext, transformation: object, more: list) -> Attack:
    from textattack import Attack
    from textattack.constraints.pre_transformation import (
        InputColumnModification,
        MaxModificationRate,
        RepeatModification,
        StopwordModification,
    )
    from textattack.search_methods import GreedyWordSwapWIR

    from ..components.constraints import SameTag, Similarity
    from ..components.goals import Goal

    constraints = [
        RepeatModification(),
        StopwordModification(stopwords=stopwords.NLTK_ENGLISH),
        # of an NLI pair only the hypothesis is changed (recipe)
        InputColumnModification(["premise", "hypothesis"], {"premise"}),
        # the same part of speech (paper, section 3.2)
        SameTag(allow_verb_noun_swap=False),
        # at most 10 % of the words, but 4 of a short text (paper, section 3.2; recipe)
        MaxModificationRate(max_rate=0.1, min_threshold=4),
        # 0.9 (paper, section 3.2)
        Similarity(context.encoder, threshold=0.9, metric="cosine"),
        *more,
    ]
    # importance by the gradient (paper, section 3.1), of no more words than the model reads tokens and 1024 (recipe)
    search = GreedyWordSwapWIR(wir_method="gradient", truncate_words_to=min(1024, context.victim.max_length))
    return Attack(Goal(context.victim), constraints, transformation, search)


DEPARTURES = ("gradients are taken without dropout; TextAttack's wrapper switches it on",)

register_recipe(
    "a2t",
    _a2t,
    citation="arXiv:2109.00544",
    resources=("counter-fitted-vectors", "pos-tagger"),
    needs_encoder=True,
    encoder=ENCODER,
    departures=DEPARTURES,
)
register_recipe(
    "a2t-mlm",
    _a2t_mlm,
    citation="arXiv:2109.00544",
    resources=("pos-tagger",),
    needs_encoder=True,
    encoder=ENCODER,
    masked_lm="google-bert/bert-base-uncased",
    departures=DEPARTURES,
)
