"""Attack recipes, pinned: every constant stands here with its source; an upgrade of TextAttack changes none.

One file per family. "Recipe" in a comment means TextAttack 0.3.11's file of that attack.
"""

from __future__ import annotations

from . import (  # noqa: F401  (each registers its recipes)
    a2t,
    bad_characters,
    checklist,
    clare,
    deepwordbug,
    genetic,
    hard_label,
    input_reduction,
    kuleshov,
    masked_words,
    pruthi,
    pwws,
    swarm,
    textbugger,
    textfooler,
)
from .pairs import columns_to_change, limit_columns
from .registry import Recipe, RecipeContext, check_resources, get_recipe, list_recipes, needs, register_recipe

__all__ = [
    "Recipe",
    "RecipeContext",
    "check_resources",
    "columns_to_change",
    "get_recipe",
    "limit_columns",
    "list_recipes",
    "needs",
    "register_recipe",
]
