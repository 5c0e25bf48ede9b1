"""What an attack may not change: meaning, by a sentence encoder, and parts of speech.

This module imports TextAttack: import it inside functions only.
"""

# ruff: noqa: E402  (TextAttack has to be imported by its shim before anything is imported from it)

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from ..._compat import import_textattack
from .encoders import TextEncoder

import_textattack()

from nltk.tag import PerceptronTagger, map_tag
from textattack.constraints import PreTransformationConstraint
from textattack.constraints.grammaticality import PartOfSpeech
from textattack.constraints.semantics.sentence_encoders import SentenceEncoder


class ShorterWords(PreTransformationConstraint):
    """Leaves words of more than so many characters as they are."""

    def __init__(self, longest: int) -> None:
        self.longest = longest

    def _get_modifiable_indices(self, current_text: Any) -> set[int]:
        return {place for place, word in enumerate(current_text.words) if len(word) <= self.longest}

    def extra_repr_keys(self) -> list[str]:
        """What TextAttack prints of it."""
        return ["longest"]


class Similarity(SentenceEncoder):
    """TextAttack's sentence-encoder constraint over any `TextEncoder`.

    Each window is encoded once (TextAttack encodes the reference once per candidate), and not at all where
    `skip_text_shorter_than_window` throws the score away.
    """

    def __init__(self, encoder: TextEncoder, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = encoder

    def encode(self, sentences: list[str]) -> Tensor:
        """Vectors of sentences, (sentences, dim)."""
        return self.model.encode(sentences)

    def _score_list(self, starting_text: Any, transformed_texts: list[Any]) -> Tensor:
        scores = torch.ones(len(transformed_texts))
        needed = [
            i
            for i, text in enumerate(transformed_texts)
            if not (self.skip_text_shorter_than_window and len(text.words) < self.window_size)
        ]
        if not needed:
            return scores
        windows: dict[int, str] = {}
        before, after = [], []
        for i in needed:
            text = transformed_texts[i]
            modified = next(iter(text.attack_attrs["newly_modified_indices"]))
            if modified not in windows:
                windows[modified] = starting_text.text_window_around_index(modified, self.window_size)
            before.append(windows[modified])
            after.append(text.text_window_around_index(modified, self.window_size))
        vectors = self.encode(before + after)
        scores[needed] = self.sim_metric(vectors[: len(needed)], vectors[len(needed) :])
        return scores


class SameTag(PartOfSpeech):
    """TextAttack's part-of-speech constraint with NLTK's tagger, loaded once and remembered from example to example.

    TextAttack asks `nltk.pos_tag`, which reads the tagger's files again on every call.
    """

    def __init__(self, allow_verb_noun_swap: bool = True) -> None:
        super().__init__(tagger_type="nltk", tagset="universal", allow_verb_noun_swap=allow_verb_noun_swap)
        self._tagger = _tagger()

    def clear_cache(self) -> None:
        """Keeps the tags: they depend on the words alone."""

    def _get_pos(self, before_ctx: list[str], word: str, after_ctx: list[str]) -> str:
        context = [*before_ctx, word, *after_ctx]
        key = " ".join(context)
        if key not in self._pos_tag_cache:
            tagged = self._tagger.tag(context)
            self._pos_tag_cache[key] = (
                [token for token, _ in tagged],
                [map_tag("en-ptb", self.tagset, tag) for _, tag in tagged],
            )
        words, tags = self._pos_tag_cache[key]
        return tags[words.index(word)]


@functools.cache
def _tagger() -> PerceptronTagger:
    return PerceptronTagger()


def universal_tags(words: list[str]) -> list[str]:
    """Parts of speech (NOUN, VERB, ADJ, ...) by NLTK's tagger, where TextAttack asks flair's: flair refuses
    transformers 5.
    """
    return [map_tag("en-ptb", "universal", tag) for _, tag in _tagger().tag(words)]
