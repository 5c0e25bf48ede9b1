"""Words in ids."""

from __future__ import annotations

import pickle

import pytest

from hf_robust_tickets.augmentation import TokenizedWords
from tests.testing.small_tokenizers import KINDS, TEXTS, wordpiece

every_kind = pytest.mark.parametrize("kind", KINDS)


def texts_of(tokenizer, rows):
    return [[word.text for word in words] for words in TokenizedWords(tokenizer).find(rows)]


def test_wordpiece_by_hand():
    """The film wasn't un ##watch ##able 2 ##n ##d: of the last word, the pieces alone are none."""
    tokenizer = wordpiece()
    ids = tokenizer("The film wasn't unwatchable, 2nd.")["input_ids"]
    (words,) = TokenizedWords(tokenizer).find([ids])
    assert [word.text for word in words] == ["the", "film", "wasn", "t", "unwatchable"]
    last = words[-1]
    assert tokenizer.convert_ids_to_tokens(ids[last.start : last.stop])[0] == "un"
    assert all(word.prefix == "" for word in words)


@every_kind
def test_every_tokenizer_gives_back_its_words(kind):
    tokenizer = KINDS[kind]()
    rows = [tokenizer(text)["input_ids"] for text in TEXTS]
    found = texts_of(tokenizer, rows)
    # A SentencePiece token does not begin a word after punctuation; all others are found by all.
    expected = [[word for word in text.replace("'", " ").split() if word.isalpha()] for text in TEXTS]
    for got, words in zip(found, expected, strict=True):
        words = [word.lower() for word in words] if kind == "wordpiece" else words
        assert set(words) <= {*got, "isn", "t"}


@every_kind
def test_what_is_found_is_what_the_tokenizer_makes_of_the_word(kind):
    tokenizer = KINDS[kind]()
    words = TokenizedWords(tokenizer)
    rows = [tokenizer(text)["input_ids"] for text in TEXTS]
    for row, found in zip(rows, words.find(rows), strict=True):
        assert found
        assert [word.start for word in found] == sorted(word.start for word in found)
        for word in found:
            text = word.prefix + word.text
            assert words.encode([text])[text] == tuple(row[word.start : word.stop])


def test_special_tokens_are_no_words_and_pairs_stay_apart():
    tokenizer = wordpiece()
    ids = tokenizer("film", "movie")["input_ids"]
    (words,) = TokenizedWords(tokenizer).find([ids])
    assert [(word.text, word.start) for word in words] == [("film", 1), ("movie", 3)]


def test_unknown_words_are_told():
    tokenizer = wordpiece()
    words = TokenizedWords(tokenizer)
    assert words.knows(words.encode(["film"])["film"]) and not words.knows(
        words.encode(["\u00e9t\u00e9"])["\u00e9t\u00e9"]
    )


@every_kind
def test_it_goes_to_worker_processes(kind):
    tokenizer = KINDS[kind]()
    rows = [tokenizer(text)["input_ids"] for text in TEXTS]
    words = TokenizedWords(tokenizer)
    expected = words.find(rows)
    assert pickle.loads(pickle.dumps(words)).find(rows) == expected
