"""Channels of residual networks: a masked network equals the one they are cut out of."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForImageClassification,
    PretrainedConfig,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
)
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention

from hf_robust_tickets import (
    RobustTicket,
    attach_gates,
    detach_gates,
    draw_ticket,
    export_dense,
    get_architecture,
    load_pruned,
    prune_,
    random_ticket,
    register_architecture,
    save_pruned,
    vision,
)
from hf_robust_tickets.architectures import NO_UNITS, Architecture, UnitGroup, inner_channels
from hf_robust_tickets.architectures import registry as registry_module
from hf_robust_tickets.errors import ConfigurationError, TicketError
from hf_robust_tickets.sparse import count_flops
from tests.testing.rounding import assert_same_outputs, assert_same_weights

KINDS = ("basic", "bottleneck")


def resnet(kind: str = "basic", seed: int = 0) -> ResNetForImageClassification:
    """Two stages of two blocks, with norms that are not those of a new model."""
    torch.manual_seed(seed)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[2, 2], layer_type=kind, num_labels=3)
    return scramble(ResNetForImageClassification(config))


def scramble(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            for value in (module.bias, module.running_mean):
                nn.init.normal_(value, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.eval()


def images(size: int = 32) -> torch.Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def logits(model, x=None):
    return model(pixel_values=images() if x is None else x).logits


def half(model, seed: int = 0) -> RobustTicket:
    return random_ticket(model, head_sparsity=0.5, neuron_sparsity=0.5, seed=seed, round_to=1)


def close_gates(model, ticket):
    gates = attach_gates(model)
    with torch.no_grad():
        for parameters, masks in ((gates.heads, ticket.heads), (gates.neurons, ticket.neurons)):
            for parameter, mask in zip(parameters, masks, strict=True):
                parameter.copy_(mask.float())
    return gates


def test_units_are_the_inner_channels():
    assert get_architecture(resnet()).num_neurons(resnet()) == [16, 16, 32, 32]
    assert get_architecture(resnet()).num_heads(resnet()) == [0] * 4
    deep = resnet("bottleneck")
    assert get_architecture(deep).num_heads(deep) == get_architecture(deep).num_neurons(deep) == [4, 4, 8, 8]


@pytest.mark.parametrize("kind", KINDS)
def test_masked_equals_pruned_saved_and_exported(tmp_path, kind):
    model = resnet(kind)
    ticket = half(model)
    before = logits(model)
    close_gates(model, ticket)
    masked = logits(model)
    assert (masked - before).abs().max() > 1e-2
    detach_gates(model)
    assert_same_outputs(logits(model), before)
    parameters = sum(p.numel() for p in model.parameters())
    prune_(model, ticket)
    assert sum(p.numel() for p in model.parameters()) < 0.7 * parameters
    assert_same_outputs(logits(model), masked)
    save_pruned(model, tmp_path / "pruned")
    opened = load_pruned(tmp_path / "pruned")
    assert_same_weights(opened, model)
    assert_same_outputs(logits(opened), logits(model))
    stock = AutoModelForImageClassification.from_pretrained(tmp_path / "pruned", trust_remote_code=True)
    assert_same_weights(stock, model)
    assert_same_outputs(logits(stock), logits(model))
    dense = export_dense(model, tmp_path / "dense")
    assert type(dense) is ResNetForImageClassification
    again = ResNetForImageClassification.from_pretrained(tmp_path / "dense")
    assert_same_outputs(logits(again), masked)


@pytest.mark.parametrize("kind", KINDS)
def test_gates_get_gradients_fold_and_draw(kind):
    model = resnet(kind)
    gates = attach_gates(model)
    model(pixel_values=images(), labels=torch.tensor([0, 1, 2])).loss.backward()
    assert all(gate.grad.abs().max() > 0 for gate in gates.parameters())
    assert len(gates.parameters()) == (4 if kind == "basic" else 8)
    with torch.no_grad():
        for gate in gates.parameters():
            gate.uniform_(0.5, 1.5)
    gated = logits(model)
    ticket = draw_ticket(gates, head_sparsity=0.5, neuron_sparsity=0.5, round_to=1)
    torch.testing.assert_close(logits(detach_gates(model, fold=True)), gated, rtol=1e-5, atol=1e-5)
    prune_(model, ticket)
    widths = get_architecture(model).num_neurons(model)
    assert widths == ticket.neuron_counts


def test_pruning_twice_and_training_on():
    model = resnet()
    prune_(model, half(model))
    prune_(model, half(model, seed=1))
    assert get_architecture(model).num_neurons(model) == [int(mask.sum()) for mask in half_of_half()]
    model.train()(pixel_values=images(), labels=torch.tensor([0, 1, 2])).loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def half_of_half():
    model = resnet()
    prune_(model, half(model))
    return half(model, seed=1).neurons


def test_half_of_the_inner_channels_is_half_of_the_operations():
    model = resnet()
    dense = count_flops(model, {"pixel_values": images()})
    prune_(model, random_ticket(model, neuron_sparsity=0.5, neuron_scope="layer", round_to=1))
    pruned = count_flops(model, {"pixel_values": images()})
    inside = [name for name in dense.layers if ".layer." in name]
    assert len(inside) == 8 and all(pruned.layers[name] * 2 == dense.layers[name] for name in inside)


def test_every_convolution_keeps_a_channel():
    model = resnet()
    neurons = [torch.ones(n, dtype=torch.bool) for n in (16, 16, 32, 32)]
    neurons[1][:] = False
    ticket = RobustTicket(heads=[torch.ones(0, dtype=torch.bool)] * 4, neurons=neurons)
    with pytest.raises(TicketError, match="keeps a channel of every convolution, got none of the neurons of block 1"):
        prune_(model, ticket)


def test_grouped_convolutions_are_refused():
    model = resnet()
    block = model.resnet.encoder.stages[0].layers[0].layer[1]
    block.convolution = nn.Conv2d(16, 16, 3, padding=1, groups=4)
    with pytest.raises(TicketError, match=r"expected a plain linear layer or an ungrouped convolution at 'layer\.1"):
        prune_(model, half(model))


class OwnConfig(PretrainedConfig):
    model_type = "own-convolutions"


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x):
        return x + self.conv2(self.bn2(self.conv1(self.bn1(x).relu())).relu())


class OwnNetwork(PreTrainedModel):
    config_class = OwnConfig
    base_model_prefix = ""

    def __init__(self, config) -> None:
        super().__init__(config)
        self.stem = nn.Conv2d(3, 8, 3)
        self.layer1 = nn.Sequential(Block(8), Block(8))
        self.layer2 = nn.Sequential(Block(8))
        self.classifier = nn.Linear(8, 2)
        self.post_init()

    def forward(self, pixel_values, labels=None):
        x = self.layer2(self.layer1(self.stem(pixel_values)))
        return ImageClassifierOutputWithNoAttention(logits=self.classifier(x.mean((2, 3))))


def own(**options):
    values = {"layer_path": "layer*.*", "heads": NO_UNITS, "neurons": inner_channels("conv1", "bn2", "conv2")}
    return Architecture(name="own", model_types=("own-convolutions",), **(values | options))


def test_a_network_of_ones_own_by_name_patterns(monkeypatch, tmp_path):
    monkeypatch.setattr(registry_module, "_KNOWN", dict(registry_module._KNOWN))
    register_architecture(own())
    torch.manual_seed(0)
    model = scramble(OwnNetwork(OwnConfig()))
    ticket = half(model)
    assert ticket.shape() == {"heads": [0, 0, 0], "neurons": [8, 8, 8]}
    close_gates(model, ticket)
    masked = logits(model)
    prune_(detach_gates(model), ticket)
    assert_same_outputs(logits(model), masked)
    model.save_pretrained(tmp_path)
    opened = load_pruned(tmp_path, OwnNetwork)
    assert_same_weights(opened, model)
    assert_same_outputs(logits(opened), logits(model))


SMALL = {"widths": (8, 16), "depths": (1, 1)}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("CifarResNet", {"depth": 8}),
        ("SmallImageResNet", SMALL),
        ("PreActResNet", SMALL),
        ("WideResNet", {"depth": 10, "widen_factor": 1}),
    ],
)
def test_models_of_small_images(tmp_path, name, options):
    config = getattr(vision, f"{name}Config")(num_labels=3, **options)
    torch.manual_seed(0)
    model = scramble(getattr(vision, f"{name}ForImageClassification")(config))
    ticket = half(model)
    close_gates(model, ticket)
    masked = logits(model)
    prune_(detach_gates(model), ticket)
    assert_same_outputs(logits(model), masked)
    save_pruned(model, tmp_path)
    opened = load_pruned(tmp_path)
    assert_same_weights(opened, model)
    assert_same_outputs(logits(opened), logits(model))


def test_descriptions_that_cannot_be_right():
    with pytest.raises(ConfigurationError, match=r"neurons\.output is ''"):
        own(neurons=NO_UNITS)
    with pytest.raises(ConfigurationError, match=r"heads\.output is 'conv9'"):
        own(heads=UnitGroup(output="conv9", cuts=()))


def test_a_random_ticket_of_equal_parameters_where_channels_weigh_differently():
    model = resnet()
    like = random_ticket(model, 0.0, 0.5, seed=7, round_to=1)
    found = random_ticket(model, like=like, match="parameters", seed=1)
    assert found.neuron_counts != like.neuron_counts
    dense, kept, other = (
        sum(p.numel() for p in net.parameters()) for net in (resnet(), prune_(resnet(), like), prune_(resnet(), found))
    )
    assert abs(kept - other) < 0.05 * (dense - kept)
