"""Theoretical operations, by hand and against torch's counter."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import ResNetConfig, ResNetForImageClassification

from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.sparse import ModelFlops, count_flops, select_weights, training_flops
from tests.testing.sparse_models import TwoLayers
from tests.testing.tiny import tiny_bert

TEXT = {"input_ids": torch.ones(2, 8, dtype=torch.long), "attention_mask": torch.ones(2, 8, dtype=torch.long)}
IMAGES = {"pixel_values": torch.zeros(2, 3, 32, 32)}


def resnet():
    return ResNetForImageClassification(ResNetConfig(embedding_size=4, hidden_sizes=[8, 16], depths=[1, 1]))


def test_by_hand():
    model = TwoLayers()
    flops = count_flops(model, {"x": torch.zeros(5, 6), "labels": torch.zeros(5, dtype=torch.long)})
    assert flops.layers == {"first.weight": 2 * 5 * 48, "second.weight": 2 * 5 * 24}
    assert flops.other == 0 and flops.examples == 5 and flops.forward() == 720
    density = {"first.weight": 0.5, "second.weight": 0.25}
    assert flops.forward(density) == 240 + 60
    assert flops.step(density) == 3 * 300
    assert flops.step(density, dense_weight_gradient=True) == 2 * 300 + 720
    assert flops.step(density, full_passes=1, input_passes=10) == 900 + 10 * 600
    assert model.training and not model.first._forward_hooks


@pytest.mark.parametrize(("make", "inputs"), [(tiny_bert, TEXT), (resnet, IMAGES)])
def test_forward_equals_torchs_counter(make, inputs):
    model = make().eval()
    flops = count_flops(model, inputs)
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**inputs)
    assert flops.forward() == counter.get_total_flops() and flops.other > 0
    by_module = counter.get_flop_counts()
    for name, value in flops.layers.items():
        assert value == sum(by_module[f"{type(model).__name__}.{name.removesuffix('.weight')}"].values()), name


def test_grouped_convolutions():
    model = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2))
    model.forward = lambda pixel_values: model[0](pixel_values)
    flops = count_flops(model, {"pixel_values": torch.zeros(2, 4, 6, 6)})
    assert flops.layers == {"0.weight": 2 * (8 * 2 * 9) * (2 * 4 * 4)}


def test_backward_is_two_forward_passes():
    # Torch counts no gradient of the input of the first layer.
    model = nn.Sequential(*(nn.Linear(16, 16, bias=False) for _ in range(3)))
    x = torch.randn(4, 16)
    model.forward = lambda x: nn.Sequential.forward(model, x)
    flops = count_flops(model, {"x": x})
    with FlopCounterMode(display=False) as counter:
        model(x.requires_grad_()).sum().backward()
    assert counter.get_total_flops() == flops.step()


def test_by_density_over_time():
    flops = ModelFlops(layers={"w": 100}, other=10, examples=1)
    start = {"step": 0, "event": "start", "layer_density": {"w": 0.2}, "dense_gradient": False}
    update = {"step": 4, "event": "update", "layer_density": {"w": 0.1}, "dense_gradient": True}
    # 4 steps of 3 x 30, one dense gradient of 110 in place of 30, 6 steps of 3 x 20
    assert training_flops(flops, [start, update], 10) == 4 * 90 + 80 + 6 * 60
    ticket = {"step": 4, "event": "ticket", "layer_density": {"w": 0.1}, "dense_gradient": False}
    # stage 1 is dense and not attacked; then 3 passes of 3 x 20 each
    assert training_flops(flops, [ticket], 10, full_passes=3) == 4 * 330 + 6 * 180


def test_weights_of_another_model():
    with pytest.raises(ConfigurationError, match="expected weights of BertForSequenceClassification, got others"):
        count_flops(tiny_bert(), TEXT, select_weights(tiny_bert()))
