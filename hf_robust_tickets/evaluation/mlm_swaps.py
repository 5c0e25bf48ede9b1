"""TextAttack's transformations by a masked language model: the same candidates, without the padding to 512 tokens.

This module imports TextAttack: import it inside functions only.
"""

# ruff: noqa: E402  (TextAttack has to be imported by its shim before anything is imported from it)

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import torch

from .._compat import import_textattack
from .components import universal_tags
from .masked_lm import MaskedLM

import_textattack()

from textattack.shared.utils import is_one_word
from textattack.transformations import WordInsertionMaskedLM, WordMergeMaskedLM, WordSwapMaskedLM
from textattack.transformations.word_merges.word_merge_masked_lm import find_merge_index
from transformers import BatchEncoding

MOST_TOKENS = 512
"""The length at which TextAttack cuts what the masked language model reads."""


class _Unpadded:
    """Pads a batch to its longest text, on the model's own device; TextAttack pads to 512 tokens.

    Args:
        masked_lm: The masked language model.
        options: The constants of TextAttack's class.
    """

    def __init__(self, masked_lm: MaskedLM, **options: Any) -> None:
        model, limit = masked_lm.model, masked_lm.tokenizer.model_max_length
        positions = getattr(model.config, "max_position_embeddings", None) or MOST_TOKENS
        self._device = next(model.parameters()).device
        super().__init__(
            masked_language_model=model,
            tokenizer=masked_lm.tokenizer,
            max_length=min(MOST_TOKENS, limit, positions),
            **options,
        )
        # TextAttack moves it to the accelerator that it finds
        model.to(self._device)

    def _encode_text(self, text: Any) -> BatchEncoding:
        encoded = self._lm_tokenizer(
            text, max_length=self.max_length, truncation=True, padding=True, return_tensors="pt"
        )
        return encoded.to(self._device)


class MaskedSwap(_Unpadded, WordSwapMaskedLM):
    """Replaces a word by what the model proposes in its place: "bae" masks it, "bert-attack" shows it.

    For a word of several pieces TextAttack goes through all combinations of the pieces' candidates (48 to the number
    of pieces) and then takes the first ones in the order of their ranks: its sort by perplexity has no effect. Here
    only those that are taken are made.
    """

    def _bert_attack_replacement_words(
        self, current_text: Any, index: int, id_preds: torch.Tensor, masked_lm_logits: torch.Tensor
    ) -> list[str]:
        tokenizer = self._lm_tokenizer
        pieces = tokenizer.encode(current_text.words[index], add_special_tokens=False)
        if len(pieces) < 2:
            return super()._bert_attack_replacement_words(current_text, index, id_preds, masked_lm_logits)
        masked = current_text.replace_word_at_index(index, tokenizer.mask_token).text
        ids = self._encode_text(masked)["input_ids"][0].tolist()
        if tokenizer.mask_token_id not in ids:
            return []  # beyond the truncation
        first = ids.index(tokenizer.mask_token_id)
        proposed = [row.tolist() for row in id_preds[first : first + len(pieces)]]
        words = (
            "".join(tokenizer.convert_ids_to_tokens(row)).replace("##", "") for row in itertools.product(*proposed)
        )
        return list(itertools.islice(filter(is_one_word, words), self.max_candidates))


class MaskedInsertion(_Unpadded, WordInsertionMaskedLM):
    """Inserts a word that the model proposes."""


class MaskedMerge(_Unpadded, WordMergeMaskedLM):
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

    def _may_merge(self, text: Any, index: int) -> bool:
        end = 0
        for column, words in zip(text.column_labels, text.words_per_input):
            end += len(words)
            if index < end:
                return index + 1 < end and (self.columns is None or column in self.columns)
        return False
