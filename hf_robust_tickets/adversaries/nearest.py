"""The nearest tokens of each token, in a model's own table of embeddings."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from .._reading import WORD_MARKS
from ..errors import ConfigurationError

_AT_ONCE = 1024


class NearestTokens:
    """For each token of a vocabulary the tokens it may be exchanged for.

    Args:
        table: `(words, most)`, integers; a token that has no neighbours has itself.
    """

    def __init__(self, table: Tensor) -> None:
        self.table = table

    @classmethod
    @torch.no_grad()
    def find(cls, weight: Tensor, letters: Tensor, most: int, asked: Tensor | None = None) -> Self:
        """Nearest by cosine; a token is no neighbour of itself.

        Costs a product of the embeddings asked for with those of letters: on one core some three seconds for the
        words of a data set and a vocabulary of 30,000.

        Args:
            weight: The table of embeddings, `(words, dim)`.
            letters: Tokens that take part, `(n,)`.
            most: Neighbours per token; fewer where there are fewer tokens.
            asked: Tokens whose neighbours will be needed; the others are left without. None: all.

        Raises:
            ConfigurationError: If there are no two tokens of letters.
        """
        require_neighbours(letters)
        letters = letters.to(weight.device)
        most = min(most, len(letters) - 1)
        table = torch.arange(len(weight), device=weight.device).unsqueeze(1).repeat(1, most)
        directions = torch.nn.functional.normalize(weight[letters].float(), dim=1)
        places = torch.arange(len(letters), device=weight.device)
        if asked is not None:
            places = places[torch.isin(letters, asked.to(weight.device))]
        for part in places.split(_AT_ONCE):
            likeness = directions[part] @ directions.T
            likeness[torch.arange(len(part), device=weight.device), part] = -torch.inf
            table[letters[part]] = letters[likeness.topk(most, dim=1).indices]
        return cls(table)


def tokens_of_letters(tokenizer: Any, words: int) -> Tensor:
    """The tokens of a vocabulary that are letters, whether they begin a word or go on with one.

    Args:
        tokenizer: Knows the names of tokens.
        words: Rows of the table of embeddings; tokens beyond it are left out.
    """
    special = set(tokenizer.all_special_ids)
    found = []
    for name, number in tokenizer.get_vocab().items():
        for mark in WORD_MARKS:
            name = name.removeprefix(mark)
        if number < words and number not in special and name.isalpha():
            found.append(number)
    return torch.tensor(sorted(found), dtype=torch.int64)


def require_neighbours(letters: Tensor) -> None:
    """Raises ConfigurationError where there are no two tokens of letters."""
    if len(letters) < 2:
        raise ConfigurationError(
            f"expected a vocabulary with tokens of letters to exchange, got {len(letters)}: use freelb"
        )
