"""N:M patterns, and the compressed form of 2:4."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hf_robust_tickets.errors import ConfigurationError, SparsityError, TicketError
from hf_robust_tickets.sparse import (
    SNIP,
    FlyingBird,
    FlyingBirdPlus,
    OneShotMagnitude,
    Pattern,
    RandomMask,
    RobustBird,
    follows_pattern,
    pattern_masks,
    to_semi_structured_,
)

CUDA = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)


def test_by_hand():
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0, 1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0, 0.0, 5.0, 0.0, -1.0]])
    mask = pattern_masks({"w": scores}, Pattern(2, 4))["w"]
    assert mask.long().tolist() == [[1, 1, 0, 0, 0, 0, 1, 1], [1, 1, 0, 0, 1, 1, 0, 0]]
    assert pattern_masks({"w": scores}, Pattern(1, 2))["w"].long().tolist()[0] == [1, 0, 1, 0, 0, 1, 0, 1]


def test_convolutions_have_groups_of_input_channels():
    mask = pattern_masks({"w": torch.rand(6, 8, 3, 3)}, Pattern(2, 4))["w"]
    assert mask.shape == (6, 8, 3, 3) and mask.is_contiguous()
    assert (mask[:, :4].sum(1) == 2).all() and (mask[:, 4:].sum(1) == 2).all()
    assert follows_pattern(torch.rand(6, 8, 3, 3) * mask, Pattern(2, 4))
    assert not follows_pattern(torch.rand(6, 8, 3, 3), Pattern(2, 4))
    assert not follows_pattern(torch.zeros(6, 6), Pattern(2, 4))


WEIGHTS = {"a": torch.randn(12, 16, generator=torch.Generator().manual_seed(0)), "b": torch.randn(8, 8, 3, 3)}
DRAWN = {
    "random": lambda: RandomMask("2:4").initial_masks(WEIGHTS, 0),
    "magnitude": lambda: OneShotMagnitude("2:4").initial_masks(WEIGHTS, 0),
    "snip": lambda: SNIP("2:4").masks_from_scores(SNIP().score(WEIGHTS, WEIGHTS)),
    "robust-bird": lambda: RobustBird("2:4").draw(WEIGHTS),
    "flying-bird": lambda: FlyingBird("2:4").initial_masks(WEIGHTS, 0),
}


@pytest.mark.parametrize("name", DRAWN)
def test_every_method_draws_it(name):
    for key, mask in DRAWN[name]().items():
        assert int(mask.sum()) * 2 == mask.numel() and follows_pattern(mask.float(), Pattern(2, 4)), key


@pytest.mark.parametrize("growth", ["gradient", "random"])
def test_flying_bird_moves_within_it(growth):
    method = FlyingBird("2:4", growth=growth)
    mask = method.initial_masks(WEIGHTS, 0)["a"]
    update = method.update_layer(WEIGHTS["a"] * mask, mask, torch.randn(12, 16), 0.25, seed=(0, 1, 0))
    assert update.survivors.sum() == 96 - 24 and update.mask.sum() == 96
    assert follows_pattern(update.mask.float(), Pattern(2, 4)) and not torch.equal(update.mask, mask)
    assert torch.equal(update.mask & update.survivors, update.survivors)


def test_growth_in_a_group_by_hand():
    weight, mask = torch.tensor([[0.1, 0.9, 0.0, 0.0]]), torch.tensor([[True, True, False, False]])
    survivors, grown = FlyingBird("2:4").update_layer(weight, mask, torch.tensor([[1.0, 9.0, 2.0, 3.0]]), 0.5)
    assert survivors.tolist() == [[False, True, False, False]] and grown.tolist() == [[False, True, False, True]]


@pytest.mark.parametrize("density", ["4:4", "0:4", "5:4", "2:", "a:b", "-1:4"])
def test_patterns_that_are_none(density):
    with pytest.raises(SparsityError, match="or a pattern N:M with 0 < N < M, got"):
        RandomMask(density)


def test_what_else_cannot_work():
    with pytest.raises(SparsityError, match="2:4 needs a multiple of 4 inputs, got 3 in stem: exclude"):
        RandomMask("2:4").initial_masks({"stem": torch.zeros(8, 3, 7, 7)}, 0)
    with pytest.raises(ConfigurationError, match="FlyingBirdPlus: density must be a fraction"):
        FlyingBirdPlus("2:4")


def network(density: str = "2:4") -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 64))
    weights = {name: p for name, p in model.named_parameters() if p.dim() == 2}
    with torch.no_grad():
        for name, mask in OneShotMagnitude(density).initial_masks(weights, 0).items():
            weights[name].mul_(mask)
    return model


def test_compression_is_refused_off_cuda_and_not_even_tried(monkeypatch):
    called = []
    monkeypatch.setattr(torch.sparse, "to_sparse_semi_structured", called.append)
    model = network()
    kind = type(model[0].weight)
    with pytest.raises(ConfigurationError, match=r"expected 0\.weight on a CUDA device of compute capability 8\.0"):
        to_semi_structured_(model)
    assert not called and type(model[0].weight) is kind


@pytest.mark.skipif(not CUDA, reason="needs a CUDA device of compute capability 8.0")
def test_compressed_weights_give_the_same_result():
    model, x = network().to("cuda", torch.float16), torch.randn(64, 128, device="cuda", dtype=torch.float16)
    expected = model(x)
    assert to_semi_structured_(model) == ["0.weight", "2.weight"]
    torch.testing.assert_close(model(x), expected, rtol=1e-2, atol=1e-2)
    with pytest.raises(ConfigurationError, match="in float16 or bfloat16"):
        to_semi_structured_(network().cuda())
    with pytest.raises(TicketError, match="expected at most 2 of 4 neighbours"):
        to_semi_structured_(network("3:4").to("cuda", torch.float16))


def test_nothing_to_compress():
    with pytest.raises(ConfigurationError, match=r"expected weights of nn\.Linear to compress, got none"):
        to_semi_structured_(nn.Sequential(nn.Conv2d(4, 4, 3)))
