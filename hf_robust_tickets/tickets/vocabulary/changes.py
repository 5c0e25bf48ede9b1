"""What two tokenizers cut differently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ...errors import DataError

_BATCH = 1024
_SHOWN = 5


@dataclass(frozen=True)
class Changes:
    """The words that are cut into other pieces than before.

    Attributes:
        words: How often each occurs.
        occurrences: Words that were read, those that have not changed included.
        texts: Texts in which a word changed.
    """

    words: Counter[str] = field(default_factory=Counter)
    occurrences: int = 0
    texts: int = 0

    def __str__(self) -> str:
        shown = ", ".join(word for word, _ in self.words.most_common(_SHOWN))
        return (
            f"{self.words.total()} of {self.occurrences} words are cut into other pieces than before, "
            f"{len(self.words)} different ones in {self.texts} texts" + (f", e.g. {shown}" if shown else "")
        )


def changed_words(before: Any, after: Any, texts: Iterable[str]) -> Changes:
    """Counts the words of texts that two tokenizers cut differently.

    Args:
        before: A fast tokenizer of transformers.
        after: Another one that splits texts into the same words.
        texts: Gone through once.

    Raises:
        DataError: If an entry is no text.
    """
    words: Counter[str] = Counter()
    occurrences = changed = 0
    # What is unknown has its own text as its token: the number tells.
    names = [{number: token for token, number in each.get_vocab().items()} for each in (before, after)]
    for part in batches(texts):
        for text, one, other in zip(part, encoded(before, part), encoded(after, part)):
            occurrences += len(set(one.word_ids))
            if [names[0][number] for number in one.ids] == [names[1][number] for number in other.ids]:
                continue
            pieces, others = _by_word(one, names[0]), _by_word(other, names[1])
            differ = [word for word in pieces if pieces[word][0] != others.get(word, [None])[0]]
            words.update(text[slice(*pieces[word][1])] for word in differ)
            changed += 1
    return Changes(words, occurrences, changed)


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts in lists of a thousand.

    Raises:
        DataError: If an entry is no text.
    """
    entries = iter(texts)
    row = 0
    while part := list(islice(entries, _BATCH)):
        for text in part:
            if not isinstance(text, str):
                raise DataError(f"expected a text in row {row} of the corpus, got {text!r}")
            row += 1
        yield part


def encoded(tokenizer: Any, texts: list[str]) -> list[Any]:
    """The encodings of whole texts, without special tokens."""
    backend = tokenizer.backend_tokenizer
    settings = backend.truncation, backend.padding
    backend.no_truncation()
    backend.no_padding()
    try:
        return backend.encode_batch(texts, add_special_tokens=False)
    finally:
        if settings[0] is not None:
            backend.enable_truncation(**settings[0])
        if settings[1] is not None:
            backend.enable_padding(**settings[1])


def _by_word(encoding: Any, names: dict[int, str]) -> dict[Any, tuple[list[str], tuple[int, int]]]:
    """The pieces of each word and where it is; a token that was added is a word."""
    found: dict[Any, tuple[list[str], tuple[int, int]]] = {}
    for number, word, (start, end) in zip(encoding.ids, encoding.word_ids, encoding.offsets):
        pieces, (first, _) = found.setdefault(word, ([], (start, end)))
        pieces.append(names[number])
        found[word] = (pieces, (first, end))
    return found
