"""TextAttack's transformations by a masked language model: the same candidates, in fewer and shorter forward calls.

This module imports TextAttack: import it inside functions only.
"""

# ruff: noqa: E402  (TextAttack has to be imported by its shim before anything is imported from it)

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..._compat import import_textattack
from .constraints import universal_tags
from .masked_lm import MaskedLM

import_textattack()

from textattack.shared.utils import check_if_punctuations, check_if_subword, is_one_word, strip_BPE_artifacts
from textattack.transformations import WordInsertionMaskedLM, WordMergeMaskedLM, WordSwapMaskedLM
from textattack.transformations.word_merges.word_merge_masked_lm import find_merge_index


class _Proposed:
    """Words that a masked language model proposes.

    TextAttack asks it about one example at a time and pads each text to 512 tokens; here `MaskedLM` is asked.

    Args:
        masked_lm: The masked language model.
        options: The constants of TextAttack's class.
    """

    def __init__(self, masked_lm: MaskedLM, **options: Any) -> None:
        self._masked_lm, model = masked_lm, masked_lm.model
        device = next(model.parameters()).device
        super().__init__(
            masked_language_model=model,
            tokenizer=masked_lm.tokenizer,
            max_length=masked_lm.most_tokens,
            **options,
        )
        # TextAttack moves it to the accelerator that it finds
        model.to(device)

    def _words_at_masks(self, texts: list[str]) -> list[list[str]]:
        """The words for the mask of each text, likeliest first: those that TextAttack takes."""
        return [[] if found is None else self._likely_words(*found) for found in self._masked_lm.at_masks(texts)]

    def _likely_words(self, position: int, logits: Tensor) -> list[str]:
        kind, words = self._language_model.config.model_type, []
        probabilities, ranked = torch.softmax(logits, dim=0).sort(descending=True)
        for token, probability in zip(ranked.tolist(), probabilities.tolist()):
            if probability < self.min_confidence:
                break
            word = self._lm_tokenizer.convert_ids_to_tokens(token)
            if check_if_subword(word, kind, position == 1):
                word = strip_BPE_artifacts(word, kind)
            if is_one_word(word) and not check_if_punctuations(word):
                words.append(word)
            if len(words) >= self.max_candidates:
                break
        return words


class MaskedSwap(_Proposed, WordSwapMaskedLM):
    """Replaces a word by what the model proposes in the place of a mask."""

    def _bae_replacement_words(self, current_text: Any, indices_to_modify: Iterable[int]) -> list[list[str]]:
        mask = self._lm_tokenizer.mask_token
        return self._words_at_masks([current_text.replace_word_at_index(i, mask).text for i in indices_to_modify])


class ShownSwap(_Proposed, WordSwapMaskedLM):
    """Replaces a word by what the model, which sees it, proposes in its place.

    For a word of several pieces TextAttack goes through all combinations of the pieces' candidates (48 to the number
    of pieces) and then takes the first ones in the order of their ranks: its sort by perplexity has no effect. Here
    only those that are taken are made.
    """

    def _get_transformations(self, current_text: Any, indices_to_modify: Iterable[int]) -> list[Any]:
        proposed = self._masked_lm.likeliest(current_text.text, self.max_candidates).tolist()
        return [
            current_text.replace_word_at_index(index, word)
            for index in indices_to_modify
            for word in (found.strip("Ġ") for found in self._words_at(current_text, index, proposed))
            if word != current_text.words[index]
        ]

    def _words_at(self, current_text: Any, index: int, proposed: list[list[int]]) -> Iterable[str]:
        tokenizer = self._lm_tokenizer
        masked = current_text.replace_word_at_index(index, tokenizer.mask_token).text
        ids = tokenizer(masked, max_length=self.max_length, truncation=True)["input_ids"]
        if tokenizer.mask_token_id not in ids:
            return []  # beyond the truncation
        first = ids.index(tokenizer.mask_token_id)
        pieces = tokenizer.encode(current_text.words[index], add_special_tokens=False)
        rows = [tokenizer.convert_ids_to_tokens(row) for row in proposed[first : first + len(pieces)]]
        if len(pieces) == 1:
            kind = self._language_model.config.model_type
            return [word for word in rows[0] if is_one_word(word) and not check_if_subword(word, kind, index == 0)]
        words = ("".join(row).replace("##", "") for row in itertools.product(*rows))
        return itertools.islice(filter(is_one_word, words), self.max_candidates)


class MaskedInsertion(_Proposed, WordInsertionMaskedLM):
    """Inserts a word that the model proposes."""

    def _get_new_words(self, current_text: Any, indices_to_modify: Iterable[int]) -> list[list[str]]:
        mask = self._lm_tokenizer.mask_token
        masked = [(i, current_text.insert_text_before_word_index(i, mask)) for i in indices_to_modify]
        return self._words_at_masks([text.text_window_around_index(i, self.window_size) for i, text in masked])


class MaskedMerge(_Proposed, WordMergeMaskedLM):
    """Replaces two neighbours by one word that the model proposes.

    Parts of speech decide which neighbours; they come from NLTK's tagger instead of flair's. As in TextAttack, words
    that are not to be modified may be merged; but a pair of texts is merged only within a text that may change.
    """

    def __init__(self, masked_lm: MaskedLM, **options: Any) -> None:
        super().__init__(masked_lm, **options)
        self.columns: tuple[str, ...] | None = None

    def _get_transformations(self, current_text: Any, indices_to_modify: Iterable[int]) -> list[Any]:
        found = []
        indices = [i for i in find_merge_index(universal_tags(current_text.words)) if self._may_merge(current_text, i)]
        for index, words in zip(indices, self._get_merged_words(current_text, indices)):
            for word in (proposed.strip("Ġ") for proposed in words):
                if word != current_text.words[index] and any("a" <= letter.lower() <= "z" for letter in word):
                    shorter = current_text.delete_word_at_index(index + 1)
                    found.append(shorter.replace_word_at_index(index, word))
        return found

    def _get_merged_words(self, current_text: Any, indices_to_modify: Iterable[int]) -> list[list[str]]:
        masked = []
        for index in indices_to_modify:
            text = current_text.replace_word_at_index(index, self._lm_tokenizer.mask_token)
            text = text.delete_word_at_index(index + 1)
            masked.append(text.text_window_around_index(index, self.window_size))
        return self._words_at_masks(masked)

    def _may_merge(self, text: Any, index: int) -> bool:
        end = 0
        for column, words in zip(text.column_labels, text.words_per_input):
            end += len(words)
            if index < end:
                return index + 1 < end and (self.columns is None or column in self.columns)
        return False
