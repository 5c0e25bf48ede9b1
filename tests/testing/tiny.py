"""Tiny random models and data that tests of training and evaluation share."""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertForSequenceClassification, PreTrainedModel, PreTrainedTokenizerFast, set_seed

from tests.testing.families import tiny_config


def tiny_bert(seed: int = 0, **config: Any) -> PreTrainedModel:
    """Two layers of 4 heads and 64 neurons; dropout off, so that gradients can be compared."""
    values = {
        "vocab_size": 60,
        "intermediate_size": 64,
        "max_position_embeddings": 32,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "num_labels": 2,
    }
    set_seed(seed)
    return BertForSequenceClassification(tiny_config("bert", **(values | config)))


def tiny_data(size: int = 32, length: int = 8, seed: int = 0) -> Dataset:
    """Sentences of one length whose label says whether their first token is from the upper half of the vocabulary."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, 60, (size, length), generator=generator)
    return Dataset.from_dict(
        {
            "input_ids": ids.tolist(),
            "attention_mask": torch.ones_like(ids).tolist(),
            "labels": (ids[:, 0] >= 32).long().tolist(),
        }
    )


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Knows the words w5 ... w59."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(5, 60))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "mask_token": "[MASK]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **special)
