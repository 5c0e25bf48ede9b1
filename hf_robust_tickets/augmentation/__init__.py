"""What else a training text could say: words replaced and misspelt while it is read, in the ids of its tokens."""

from __future__ import annotations

from .base import WordSource
from .characters import CharacterEdits
from .dirichlet import DirichletNeighbourhoods, Mixture
from .neighbours import NeighbourList
from .sources import build_source
from .substitution import Edit, WordSubstitution, row_seed
from .wordnet import WordNetSynonyms
from .words import TokenizedWords, Word

__all__ = [
    "CharacterEdits",
    "DirichletNeighbourhoods",
    "Edit",
    "Mixture",
    "NeighbourList",
    "TokenizedWords",
    "Word",
    "WordNetSynonyms",
    "WordSource",
    "WordSubstitution",
    "build_source",
    "row_seed",
]
