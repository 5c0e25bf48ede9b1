"""Words of tokenised texts, replaced at a rate."""

from __future__ import annotations

import pytest

from hf_robust_tickets.augmentation import CharacterEdits, Edit, WordSubstitution, row_seed
from hf_robust_tickets.augmentation.base import ListedWords
from hf_robust_tickets.augmentation.substitution import apply_edits
from hf_robust_tickets.errors import ConfigurationError
from tests.testing.small_tokenizers import KINDS, TEXTS, wordpiece

FILMS = ListedWords(
    {"film": ("movie",), "good": ("great",), "dull": ("un\u00e9",), "great": ("watchable",)}, ("here",)
)


def replaced(tokenizer, text, seed=0, rate=1.0, limit=99, sources=(FILMS,)):
    ids = tokenizer(text)["input_ids"]
    ((edits),) = WordSubstitution(tokenizer, sources, rate).edits([ids], [seed], [limit])
    return apply_edits(ids, edits, ids=True)


def test_a_row_by_hand():
    edits = [Edit(1, 2, (7, 8)), Edit(3, 5, (9,))]
    assert apply_edits([2, 10, 11, 12, 13, 3], edits, ids=True) == [2, 7, 8, 11, 9, 3]
    assert apply_edits("cabdez", edits) == ["c", "a", "a", "b", "d", "z"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_new_text_is_tokenised_as_itself(kind):
    tokenizer = KINDS[kind]()
    text = "the film was good and great ,"
    got = replaced(tokenizer, text)
    assert got == tokenizer("the movie was great and watchable ,")["input_ids"]


def test_pairs_keep_their_separators_and_unknown_substitutes_stay_out():
    tokenizer = wordpiece()
    ids = tokenizer("film", "dull film")["input_ids"]
    ((edits),) = WordSubstitution(tokenizer, [FILMS], 1.0).edits([ids], [0], [99])
    assert apply_edits(ids, edits, ids=True) == tokenizer("movie", "dull movie")["input_ids"]


def test_a_row_has_room_or_the_word_stays():
    """great -> watch ##able takes a token more: there is room for one such word in nine tokens."""
    tokenizer = wordpiece()
    text = "great great film great"
    assert len(tokenizer(text)["input_ids"]) == 6
    assert replaced(tokenizer, text, limit=6) == tokenizer("great great movie great")["input_ids"]
    assert replaced(tokenizer, text, limit=7) == tokenizer("watchable great movie great")["input_ids"]
    assert replaced(tokenizer, text, limit=9) == tokenizer("watchable watchable movie watchable")["input_ids"]


def test_the_rate_is_kept_and_each_source_has_its_share():
    tokenizer = wordpiece()
    words = WordSubstitution(tokenizer, [FILMS, CharacterEdits()], 0.2)
    row = tokenizer(" ".join(["film"] * 200), add_special_tokens=False)["input_ids"]
    (edits,) = words.edits([row], [1], [9999])
    assert 0.12 < len(edits) / 200 < 0.28  # three standard deviations
    movies = sum(edit.ids == tuple(tokenizer("movie", add_special_tokens=False)["input_ids"]) for edit in edits)
    assert 0.2 < movies / len(edits) < 0.8


def test_a_row_depends_on_its_seed_alone():
    tokenizer = wordpiece()
    rows = [tokenizer(text)["input_ids"] for text in TEXTS]
    seeds = [row_seed(0, 0, row) for row in rows]
    limits = [99] * len(rows)
    together = WordSubstitution(tokenizer, [CharacterEdits()], 0.5).edits(rows, seeds, limits)
    fresh = WordSubstitution(tokenizer, [CharacterEdits()], 0.5)
    apart = [fresh.edits([row], [seed], [99])[0] for row, seed in reversed(list(zip(rows, seeds, strict=True)))][::-1]
    assert together == apart
    other = fresh.edits(rows, [row_seed(0, 1, row) for row in rows], limits)
    assert other != together and len({*seeds, row_seed(1, 0, rows[0]), row_seed(0, 1, rows[0])}) == 5


@pytest.mark.parametrize(("sources", "rate"), [((FILMS,), 0.0), ((FILMS,), 1.5), ((), 0.5)])
def test_no_rate_and_no_source_are_refused(sources, rate):
    with pytest.raises(ConfigurationError, match=r"a rate in \(0, 1\] and a source"):
        WordSubstitution(wordpiece(), sources, rate)
