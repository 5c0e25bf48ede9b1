"""Words by WordNet, by look-alike characters, and by HowNet's sememes.

This module imports TextAttack: import it inside functions only.
"""

# ruff: noqa: E402  (TextAttack has to be imported by its shim before anything is imported from it)

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..._compat import import_textattack
from ..._files import read_plain_pickle
from .constraints import universal_tags

import_textattack()

from textattack.shared.utils import is_one_word
from textattack.transformations import WordSwapHomoglyphSwap, WordSwapHowNet, WordSwapWordNet


class WordNetSwap(WordSwapWordNet):
    """Swaps by WordNet's synonyms, without the download that TextAttack tries at every construction."""

    def __init__(self) -> None:
        self.language = "eng"


class HomoglyphSwap(WordSwapHomoglyphSwap):
    """Swaps by look-alike characters.

    The wheel of TextAttack 0.3.11 lacks `shared/intentional_homoglyphs.txt`. TextBugger does not need it: its swaps
    come from the table `homos`, which is filled before that file is opened. Remove when: the wheel carries the file.
    """

    def __init__(self) -> None:
        try:
            super().__init__()
        except FileNotFoundError:
            self.homos_intentional: dict[str, list[str]] = {}


class HowNetSwap(WordSwapHowNet):
    """Swaps by candidates of equal sememes, with parts of speech by NLTK's tagger instead of flair's."""

    def __init__(self, path: Path) -> None:
        self.max_candidates = -1
        self.pos_dict = {"ADJ": "adj", "NOUN": "noun", "ADV": "adv", "VERB": "verb"}
        self.candidates_bank = read_plain_pickle(path, "HowNet's candidates")

    def _get_transformations(self, current_text: Any, indices_to_modify: Any) -> list[Any]:
        tags = universal_tags(current_text.words)
        found = []
        for i in indices_to_modify:
            word = current_text.words[i]
            for candidate in self._get_replacement_words(word, tags[i]):
                if candidate != word and is_one_word(candidate):
                    found.append(current_text.replace_word_at_index(i, candidate))
        return found
