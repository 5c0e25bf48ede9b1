"""Where the words come from that a word is replaced by."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence


class WordSource(ABC):
    """Replaces one word by another.

    Attributes:
        resources: What it takes words or characters from, by the names that evaluation has for what attacks use: an
            attack that uses the same is no unseen one.
    """

    resources: tuple[str, ...]

    @abstractmethod
    def replacement(self, word: str, rng: random.Random) -> str | None:
        """Another word.

        Args:
            word: Letters only, in the case in which it was written.
            rng: Where chance comes from.

        Returns:
            The word that takes its place, never the same; None where the source knows none.
        """


class ListedWords(WordSource):
    """A source that has a list for each word it knows, all of them equally likely.

    Args:
        words: Word, in small letters -> the words that it may be replaced by.
        resources: As in `WordSource`.
    """

    def __init__(self, words: Mapping[str, Sequence[str]], resources: tuple[str, ...]) -> None:
        self._words = words
        self.resources = resources

    def __len__(self) -> int:
        return len(self._words)

    def candidates(self, word: str) -> tuple[str, ...]:
        """What a word, in small letters, may be replaced by; empty if it is not known."""
        return tuple(self._words.get(word, ()))

    def replacement(self, word: str, rng: random.Random) -> str | None:
        """As in `WordSource`, in the case of the word."""
        found = self.candidates(word.lower())
        return with_case_of(word, rng.choice(found)) if found else None


def with_case_of(word: str, other: str) -> str:
    """`other` in capitals, or with a capital, or as it is, as `word` has it."""
    if len(word) > 1 and word.isupper():
        return other.upper()
    return other[:1].upper() + other[1:] if word[:1].isupper() else other
