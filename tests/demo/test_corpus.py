from __future__ import annotations

import hashlib
import json
import random
import re
import subprocess
import sys
from collections import Counter

import pytest

from hf_robust_tickets.demo.corpus import MAX_WORDS, MIN_WORDS, corpus_as_datasets, lexicon, make_corpus, make_reviews
from hf_robust_tickets.demo.domains import DOMAINS
from hf_robust_tickets.demo.grammar import PATTERNS, Writer, article
from hf_robust_tickets.errors import ConfigurationError

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def reviews():
    return make_reviews()


def tokens(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text.lower())


def digest(corpus: dict) -> str:
    return hashlib.sha256(json.dumps(corpus, sort_keys=True).encode()).hexdigest()


def test_sizes_and_columns():
    corpus = make_corpus(30, 12, 7)
    assert tuple(corpus) == SPLITS
    assert [len(corpus[name]) for name in SPLITS] == [30, 12, 7]
    assert all(set(row) == {"text", "label"} for rows in corpus.values() for row in rows)


def test_the_same_seed_gives_the_same_corpus_in_another_process():
    code = (
        "import hashlib, json; from hf_robust_tickets.demo.corpus import make_corpus;"
        "print(hashlib.sha256(json.dumps(make_corpus(40, 10, 10, seed=3), sort_keys=True).encode()).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={"PYTHONHASHSEED": "1234"}
    )
    assert other.stdout.strip() == digest(make_corpus(40, 10, 10, seed=3))


def test_another_seed_gives_another_corpus():
    assert digest(make_corpus(40, 10, 10, seed=0)) != digest(make_corpus(40, 10, 10, seed=1))


def test_the_test_split_does_not_depend_on_the_training_size():
    assert make_corpus(10, 20, 20)["test"] == make_corpus(50, 20, 20)["test"]


def test_labels_are_balanced_in_every_split(reviews):
    for name in SPLITS:
        counts = Counter(r.label for r in reviews[name])
        assert counts[0] == counts[1] == len(reviews[name]) // 2


def test_nothing_occurs_twice_within_or_across_splits(reviews):
    texts = [r.text.lower() for name in SPLITS for r in reviews[name]]
    assert len(texts) == len(set(texts)) == 3200


def test_length_and_variety(reviews):
    lengths = [len(r.text.split()) for name in SPLITS for r in reviews[name]]
    assert min(lengths) >= MIN_WORDS
    assert max(lengths) <= MAX_WORDS
    assert len(set(lengths)) > 25
    assert {r.pattern for r in reviews["test"]} == set(PATTERNS)
    assert {r.domain for r in reviews["test"]} == {d.name for d in DOMAINS}


def test_held_out_words_never_occur_in_training(reviews):
    common, rare = lexicon(held_out=False), lexicon(held_out=True)
    only_rare = {
        word
        for label in (True, False)
        for word in rare[label].surface_forms() - common[label].surface_forms() - common[not label].surface_forms()
    }
    assert len(only_rare) > 100
    assert not only_rare & {w for r in reviews["train"] for w in tokens(r.text)}
    for name in ("validation", "test"):
        used = sum(bool(only_rare & set(tokens(r.text))) for r in reviews[name])
        assert used > len(reviews[name]) / 3


def test_the_lexicon_is_rich_and_its_polarities_are_disjoint():
    words = lexicon()
    positive, negative = words[True].surface_forms(), words[False].surface_forms()
    assert not positive & negative
    assert min(len(positive), len(negative)) >= 250


@pytest.mark.parametrize("positive", [True, False])
def test_negation_reaches_its_label_through_words_of_the_opposite_polarity(positive):
    words = lexicon()
    own, other = words[positive].surface_forms(), words[not positive].surface_forms()
    for seed in range(200):
        writer = Writer(random.Random(seed), DOMAINS[seed % len(DOMAINS)], words)
        found = set(tokens(writer.negated(positive)))
        assert found & other
        assert not found & own


def test_a_contrast_holds_words_of_both_polarities():
    words = lexicon()
    for seed in range(100):
        writer = Writer(random.Random(seed), DOMAINS[seed % len(DOMAINS)], words)
        found = set(tokens(PATTERNS["contrast"][1](writer, True)))
        negated = re.compile(r"\b(not|never|hardly|nobody|nothing|far|anything|no|without|free|devoid)\b")
        if not negated.search(" ".join(found)):
            assert found & words[True].surface_forms()
            assert found & words[False].surface_forms()


def test_counting_words_is_not_enough(reviews):
    text = pytest.importorskip("sklearn.feature_extraction.text")
    linear = pytest.importorskip("sklearn.linear_model")
    vectors = text.CountVectorizer()
    model = linear.LogisticRegression(max_iter=1000)
    model.fit(vectors.fit_transform([r.text for r in reviews["train"]]), [r.label for r in reviews["train"]])
    accuracy = model.score(vectors.transform([r.text for r in reviews["test"]]), [r.label for r in reviews["test"]])
    assert 0.5 < accuracy < 0.75


def test_as_data_sets():
    data = corpus_as_datasets(20, 10, 10)
    assert data["train"].features["label"].names == ["negative", "positive"]
    assert {name: len(data[name]) for name in data} == {"train": 20, "validation": 10, "test": 10}
    assert list(data["test"]["text"]) == [row["text"] for row in make_corpus(20, 10, 10)["test"]]


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ConfigurationError, match="'validation' must be 0 or more, got -1"):
        make_corpus(num_validation=-1)


@pytest.mark.parametrize(
    ("word", "expected"),
    [("film", "a film"), ("opera", "an opera"), ("useless", "a useless"), ("uneven", "an uneven")],
)
def test_article(word, expected):
    assert article(word) == expected
