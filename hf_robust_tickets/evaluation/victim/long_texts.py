"""Texts much longer than what the model reads: the beginning is attacked, the rest stays as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..results.example import tokenizer_input
from .reading import UNSPACED, is_unspaced, segmenter

LONG_TEXT = 1000
"""Words from which on a text counts as long. TextAttack makes each candidate anew from all words of the text, one
candidate or more per word: what an attack costs grows with the square of the length. Words end where they end for it,
at spaces and most signs (JSON, addresses and lists have no spaces); of a script without spaces, characters count."""

LONGEST_WORD = 1000
"""Characters of the longest word that attacks change (what is longer is no word: encoded data, or a text of a script
without spaces). They try an edit at every character, and each candidate is as long as the word."""

MARGIN = 1.25
"""The beginning holds this many times the tokens that the model reads: words that an edit pulls in are there."""

_WORD = re.compile(rf"[{UNSPACED}]|(?:(?![{UNSPACED}])[\w'*@-])+")
_HUGE = re.compile(rf"[\w'*@-]{{{LONGEST_WORD + 1},}}")


def beginnings(texts: Mapping[str, str], tokenizer: Any, max_length: int) -> tuple[dict[str, str], dict[str, str]]:
    """Splits texts of more than `LONG_TEXT` words well beyond what the model reads.

    Args:
        texts: Column -> text.
        tokenizer: The model's tokenizer.
        max_length: Tokens that the model reads.

    Returns:
        Column -> beginning, and column -> rest. Rests are empty for texts that are not long, that the model reads
        nearly to the end, or whose end is what it reads: model inputs of the beginnings are those of the texts.
    """
    heads = {column: _beginning(text, tokenizer, int(MARGIN * max_length)) for column, text in texts.items()}
    if heads != dict(texts) and _read(heads, tokenizer, max_length) != _read(texts, tokenizer, max_length):
        heads = dict(texts)
    return heads, {column: text[len(heads[column]) :] for column, text in texts.items()}


def long_text_warnings(examples: Sequence[Mapping[str, str]], tokenizer: Any, max_length: int) -> list[str]:
    """How many texts were attacked in their beginnings, and how many hold words that were spared; empty for none."""
    heads = [beginnings(texts, tokenizer, max_length)[0] for texts in examples]
    found = []
    if count := sum(head != dict(texts) for head, texts in zip(heads, examples)):
        found.append(
            f"{count} texts of more than {LONG_TEXT} words were attacked in their beginnings of "
            f"{int(MARGIN * max_length)} tokens, of which the model reads {max_length}: "
            "TextAttack tries the other words too, without effect"
        )
    if count := sum(any(map(_holds_huge_word, head.values())) for head in heads):
        found.append(
            f"{count} texts hold words of more than {LONGEST_WORD} characters, which were left as they are: each of "
            "their characters would be tried"
        )
    return found


def _holds_huge_word(text: str) -> bool:
    return _HUGE.search(text) is not None and not (is_unspaced(text) and segmenter(text))


def _beginning(text: str, tokenizer: Any, tokens: int) -> str:
    """Whole words with at least so many tokens."""
    ends = [match.end() for match in _WORD.finditer(text)]
    words = tokens
    while len(ends) > LONG_TEXT and words < len(ends):
        head = text[: ends[words - 1]]
        if len(tokenizer(head, add_special_tokens=False, verbose=False)["input_ids"]) >= tokens:
            return head
        words *= 2
    return text


def _read(texts: Mapping[str, str], tokenizer: Any, max_length: int) -> dict[str, Any]:
    given = tokenizer_input(texts)
    pair = given if isinstance(given, tuple) else (given,)
    return dict(tokenizer(*pair, truncation=True, max_length=max_length))
