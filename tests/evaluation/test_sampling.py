from __future__ import annotations

from collections import Counter

import pytest
from datasets import ClassLabel, Dataset, Features, Value
from transformers import PretrainedConfig

from hf_robust_tickets.errors import ConfigurationError, DataError
from hf_robust_tickets.evaluation import EvaluationConfig
from hf_robust_tickets.evaluation.sampling import select_examples, stratified_sample
from tests.testing.keyword_model import keyword_tokenizer


def select(dataset, config=None, **arguments):
    return select_examples(dataset, config or PretrainedConfig(num_labels=2), EvaluationConfig(**arguments))


def named(names: list[str], labels: list[int]) -> Dataset:
    features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
    return Dataset.from_dict({"text": [f"t{i}" for i in range(len(labels))], "label": labels}, features=features)


def test_sample_keeps_the_shares_of_sorted_classes():
    labels = [0] * 700 + [1] * 250 + [2] * 50
    chosen = stratified_sample(labels, 100, seed=1)
    assert Counter(labels[i] for i in chosen) == {0: 70, 1: 25, 2: 5}
    assert chosen == sorted(set(chosen)) and chosen != list(range(100))


def test_sample_has_the_size_asked_for_when_shares_are_broken():
    labels = [0] * 5 + [1] * 5 + [2] * 5
    assert [len(stratified_sample(labels, n, seed=0)) for n in range(1, 17)] == [*range(1, 16), 15]


def test_sample_depends_on_the_seed_alone():
    labels = [i % 2 for i in range(100)]
    assert stratified_sample(labels, 10, 7) == stratified_sample(labels, 10, 7) != stratified_sample(labels, 10, 8)


def test_guesses_the_only_text_column_and_known_pairs():
    assert select([{"id": "x1", "sentence": "a", "label": 1}])[0].texts == {"sentence": "a"}
    pair = {"hypothesis": "b", "premise": "a", "label": 1}
    assert list(select([pair])[0].texts.items()) == [("premise", "a"), ("hypothesis", "b")]


@pytest.mark.parametrize("row", [{"title": "a", "body": "b", "label": 0}, {"x": 1, "label": 0}])
def test_ambiguous_or_no_text_column_is_an_error(row):
    with pytest.raises(DataError, match="text_columns="):
        select([row])


def test_given_columns_are_taken_in_their_order():
    example = select([{"title": "a", "body": "b", "label": 0}], text_columns=("body", "title"))[0]
    assert list(example.texts) == ["body", "title"]


@pytest.mark.parametrize("label", [2, -1, 0.5, None, "positive"])
def test_labels_the_model_does_not_know(label):
    with pytest.raises(DataError, match="row 1"):
        select([{"text": "a", "label": 0}, {"text": "b", "label": label}])


def test_label_names_in_another_order_are_mapped():
    config = PretrainedConfig(id2label={0: "Positive", 1: "NEGATIVE"})
    assert [e.label for e in select(named(["negative", "positive"], [0, 1, 1]), config)] == [1, 0, 0]


def test_label_names_that_partly_agree_are_refused():
    config = PretrainedConfig(id2label={0: "entailment", 1: "neutral", 2: "contradiction"})
    with pytest.raises(DataError, match="not_entailment"):
        select(named(["entailment", "not_entailment"], [0, 1]), config)


def test_more_classes_than_the_model_has():
    with pytest.raises(DataError, match="3 classes"):
        select(named(["a", "b", "c"], [0, 1]))


def test_strings_as_labels_are_looked_up_in_the_model():
    config = PretrainedConfig(id2label={0: "bad", 1: "good"})
    assert select([{"text": "a", "label": "GOOD"}], config)[0].label == 1


def test_empty_texts_mappings_of_splits_and_odd_sizes_are_refused():
    with pytest.raises(DataError, match="row 0"):
        select([{"text": " ", "label": 0}])
    with pytest.raises(DataError, match="one split"):
        select({"train": []})
    with pytest.raises(DataError, match="empty"):
        select([])
    with pytest.raises(ConfigurationError, match="num_examples"):
        select([{"text": "a", "label": 0}], num_examples=0)


def test_the_old_order_of_arguments_is_noticed():
    with pytest.raises(DataError, match="the order is model, dataset, tokenizer"):
        select(keyword_tokenizer())
