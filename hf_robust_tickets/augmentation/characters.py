"""Misspellings of one character."""

from __future__ import annotations

import random

from ..evaluation.datasets.noise_tables import KEYBOARD
from .base import WordSource

SHORTEST = 4
"""Letters of the shortest word that is misspelt, as in Pruthi et al.: people read over an edit of a longer word."""

_NEAR = {key: "".join(filter(str.isalpha, near)) for key, near in KEYBOARD.items()}


class CharacterEdits(WordSource):
    """Swaps two neighbouring letters, leaves one out, inserts one or replaces one by a neighbouring key.

    The four edits are those of Pruthi, Dhingra and Lipton, *Combating Adversarial Misspellings with Robust Word
    Recognition*, ACL 2019, section 3 (swap, drop, keyboard, add); the added letter here is that of a neighbouring key
    too, and first and last letters are edited as well, which DeepWordBug does and theirs does not.
    """

    resources = ("character-edits", "qwerty")

    def replacement(self, word: str, rng: random.Random) -> str | None:
        """As in `WordSource`; None for words of less than four letters."""
        if len(word) < SHORTEST:
            return None
        swaps = [i for i in range(len(word) - 1) if word[i] != word[i + 1]]
        keys = [i for i, letter in enumerate(word) if letter.lower() in _NEAR]
        kind = rng.choice(("delete", *(["swap"] if swaps else []), *(["insert", "substitute"] if keys else [])))
        if kind == "delete":
            i = rng.randrange(len(word))
            return word[:i] + word[i + 1 :]
        if kind == "swap":
            i = rng.choice(swaps)
            return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
        i = rng.choice(keys)
        key = rng.choice(_NEAR[word[i].lower()])
        key = key.upper() if word[i].isupper() else key
        return word[: i + (kind == "insert")] + key + word[i + 1 :]
