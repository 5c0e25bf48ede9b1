"""Tiny random models and data that tests of training and evaluation share."""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from transformers import BertForSequenceClassification, PreTrainedModel, set_seed

from tests.tickets.models import tiny_config


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
