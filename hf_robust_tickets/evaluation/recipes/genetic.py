"""Genetic searches over nearest neighbours: Alzantot's, its faster form, and the improved one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..components import stopwords
from .registry import RecipeContext, register_recipe

if TYPE_CHECKING:
    from textattack import Attack


def _iga(context: RecipeContext) -> Attack:
    """Wang, Jin, He: Natural Language Adversarial Attacks and Defenses in Word Level, 2019, arXiv 1909.06723."""
    from textattack import Attack
    from textattack.constraints.overlap import MaxWordsPerturbed
    from textattack.constraints.pre_transformation import StopwordModification
    from textattack.constraints.semantics import WordEmbeddingDistance
    from textattack.search_methods import ImprovedGeneticAlgorithm
    from textattack.transformations import WordSwapEmbedding

    from ..components.goals import Goal

    constraints = [
        StopwordModification(stopwords=stopwords.NLTK_ENGLISH),
        # at most 20 % of the words (recipe)
        MaxWordsPerturbed(max_percent=0.2),
        # delta = 0.5 (paper, section 4; recipe)
        WordEmbeddingDistance(embedding=context.vectors, max_mse_dist=0.5, compare_against_original=False),
    ]
    # the paper has no bound on the neighbours, the vectors hold 50
    transformation = WordSwapEmbedding(max_candidates=50, embedding=context.vectors)
    # S = 60, M = 20, lambda = 5 (paper, section 4; recipe)
    search = ImprovedGeneticAlgorithm(
        pop_size=60, max_iters=20, max_replace_times_per_index=5, post_crossover_check=False
    )
    return Attack(Goal(context.victim), constraints, transformation, search)


def _genetic(context: RecipeContext) -> Attack:
    """Alzantot, Sharma, Elgohary, Ho, Srivastava, Chang: Natural Language Adversarial Examples, EMNLP 2018."""
    from textattack import Attack
    from textattack.constraints.grammaticality.language_models import Google1BillionWordsLanguageModel
    from textattack.constraints.overlap import MaxWordsPerturbed
    from textattack.constraints.pre_transformation import (
        InputColumnModification,
        RepeatModification,
        StopwordModification,
    )
    from textattack.constraints.semantics import WordEmbeddingDistance
    from textattack.search_methods import AlzantotGeneticAlgorithm
    from textattack.transformations import WordSwapEmbedding

    from ..components.goals import Goal

    constraints = [
        RepeatModification(),
        StopwordModification(stopwords=stopwords.NLTK_ENGLISH),
        # of an NLI pair only the hypothesis is changed (paper, section 4)
        InputColumnModification(["premise", "hypothesis"], {"premise"}),
        # at most 20 % of the words (paper, section 4)
        MaxWordsPerturbed(max_percent=0.2),
        # delta = 0.5 (paper, section 4)
        WordEmbeddingDistance(embedding=context.vectors, max_mse_dist=0.5, compare_against_original=False),
        # K = 4 of them by the language model (paper, section 4)
        Google1BillionWordsLanguageModel(top_n_per_index=4, compare_against_original=False),
    ]
    # N = 8 neighbours, S = 60, 20 generations (paper, section 4)
    transformation = WordSwapEmbedding(max_candidates=8, embedding=context.vectors)
    search = AlzantotGeneticAlgorithm(pop_size=60, max_iters=20, post_crossover_check=False)
    return Attack(Goal(context.victim), constraints, transformation, search)


def _faster_genetic(context: RecipeContext) -> Attack:
    """Jia, Raghunathan, Göksel, Liang: Certified Robustness to Word Substitutions, EMNLP 2019, arXiv 1909.00986."""
    from textattack import Attack
    from textattack.constraints.grammaticality.language_models import LearningToWriteLanguageModel
    from textattack.constraints.overlap import MaxWordsPerturbed
    from textattack.constraints.pre_transformation import RepeatModification, StopwordModification
    from textattack.constraints.semantics import WordEmbeddingDistance
    from textattack.search_methods import AlzantotGeneticAlgorithm
    from textattack.transformations import WordSwapEmbedding

    from ..components.goals import Goal

    constraints = [
        RepeatModification(),
        StopwordModification(stopwords=stopwords.NLTK_ENGLISH),
        # as Alzantot et al., against the original text (paper, section 5 and appendix A.3)
        MaxWordsPerturbed(max_percent=0.2),
        WordEmbeddingDistance(embedding=context.vectors, max_mse_dist=0.5),
        # W = 6, delta = 5 (paper, appendix A.3)
        LearningToWriteLanguageModel(window_size=6, max_log_prob_diff=5.0, compare_against_original=True),
    ]
    transformation = WordSwapEmbedding(max_candidates=8, embedding=context.vectors)
    # S = 60, 40 generations (paper, section 5.1; recipe)
    search = AlzantotGeneticAlgorithm(pop_size=60, max_iters=40, post_crossover_check=False)
    return Attack(Goal(context.victim), constraints, transformation, search)


register_recipe(
    "iga",
    _iga,
    citation="arXiv:1909.06723",
    resources=("counter-fitted-vectors",),
    departures=("at most 20 % of the words, and stop words stay, as in TextAttack",),
)
register_recipe(
    "genetic",
    _genetic,
    citation="arXiv:1804.07998",
    resources=("counter-fitted-vectors", "google-lm"),
    departures=("the distance of words is the squared Euclidean one, as in TextAttack",),
)
register_recipe(
    "faster-genetic",
    _faster_genetic,
    citation="arXiv:1909.00986",
    resources=("counter-fitted-vectors", "l2w-lm"),
    departures=("the distance of words is the squared Euclidean one, as in TextAttack",),
)
