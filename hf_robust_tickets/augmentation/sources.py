"""Sources by their names, as options give them."""

from __future__ import annotations

from .base import WordSource
from .characters import CharacterEdits
from .neighbours import NeighbourList
from .wordnet import WordNetSynonyms


def build_source(name: str) -> WordSource:
    """A source by its name.

    Args:
        name: `"wordnet"`, `"characters"`, or the path of a list of neighbours (.json or .parquet).

    Raises:
        DataError: If it is neither, or the file is no list of neighbours.
        MissingDependencyError: If NLTK, which finds WordNet, is not installed.
        MissingResourceError: If WordNet is not there.
    """
    if name == "wordnet":
        return WordNetSynonyms.load()
    return CharacterEdits() if name == "characters" else NeighbourList.from_file(name)
