"""Words as random points among their neighbours in embedding space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from .._arguments import check_arguments
from ..errors import ConfigurationError
from .base import ListedWords, with_case_of
from .words import TokenizedWords, Word

MOST_NEIGHBOURS = 8
"""Of one word: the first ones of its list. Lists of the nearest counter-fitted words have as many."""


class Mixture(NamedTuple):
    """What some tokens of a batch are mixed of.

    Attributes:
        rows: Row of each token that is mixed, shape `(mixed,)`.
        columns: Its position in the row.
        ids: Its own id, then those of its neighbours, padded with its own, shape `(mixed, most + 1)`.
        weights: What each of them counts, sums of 1 per token, of the same shape; zero for padding.
    """

    rows: np.ndarray
    columns: np.ndarray
    ids: np.ndarray
    weights: np.ndarray


class DirichletNeighbourhoods:
    r"""Replaces the embedding of a word by a random point in the convex hull of its own and those of its neighbours.

    $$\hat v = \sum_{j} \eta_j v_j, \qquad \eta \sim \operatorname{Dir}(\alpha, \dots, \alpha),$$

    over the word $v_0$ and its neighbours: Zhou, Zheng, Hsieh, Chang and Huang, *Defense against Synonym
    Substitution-based Adversarial Attacks via Dirichlet Neighborhood Ensemble*, ACL 2021, arXiv:2006.11627, section 3.
    A large alpha gives points near the centre, a small one points near single words. The random part of the method
    alone: no ascent on $\eta$ (an adversary of this package attacks the mixture as it attacks any embedding), no
    neighbours of neighbours, no ensemble when predicting. Words are mixed that are one token, with neighbours that
    are.

    Args:
        tokenizer: That of the texts.
        source: Knows the neighbours.
        alpha: Concentration, positive.

    Raises:
        ConfigurationError: If alpha is not positive, or the source has no lists of words.
    """

    @check_arguments
    def __init__(self, tokenizer: PreTrainedTokenizerBase, source: ListedWords, alpha: float = 1.0) -> None:
        if not alpha > 0 or not isinstance(source, ListedWords):
            raise ConfigurationError(
                f"expected a positive alpha and a source that lists words, got {alpha} and {type(source).__name__}: "
                "pass e.g. 1.0 and 'wordnet' or a list of neighbours"
            )
        self.source = source
        self.alpha = alpha
        self._words = TokenizedWords(tokenizer)
        self._neighbours: dict[Word, tuple[int, ...]] = {}

    def draw(self, rows: Sequence[Sequence[int]], seeds: Sequence[int]) -> Mixture:
        """What the words of a batch are mixed of.

        Args:
            rows: Token ids; padding and special tokens are never mixed.
            seeds: One per row, which alone decides, with the row, what is drawn.
        """
        found = [[word for word in words if word.stop == word.start + 1] for words in self._words.find(rows)]
        self._learn({_key(word) for words in found for word in words} - self._neighbours.keys())
        width = MOST_NEIGHBOURS + 1
        places, ids, weights = [], [], [np.zeros((0, width), dtype=np.float32)]
        for i, (row, words, seed) in enumerate(zip(rows, found, seeds, strict=True)):
            near = [(word.start, self._neighbours[_key(word)]) for word in words]
            near = [(start, others) for start, others in near if others]
            places += [(i, start) for start, _ in near]
            ids += [(row[start], *others, *[row[start]] * (width - 1 - len(others))) for start, others in near]
            weights.append(self._weights(np.array([1 + len(others) for _, others in near], dtype=np.int64), seed))
        where = np.array(places, dtype=np.int64).reshape(-1, 2)
        return Mixture(
            where[:, 0], where[:, 1], np.array(ids, dtype=np.int64).reshape(-1, width), np.concatenate(weights)
        )

    def _weights(self, sizes: np.ndarray, seed: int) -> np.ndarray:
        """A row of weights for each word, of which the first `size` are drawn: gammas over their sum."""
        gammas = np.random.default_rng(seed).standard_gamma(self.alpha, (len(sizes), MOST_NEIGHBOURS + 1))
        gammas *= np.arange(MOST_NEIGHBOURS + 1) < sizes[:, None]
        # At a tiny alpha all of them may be too small for a float: the word itself stays.
        gammas[gammas.sum(axis=1) == 0, 0] = 1.0
        return (gammas / gammas.sum(axis=1, keepdims=True)).astype(np.float32)

    def _learn(self, words: set[Word]) -> None:
        """Finds out which neighbours of these words are single tokens."""
        lists = {word: self.source.candidates(word.text.lower()) for word in words}
        forms = {word: [word.prefix + with_case_of(word.text, other) for other in lists[word]] for word in words}
        encoded = self._words.encode(form for each in forms.values() for form in each)
        for word, written in forms.items():
            ids = (encoded[form] for form in written if len(encoded[form]) == 1)
            kept = [each[0] for each in ids if self._words.knows(each)]
            self._neighbours[word] = tuple(dict.fromkeys(kept))[:MOST_NEIGHBOURS]


def _key(word: Word) -> Word:
    """A word wherever it stands."""
    return word._replace(start=0, stop=1)
