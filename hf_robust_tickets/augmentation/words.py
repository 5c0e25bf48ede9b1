"""Words in the ids of a text that is tokenised already, and the ids of other words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from .._reading import WORD_MARKS

_SPACE = "\u0120"
# Share of a vocabulary that has the mark, at least.
_MARKED = 0.01
# Words remembered; misspelt ones never end.
_REMEMBERED = 200_000


class Word(NamedTuple):
    """A word in a row of ids.

    Attributes:
        start: Position of its first token.
        stop: Position after its last one.
        text: Its letters.
        prefix: What stands before it where it is encoded: a space, or nothing.
    """

    start: int
    stop: int
    text: str
    prefix: str


class TokenizedWords:
    """Finds words among tokens by what the tokenizer itself makes of them.

    A run of tokens of letters, from one that begins a word to the next, is a word if encoding its text gives exactly
    these tokens. What does not (parts of longer words, bytes of letters that have several) is left alone, so this
    holds for any tokenizer. Special tokens are no words.

    Args:
        tokenizer: That of the data. What it says is remembered, so it must not change.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._special = frozenset(tokenizer.all_special_ids)
        self._mark = _mark_of(tokenizer)
        self._tokens: dict[int, tuple[bool, bool]] = {}
        self._words: dict[tuple[int, ...], tuple[str, str] | None] = {}
        self._ids: dict[str, tuple[int, ...]] = {}

    def find(self, rows: Sequence[Sequence[int]]) -> list[list[Word]]:
        """The words of each row, in order."""
        spans = [list(self._spans(row)) for row in rows]
        self._learn({tuple(row[i:j]) for row, found in zip(rows, spans) for i, j in found} - self._words.keys())
        words = []
        for row, found in zip(rows, spans):
            known = [(i, j, self._words[tuple(row[i:j])]) for i, j in found]
            words.append([Word(i, j, *word) for i, j, word in known if word is not None])
        return words

    def encode(self, texts: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """The ids of each text, which may begin with a space, without special tokens."""
        texts = list(dict.fromkeys(texts))
        if len(self._ids) > _REMEMBERED:
            self._ids.clear()
        new = [text for text in texts if text not in self._ids]
        if new:
            encoded = self._tokenizer(new, add_special_tokens=False, verbose=False)["input_ids"]
            self._ids.update(zip(new, map(tuple, encoded), strict=True))
        return {text: self._ids[text] for text in texts}

    def knows(self, ids: Iterable[int]) -> bool:
        """Whether none of these is a special token: that of unknown words is one."""
        return self._special.isdisjoint(ids)

    def _spans(self, row: Sequence[int]) -> Iterable[tuple[int, int]]:
        start = None
        for i, token in enumerate(row):
            begins, letters = self._tokens.get(token) or self._describe(token)
            if start is not None and (begins or not letters):
                yield start, i
                start = None
            if start is None and letters:
                start = i
        if start is not None:
            yield start, len(row)

    def _describe(self, token: int) -> tuple[bool, bool]:
        """Whether a token may begin a word, and whether it is letters."""
        name = self._tokenizer.convert_ids_to_tokens(token)
        marked = self._mark is not None and name.startswith(self._mark)
        begins = not marked if self._mark in ("##", None) else marked
        bare = name.removeprefix(self._mark) if marked else name
        self._tokens[token] = begins, token not in self._special and bare.isalpha()
        return self._tokens[token]

    def _learn(self, runs: Iterable[tuple[int, ...]]) -> None:
        if len(self._words) > _REMEMBERED:
            self._words.clear()
        found = {}
        for run in runs:
            tokens = self._tokenizer.convert_ids_to_tokens(list(run))
            text = self._tokenizer.convert_tokens_to_string(tokens).strip()
            prefix = " " if self._mark == _SPACE and tokens[0].startswith(_SPACE) else ""
            found[run] = (text, prefix) if text.isalpha() else None
        encoded = self.encode(prefix + text for text, prefix in filter(None, found.values()))
        self._words |= {
            run: word if word is not None and encoded[word[1] + word[0]] == run else None
            for run, word in found.items()
        }


def _mark_of(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The mark of a tokenizer's vocabulary; None where every token is a word."""
    vocabulary = tokenizer.get_vocab()
    counts = {mark: sum(token.startswith(mark) for token in vocabulary) for mark in WORD_MARKS}
    mark = max(counts, key=counts.__getitem__)
    return mark if counts[mark] > _MARKED * len(vocabulary) else None
