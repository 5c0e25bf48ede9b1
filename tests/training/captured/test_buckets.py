"""Batches padded to a few lengths."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from transformers import DataCollatorForTokenClassification, DataCollatorWithPadding

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.errors import ConfigurationError, DataError
from hf_robust_tickets.training.captured.buckets import BucketCollator
from tests.testing.tiny import tiny_bert, tiny_tokenizer
from tests.testing.training import arguments

TOKENIZER = tiny_tokenizer()


def features(*lengths):
    return [{"input_ids": [7] * n, "attention_mask": [1] * n, "labels": 1} for n in lengths]


def collate(*lengths, buckets=(8, 4), collator=None):
    return BucketCollator(collator or DataCollatorWithPadding(TOKENIZER), buckets, TOKENIZER)(features(*lengths))


def test_each_batch_goes_to_the_first_length_that_holds_it():
    assert collate(2, 3)["input_ids"].tolist() == [[7, 7, 0, 0], [7, 7, 7, 0]]
    assert collate(2, 3)["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 0]]
    assert collate(4, 1)["input_ids"].shape == (2, 4)
    assert collate(5)["input_ids"].shape == (1, 8)
    assert collate(2, 3)["labels"].tolist() == [1, 1]
    with pytest.raises(DataError, match="at most 8 tokens, the largest of pad_to_buckets, got 9"):
        collate(9)


def test_on_the_side_of_the_tokenizer_and_labels_of_tokens_as_ignored():
    left = tiny_tokenizer()
    left.padding_side = "left"
    rows = [{"input_ids": [7, 8], "attention_mask": [1, 1], "labels": [1, 0]}]
    made = BucketCollator(DataCollatorForTokenClassification(left), [4], left)(rows)
    assert made["input_ids"].tolist() == [[0, 0, 7, 8]] and made["labels"].tolist() == [[-100, -100, 1, 0]]


def test_what_cannot_be_padded_is_said():
    with pytest.raises(DataError, match="expected input_ids and attention_mask in a batch, got pixel_values"):
        BucketCollator(lambda rows: {"pixel_values": torch.ones(1, 3, 2, 2)}, [4], TOKENIZER)([])
    with pytest.raises(DataError, match="got scores with one number per token"):
        collate(2, collator=lambda rows: {"input_ids": torch.ones(1, 2), "attention_mask": torch.ones(1, 2),
                                          "scores": torch.ones(1, 2)})  # fmt: skip
    with pytest.raises(ConfigurationError, match="needs a tokenizer with a padding token, got NoneType"):
        BucketCollator(DataCollatorWithPadding(TOKENIZER), [4], None)
    for buckets in ([], [0], [4, 4]):
        with pytest.raises(ConfigurationError, match="pad_to_buckets to name different lengths"):
            arguments("x", pad_to_buckets=buckets)


def test_training_batches_alone(tmp_path):
    """Without capture too; evaluation is padded as it was."""
    data = Dataset.from_list(features(3, 5, 6, 2))
    trainer = AdversarialTrainer(
        tiny_bert(),
        arguments(tmp_path, pad_to_buckets=[16], per_device_train_batch_size=2),
        train_dataset=data,
        eval_dataset=data,
        data_collator=DataCollatorWithPadding(TOKENIZER),
        processing_class=TOKENIZER,
        adversary=None,
    )
    assert {batch["input_ids"].shape[1] for batch in trainer.get_train_dataloader()} == {16}
    assert max(batch["input_ids"].shape[1] for batch in trainer.get_eval_dataloader()) == 6
    assert isinstance(trainer.data_collator, DataCollatorWithPadding)
