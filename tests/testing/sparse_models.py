"""Small models that tests of sparse training share."""

from __future__ import annotations

import torch
from datasets import Dataset
from torch import Tensor, nn


class TwoLayers(nn.Module):
    """Two linear layers with a ReLU between, and a cross-entropy loss."""

    def __init__(self, seed: int = 0, inputs: int = 6, hidden: int = 8, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Linear(inputs, hidden)
        self.second = nn.Linear(hidden, classes)

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.second(self.first(x).relu())
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def vectors(size: int = 48, inputs: int = 6, seed: int = 0) -> Dataset:
    """Random vectors and the class of their largest of three entries."""
    x = torch.randn(size, inputs, generator=torch.Generator().manual_seed(seed))
    return Dataset.from_dict({"x": x.tolist(), "labels": x[:, :3].argmax(1).tolist()})
