"""Which weights are masked, what holds them at zero, and how masks are written."""

from __future__ import annotations

import base64
import json
import os
import tracemalloc
import zlib

import pytest
import torch
from torch import nn
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from hf_robust_tickets.errors import CheckpointError, ConfigurationError, TicketError
from hf_robust_tickets.sparse import MaskedWeights, load_masks, mask_difference, save_masks, select_weights
from hf_robust_tickets.sparse.packing import (
    fingerprint_of_masks,
    masks_from_json,
    masks_from_json_beside,
    masks_to_json,
    masks_to_json_beside,
)
from tests.testing.sparse_models import TwoLayers
from tests.testing.tiny import tiny_bert


def test_encoder_weights_without_embeddings_norms_biases_and_head():
    chosen = select_weights(tiny_bert())
    assert len(chosen) == 13  # 2 layers of 6, and the pooler
    assert all(name.endswith(".weight") and weight.dim() == 2 for name, weight in chosen.items())
    assert not any("embeddings" in name or "LayerNorm" in name or "classifier" in name for name in chosen)


def test_other_kinds_of_layers():
    gpt2 = GPT2ForSequenceClassification(GPT2Config(vocab_size=30, n_embd=16, n_layer=1, n_head=2, n_positions=16))
    assert {name.split(".h.0.")[1] for name in select_weights(gpt2)} == {
        "attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"
    }  # fmt: skip
    resnet = ResNetForImageClassification(ResNetConfig(embedding_size=4, hidden_sizes=[8], depths=[1]))
    chosen = select_weights(resnet)
    assert all(weight.dim() == 4 for weight in chosen.values()) and len(chosen) == 5  # the stem too
    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8)
    config.patch_size = 4
    vit = ViTForImageClassification(config)
    assert len(select_weights(vit)) == 6  # the patch embedding is left out


def test_patterns():
    model = tiny_bert(num_hidden_layers=11)
    assert len(select_weights(model, include="layer.1")) == 6  # not those of layer 10
    assert len(select_weights(model, include=["*.query.weight"], exclude="layer.0")) == 10
    assert list(select_weights(model, include="classifier")) == ["classifier.weight"]
    assert "bert.pooler.dense.weight" not in select_weights(model, exclude=["*pooler*"])


def test_frozen_weights_are_left_out():
    model = TwoLayers()
    model.first.weight.requires_grad_(False)
    assert list(select_weights(model)) == ["second.weight"]


def test_patterns_that_match_nothing():
    with pytest.raises(ConfigurationError, match=r"the pattern '\*convolution\*' of include matches none of 14"):
        select_weights(tiny_bert(), include=["*convolution*"])
    with pytest.raises(ConfigurationError, match=r"the pattern 'layer\.7' of exclude matches none"):
        select_weights(tiny_bert(), exclude=["layer.7"])
    with pytest.raises(ConfigurationError, match="no weight is left to mask in TwoLayers"):
        select_weights(TwoLayers(), exclude=["*"])


def masked(model):
    layers = MaskedWeights(select_weights(model))
    generator = torch.Generator().manual_seed(1)
    masks = {name: torch.rand(w.shape, generator=generator) < 0.5 for name, w in layers.weights.items()}
    layers.set_masks(masks)
    return layers, masks


def test_gradients_of_masked_weights_are_zeroed_as_they_accumulate():
    model = TwoLayers()
    layers, masks = masked(model)
    layers.zero_weights()
    batch = {"x": torch.randn(4, 6), "labels": torch.tensor([0, 1, 2, 0])}
    layers.hold_gradients()
    for _ in range(2):
        model(**batch)["loss"].backward()
    held = {name: weight.grad.clone() for name, weight in layers.weights.items()}
    layers.release_gradients()
    model.zero_grad()
    for _ in range(2):
        model(**batch)["loss"].backward()
    for name, weight in layers.weights.items():
        assert weight.grad[~masks[name]].abs().max() > 0
        torch.testing.assert_close(held[name], weight.grad * masks[name], rtol=0, atol=0)
    assert not any(weight._post_accumulate_grad_hooks for weight in layers.weights.values())


def test_weights_and_state_are_zeroed():
    model = TwoLayers()
    layers, masks = masked(model)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 6), torch.tensor([0, 1, 2, 0]))["loss"].backward()
    optimizer.step()
    layers.zero_weights()
    layers.zero_state(optimizer)
    for name, weight in layers.weights.items():
        for value in (weight.detach(), optimizer.state[weight]["exp_avg"], optimizer.state[weight]["exp_avg_sq"]):
            assert value[~masks[name]].abs().max() == 0 and value[masks[name]].abs().max() > 0
        assert optimizer.state[weight]["step"] == 1
    assert layers.density == sum(int(m.sum()) for m in masks.values()) / 72


def test_masks_of_another_model():
    layers = MaskedWeights(select_weights(TwoLayers()))
    with pytest.raises(
        TicketError, match=r"the masks are for another model or other patterns.*missing \['second.weight'\]"
    ):
        layers.set_masks({"first.weight": torch.ones(8, 6, dtype=torch.bool)})
    wide = {name: torch.ones(w.shape, dtype=torch.bool) for name, w in select_weights(TwoLayers(hidden=9)).items()}
    with pytest.raises(
        TicketError, match=r"mask of first.weight is for another model: expected .* \(8, 6\), got .* \(9, 6\)"
    ):
        layers.set_masks(wide)
    numbers = {name: torch.ones_like(w) for name, w in layers.weights.items()}
    with pytest.raises(TicketError, match="expected a BoolTensor"):
        layers.set_masks(numbers)


def test_difference():
    first = {"a": torch.tensor([True, False, True]), "b": torch.tensor([True])}
    second = {"a": torch.tensor([False, False, True]), "b": torch.tensor([True])}
    assert mask_difference(first, second) == 0.25


def big_masks(density: float):
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": (300, 401), "b": (64, 32, 3, 3)}
    return {name: torch.rand(shape, generator=generator) < density for name, shape in shapes.items()}


def test_a_bit_per_weight_in_files(tmp_path):
    masks = big_masks(0.5)
    save_masks(masks, tmp_path / "masks.safetensors")
    entries = sum(mask.numel() for mask in masks.values())
    assert os.path.getsize(tmp_path / "masks.safetensors") < entries / 8 + 500
    loaded = load_masks(tmp_path / "masks.safetensors")
    assert all(torch.equal(loaded[name], mask) for name, mask in masks.items())
    assert [path.name for path in tmp_path.iterdir()] == ["masks.safetensors"]


@pytest.mark.parametrize("density", [0.02, 0.1, 0.2])
def test_less_than_a_bit_per_weight_in_checkpoints(density):
    masks = big_masks(density)
    packed = masks_to_json(masks)
    assert sum(len(item["bits"]) for item in packed.values()) * 8 < sum(mask.numel() for mask in masks.values())
    assert all(torch.equal(mask, masks[name]) for name, mask in masks_from_json(packed).items())


@pytest.mark.parametrize("density", [0.05, 0.2, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("grown", [0.0, 0.5])
def test_at_most_a_bit_per_weight_beside_the_weights(density, grown):
    """At any density, even when half of what is kept has just grown and is zero."""
    masks = big_masks(density)
    generator = torch.Generator().manual_seed(1)
    weights = {n: torch.randn(m.shape, generator=generator) * m for n, m in masks.items()}
    weights = {n: w * (torch.rand(w.shape, generator=generator) >= grown) for n, w in weights.items()}
    saved = json.loads(json.dumps(masks_to_json_beside(masks, weights)))
    size, entries = len(json.dumps(saved)), sum(mask.numel() for mask in masks.values())
    assert size * 8 < entries * (1.0 if grown else 0.2)
    again = masks_from_json_beside(saved, weights)
    assert all(torch.equal(again[name], mask) for name, mask in masks.items())


def test_masks_beside_other_weights():
    masks = big_masks(0.5)
    weights = {name: torch.randn(mask.shape) * mask for name, mask in masks.items()}
    saved = masks_to_json_beside(masks, weights)
    other = {**weights, "a": weights["a"].roll(1)}
    with pytest.raises(CheckpointError, match=r"belong to the weights of the checkpoint, got others \(a has another"):
        masks_from_json_beside(saved, other)
    with pytest.raises(CheckpointError, match=r"got others \(expected .* bytes"):
        masks_from_json_beside(saved, {**weights, "a": weights["a"] * 0})
    with pytest.raises(TicketError, match="mask of a is for another model"):
        masks_from_json_beside(saved, {**weights, "a": weights["a"][:5]})


def test_fingerprints():
    masks = big_masks(0.5)
    assert fingerprint_of_masks(masks) == fingerprint_of_masks(big_masks(0.5))
    masks["a"][0, 0] ^= True
    assert fingerprint_of_masks(masks) != fingerprint_of_masks(big_masks(0.5))


def test_damaged_masks(tmp_path):
    packed = masks_to_json(big_masks(0.1))
    packed["a"]["bits"] = packed["a"]["bits"][:40]
    with pytest.raises(CheckpointError, match="damaged"):
        masks_from_json(packed)
    (tmp_path / "cut").write_bytes(b"\x10\x00")
    with pytest.raises(CheckpointError, match="expected a file written by save_masks"):
        load_masks(tmp_path / "cut")
    with pytest.raises(ConfigurationError, match="which is not there"):
        load_masks(tmp_path / "absent")


def test_a_bomb_is_not_unpacked():
    bomb = base64.b64encode(zlib.compress(bytes(200_000_000), 9)).decode()  # 194 kB
    weights = {"a": torch.zeros(8, 100)}
    tracemalloc.start()
    for shape in ([8, 100], [40_000, 40_000], [2**40, 2**40]):
        with pytest.raises(CheckpointError, match="damaged"):
            masks_from_json({"a": {"shape": shape, "bits": bomb}})
    with pytest.raises(CheckpointError, match="got others"):
        masks_from_json_beside({"a": {"shape": [8, 100], "kept_zeros": bomb, "checksum": 0}}, weights)
    for shape in ([2**20, 2**20], [2**40, 2**40], [-1], "ab", None, [1.5]):
        with pytest.raises((CheckpointError, TicketError)):
            masks_from_json_beside({"b": {"shape": shape, "kept_zeros": "", "checksum": 0}}, weights)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_shared_weights_are_masked_once():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    assert list(select_weights(model)) == ["0.weight"]
