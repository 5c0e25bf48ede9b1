"""Particle swarms: PSO over sememes, LEAP over synonyms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..components import stopwords
from .registry import RecipeContext, register_recipe

if TYPE_CHECKING:
    from textattack import Attack


def _pso(context: RecipeContext) -> Attack:
    """Zang, Qi, Yang, Liu, Zhang, Liu, Sun: Attacking as Combinatorial Optimization, ACL 2020, arXiv 1910.12196."""
    from textattack import Attack
    from textattack.constraints.pre_transformation import (
        InputColumnModification,
        RepeatModification,
        StopwordModification,
    )
    from textattack.search_methods import ParticleSwarmOptimization

    from ..._compat import textattack_cache
    from ..components.goals import Goal
    from ..components.swaps import HowNetSwap
    from ..resources import HOWNET_FILE

    constraints = [
        RepeatModification(),
        StopwordModification(stopwords=stopwords.NLTK_ENGLISH),
        # of an NLI pair only the hypothesis is changed (paper, section 4)
        InputColumnModification(["premise", "hypothesis"], {"premise"}),
    ]
    transformation = HowNetSwap(textattack_cache() / HOWNET_FILE)
    # 60 particles, 20 iterations (paper, section 4.3)
    search = ParticleSwarmOptimization(pop_size=60, max_iters=20)
    return Attack(Goal(context.victim), constraints, transformation, search)


def _leap(context: RecipeContext) -> Attack:
    """Xiao, Li, Liu, Wang, et al.: LEAP, ASE 2023, arXiv 2308.11284."""
    from textattack import Attack
    from textattack.constraints.pre_transformation import MaxModificationRate, StopwordModification
    from textattack.search_methods import ParticleSwarmOptimizationLEAP

    from ..components.goals import Goal
    from ..components.swaps import WordNetSwap

    constraints = [
        # at most 16 % of the words: the recipe's value, which is the one for AG News
        MaxModificationRate(max_rate=0.16),
        StopwordModification(stopwords=stopwords.NLTK_ENGLISH),
    ]
    # 60 particles, 20 iterations, 20 tries to turn within the constraints (recipe)
    search = ParticleSwarmOptimizationLEAP(pop_size=60, max_iters=20, post_turn_check=True, max_turn_retries=20)
    return Attack(Goal(context.victim), constraints, WordNetSwap(), search)


register_recipe(
    "pso",
    _pso,
    citation="arXiv:1910.12196",
    resources=("hownet", "pos-tagger"),
    departures=("parts of speech by NLTK's tagger; TextAttack uses flair's",),
)
register_recipe(
    "leap",
    _leap,
    citation="arXiv:2308.11284",
    resources=("wordnet",),
    departures=("at most 16 % of the words on every data set, as in TextAttack; the paper has a bound per data set",),
)
