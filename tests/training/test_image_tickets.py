"""Structured tickets on images: the search under attacks on pixels, and what is cut out of the model."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from transformers import (
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from hf_robust_tickets import (
    AdversarialTrainer,
    FlyingBird,
    RobustBird,
    RobustTicketArguments,
    RobustTicketTrainer,
    SparseTrainingCallback,
    attach_gates,
    load_pruned,
    prune_,
)
from hf_robust_tickets.adversaries import PixelPGD
from tests.testing.device import USE_CPU
from tests.testing.rounding import assert_same_outputs, assert_same_weights
from tests.testing.sparse_training import arguments

ATTACK = PixelPGD(steps=3, image_mean=(0.5, 0.5, 0.5), image_std=(0.5, 0.5, 0.5))


def vit():
    torch.manual_seed(0)
    config = ViTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24, image_size=16)
    config.patch_size, config.num_labels = 8, 3
    return ViTForImageClassification(config)


def resnet():
    torch.manual_seed(0)
    return ResNetForImageClassification(
        ResNetConfig(embedding_size=4, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3)
    )


def images(size: int = 32):
    pixels = torch.rand(size, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    data = Dataset.from_dict({"pixel_values": pixels.cpu().numpy(), "labels": [i % 3 for i in range(size)]})
    return data.with_format("torch")


MODELS = {"vit": vit, "resnet": resnet}


@pytest.mark.parametrize("name", MODELS)
def test_search_under_pixel_attacks_and_cut(tmp_path, name):
    options = {
        "adversary": "pixel-pgd",
        "adversary_steps": 3,
        "ticket_score": "gate",
        "gate_shadow": False,
        "search_epochs": 1.0,
        "ticket_interval": 0.25,
        "ticket_patience": 2,
        "ticket_tolerance": 0.9,
        "round_to": 1,
    }
    options |= {"head_sparsity": 0.25, "neuron_sparsity": 0.5, "num_train_epochs": 1, "save_strategy": "no"}
    processor = ViTImageProcessor(image_mean=[0.5, 0.5, 0.5], image_std=[0.5, 0.5, 0.5])
    args = RobustTicketArguments(
        str(tmp_path), per_device_train_batch_size=8, disable_tqdm=True, report_to="none", use_cpu=USE_CPU, **options
    )
    trainer = RobustTicketTrainer(model=MODELS[name](), args=args, train_dataset=images(), processing_class=processor)
    trainer.train()
    ticket = trainer.ticket
    assert trainer.search_log and ticket.neuron_sparsity == pytest.approx(0.5, abs=0.1)
    assert ticket.head_counts == [0, 0] if name == "resnet" else sum(ticket.head_counts) == 6
    trainer.save_model(str(tmp_path / "model"))
    pixels = images()[:4]["pixel_values"]
    with torch.no_grad():
        expected = trainer.model.eval()(pixel_values=pixels).logits
        opened = load_pruned(tmp_path / "model")
        assert_same_weights(opened, trainer.model)
        assert_same_outputs(opened(pixel_values=pixels).logits, expected)
        dense = MODELS[name]().eval()
        gates = attach_gates(dense)
        for gate, mask in zip((*gates.heads, *gates.neurons), (*ticket.heads, *ticket.neurons), strict=True):
            gate.copy_(mask.float())
        masked = dense(pixel_values=pixels).logits
        pruned = prune_(MODELS[name](), ticket).eval()
        assert_same_outputs(pruned(pixel_values=pixels).logits, masked)


@pytest.mark.parametrize("name", MODELS)
def test_masks_on_images(tmp_path, name):
    """Robust Bird's first stage is plain: one pass per step, where an attacked step has three."""
    passes = {}
    for method in (
        RobustBird(density=0.3, patience=2, tolerance=1.0, interval=0.5),
        FlyingBird(density=0.3, period=3),
    ):
        callback = SparseTrainingCallback(method)
        trainer = AdversarialTrainer(
            model=MODELS[name](),
            args=arguments(tmp_path),
            train_dataset=images(),
            adversary=ATTACK,
            callbacks=[callback],
        )
        trainer.train()
        parameters = dict(trainer.model.named_parameters())
        assert all(parameters[key].detach()[~mask].abs().max() == 0 for key, mask in callback.masks.items())
        passes[method.name] = trainer.cost_meter.passes
    assert passes == {"robust-bird": 4 + 8 * ATTACK.num_passes, "flying-bird": 12 * ATTACK.num_passes}
