"""Whether recipes can run on this machine, and be compared with papers, as far as can be told without loading them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..._compat import INSTALL_TEXTATTACK, textattack_cache
from ..._files import read_array
from ...errors import CheckpointError
from ..components.encoders import is_published_encoder
from ..components.masked_lm import is_published_masked_lm
from ..resources import VECTORS_FILES, VECTORS_FOLDER, VECTORS_SHAPE, ResourceStatus
from ..resources.base import absent_packages
from .parts import stand_ins
from .registry import Recipe, check_resources, get_recipe

TEXTATTACK = ("textattack", "nltk", "lru", "editdistance", "more_itertools", "pandas", "scipy")
"""What every recipe imports."""

_VECTORS = "counter-fitted-vectors"


@dataclass(frozen=True)
class RecipeOutlook:
    """What is to be expected of one recipe.

    Attributes:
        recipe: Its name.
        missing: What it lacks to run; empty if it can.
        not_comparable: Why its figures could not be compared with published ones, whatever the model and the texts;
            empty if nothing here stands in the way.
    """

    recipe: str
    missing: tuple[ResourceStatus, ...]
    not_comparable: tuple[str, ...]

    @property
    def runs(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing


def foresee(
    recipes: Sequence[str],
    sentence_encoder: str = "use",
    masked_language_model: str | None = None,
    word_vectors: str | os.PathLike[str] | None = None,
) -> list[RecipeOutlook]:
    """Says of recipes whether they can run here and be compared; nothing is downloaded, and no model is loaded.

    Args:
        recipes: Names of recipes.
        sentence_encoder: As in `evaluate_robustness`, by name or folder.
        masked_language_model: The same.
        word_vectors: The same.

    Returns:
        One outlook per recipe.

    Raises:
        UnknownNameError: If a recipe is unknown.
    """
    folder = textattack_cache() / VECTORS_FOLDER if word_vectors is None else Path(word_vectors)
    vectors, damage = _look_at_vectors(folder)
    found = []
    for recipe in map(get_recipe, dict.fromkeys(recipes)):
        missing = _absent_packages(recipe, sentence_encoder)
        missing += [
            status
            for status in check_resources([recipe.name], sentence_encoder, masked_language_model)
            if not status.available and not (status.name == _VECTORS and word_vectors is not None)
        ]
        named = {status.name for status in missing}
        if recipe.needs_vectors and damage is not None and _VECTORS not in named:
            missing.append(ResourceStatus(_VECTORS, (recipe.name,), False, damage, "hand over a whole folder"))
        built = _foreseen(recipe, sentence_encoder, masked_language_model, vectors)
        reasons = stand_ins(built)
        if recipe.label_only:
            reasons += ("attacks are given up when the query budget is spent, which has to be given",)
        found.append(RecipeOutlook(recipe.name, tuple(missing), reasons))
    return found


@dataclass(frozen=True)
class _Named:
    """A model that is not loaded."""

    name: str
    published: bool


@dataclass(frozen=True)
class _Foreseen:
    """What `stand_ins` asks about, without the weights."""

    recipe: Recipe
    encoder: Any
    vectors: Any
    masked_lm: Any


def _foreseen(recipe: Recipe, sentence_encoder: str, masked_language_model: str | None, vectors: Any) -> _Foreseen:
    encoder = masked_lm = None
    if recipe.needs_encoder:
        encoder = _Named(sentence_encoder, is_published_encoder(sentence_encoder, recipe.encoder))
    if recipe.masked_lm is not None:
        name = recipe.masked_lm if masked_language_model is None else masked_language_model
        masked_lm = _Named(name, is_published_masked_lm(name, recipe.masked_lm))
    return _Foreseen(recipe, encoder, vectors if recipe.needs_vectors else None, masked_lm)


def _absent_packages(recipe: Recipe, sentence_encoder: str) -> list[ResourceStatus]:
    modules = list(TEXTATTACK)
    if recipe.needs_encoder and (recipe.encoder, sentence_encoder) != ("use", "use"):
        modules.append("sentence_transformers")
    return [
        ResourceStatus("textattack", (recipe.name,), False, f"not found: {said}", INSTALL_TEXTATTACK)
        for said in absent_packages(modules)
    ]


def _look_at_vectors(folder: Path) -> tuple[Any, str | None]:
    """The shape of word vectors, and what is wrong with them; their values are not read."""
    if absent := [name for name in VECTORS_FILES if not (folder / name).is_file()]:
        return None, f"not found: {', '.join(absent)} in {folder}"
    try:
        matrix = read_array(folder / "paragram.npy")
    except CheckpointError as error:
        return None, str(error)
    return SimpleNamespace(embedding_matrix=matrix, sha256="", published=matrix.shape == VECTORS_SHAPE), None
