from __future__ import annotations

import pytest
import torch
from torch import nn

from hf_robust_tickets.adversaries import PerturbationHook, perturbation_mask
from hf_robust_tickets.errors import DataError


class TupleLayer(nn.Module):
    def forward(self, x):
        return x * 2, "attention"


def test_adds_only_while_armed():
    embedding = nn.Embedding(5, 3)
    injector, ids = PerturbationHook(embedding), torch.tensor([[1, 2]])
    clean = embedding(ids)
    with injector.armed(lambda x: torch.ones_like(x)):
        torch.testing.assert_close(embedding(ids), clean + 1)
    torch.testing.assert_close(embedding(ids), clean)
    injector.remove()
    assert not embedding._forward_hooks


def test_disarms_after_an_error():
    embedding = nn.Embedding(5, 3)
    injector = PerturbationHook(embedding)
    with pytest.raises(RuntimeError), injector.armed(lambda x: torch.ones_like(x)):
        raise RuntimeError
    torch.testing.assert_close(embedding(torch.tensor([1])), embedding.weight[1:2])


def test_layer_that_returns_a_tuple():
    layer = TupleLayer()
    with PerturbationHook(layer).armed(lambda x: torch.full_like(x, 3.0)):
        output, other = layer(torch.ones(1, 2, 2))
    assert output.unique().item() == 5.0 and other == "attention"


def test_gradient_reaches_a_float32_delta_through_a_bfloat16_module():
    embedding = nn.Embedding(5, 3, dtype=torch.bfloat16)
    delta = torch.zeros(1, 2, 3, requires_grad=True)
    with PerturbationHook(embedding).armed(lambda x: delta):
        embedding(torch.tensor([[1, 2]])).sum().backward()
    assert delta.grad.dtype == torch.float32 and delta.grad.unique().item() == 1.0


def test_mask():
    x = torch.zeros(2, 3, 4)
    assert perturbation_mask({}, x).tolist() == [[1, 1, 1]] * 2
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert perturbation_mask({"attention_mask": mask}, x).tolist() == mask.tolist()
    choices = mask.reshape(1, 2, 3)  # multiple choice: one row per choice
    assert perturbation_mask({"attention_mask": choices}, x).tolist() == mask.tolist()
    with pytest.raises(DataError, match="one entry per token"):
        perturbation_mask({"attention_mask": torch.ones(2, 1, 3, 3)}, x)
