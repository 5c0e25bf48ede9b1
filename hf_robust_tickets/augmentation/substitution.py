"""Words of tokenised texts replaced at a rate, by chance that depends on the text alone."""

from __future__ import annotations

import hashlib
import random
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from .._arguments import check_arguments
from ..errors import ConfigurationError
from .base import WordSource
from .words import TokenizedWords


class Edit(NamedTuple):
    """Tokens of a row that give way to others.

    Attributes:
        start: Position of the first of them.
        stop: Position after the last.
        ids: What takes their place.
    """

    start: int
    stop: int
    ids: tuple[int, ...]


class WordSubstitution:
    """Replaces each word of a text with the same probability, wherever one of the sources knows another.

    A word that is drawn asks the sources in an order of chance; the first that knows one has its say. A drawn word
    that no source knows stays, and so does one whose substitute the tokenizer does not know, or for which the row has
    no room.

    Args:
        tokenizer: That of the texts.
        sources: At least one.
        rate: Probability, in (0, 1], with which a word is drawn.

    Raises:
        ConfigurationError: If the rate is another, or there is no source.
    """

    @check_arguments
    def __init__(self, tokenizer: PreTrainedTokenizerBase, sources: Sequence[WordSource], rate: float) -> None:
        if not 0 < rate <= 1 or not sources:
            raise ConfigurationError(
                f"expected a rate in (0, 1] and a source of words at least, got {rate} and {len(sources)} sources: "
                "pass e.g. 0.15 and ['wordnet']"
            )
        self.sources = tuple(sources)
        self.rate = rate
        self._words = TokenizedWords(tokenizer)

    def edits(self, rows: Sequence[Sequence[int]], seeds: Sequence[int], limits: Sequence[int]) -> list[list[Edit]]:
        """What becomes of each row.

        Args:
            rows: Token ids, without padding.
            seeds: One per row; equal rows with equal seeds get equal edits, whatever they come with.
            limits: Most tokens that each row may have.

        Returns:
            The edits of each row, in order; see `apply_edits`.
        """
        drawn = [self._draw(words, seed) for words, seed in zip(self._words.find(rows), seeds, strict=True)]
        encoded = self._words.encode(text for row in drawn for _, _, text in row)
        edits = []
        for row, changes, limit in zip(rows, drawn, limits, strict=True):
            length, kept = len(row), []
            for start, stop, text in changes:
                longer = length + len(encoded[text]) - (stop - start)
                if encoded[text] and longer <= limit and self._words.knows(encoded[text]):
                    kept.append(Edit(start, stop, encoded[text]))
                    length = longer
            edits.append(kept)
        return edits

    def _draw(self, words: Sequence[Any], seed: int) -> list[tuple[int, int, str]]:
        rng = random.Random(seed)
        changes = []
        for word in words:
            if rng.random() >= self.rate:
                continue
            for source in rng.sample(self.sources, len(self.sources)):
                other = source.replacement(word.text, rng)
                if other is not None:
                    changes.append((word.start, word.stop, word.prefix + other))
                    break
        return changes


def apply_edits(row: Sequence[Any], edits: Sequence[Edit], ids: bool = False) -> list[Any]:
    """A row after its edits: of ids, or of anything else that has an entry per token.

    Args:
        row: The row.
        edits: What `WordSubstitution.edits` gave for its ids.
        ids: Whether these are the ids; of another row, the new tokens get the entry of the first old one.
    """
    result: list[Any] = []
    end = 0
    for edit in edits:
        result += row[end : edit.start]
        result += edit.ids if ids else [row[edit.start]] * len(edit.ids)
        end = edit.stop
    return [*result, *row[end:]]


def row_seed(seed: int, epoch: int, ids: Sequence[int]) -> int:
    """A seed for a row: a function of run, epoch and text, not of the batch, the rank or the worker that has it."""
    content = array("q", [seed, epoch, *ids]).tobytes()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
