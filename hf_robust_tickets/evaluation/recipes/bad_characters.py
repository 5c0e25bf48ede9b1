"""Bad characters: four ways to change a text that nobody sees."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from .registry import RecipeContext, register_recipe

if TYPE_CHECKING:
    from textattack import Attack

PAIR_RULE = {("premise", "hypothesis"): ("premise",)}
"""The authors change the premise and leave the hypothesis (their code, `MnliObjective`)."""


def _bad_characters(context: RecipeContext, kind: str) -> Attack:
    """Boucher, Shumailov, Anderson, Papernot: Bad Characters, IEEE S&P 2022, arXiv 2106.09898."""
    from textattack import Attack

    from ..components.characters import Evolution
    from ..components.goals import Goal

    # a population of 32, 10 generations, one change (recipe; the paper's budgets go from 1 to 5 changes)
    search = Evolution(popsize=32, maxiter=10, verbose=False, max_perturbs=1)
    return Attack(Goal(context.victim), [], _transformation(kind), search)


def _transformation(kind: str) -> Any:
    from ..._compat import textattack_cache
    from ..components.characters import Homoglyphs, InvisibleCharacters, InvisibleDeletions, Reorderings
    from ..resources import HOMOGLYPHS_FILE

    if kind == "homoglyphs":
        return Homoglyphs(textattack_cache() / HOMOGLYPHS_FILE)
    return {"invisible": InvisibleCharacters, "deletions": InvisibleDeletions, "reorderings": Reorderings}[kind]()


DEPARTURES = (
    "the goal is any wrong class, for all examples that are right; TextAttack's recipe asks for a target class",
    "one change and 10 generations, as in TextAttack's recipe; the paper: up to 5 changes, 3 generations on MNLI",
    "of a pair one text is changed: the last that may be",
)

for _kind in ("deletions", "homoglyphs", "invisible", "reorderings"):
    register_recipe(
        f"bad-characters-{_kind}",
        functools.partial(_bad_characters, kind=_kind),
        citation="arXiv:2106.09898",
        resources=("homoglyphs",) if _kind == "homoglyphs" else (),
        departures=DEPARTURES,
        pair_rule=PAIR_RULE,
    )
