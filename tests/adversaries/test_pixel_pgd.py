"""PGD on pixels: the box of an image through the constants of its processor."""

from __future__ import annotations

import itertools

import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import TrainingArguments, ViTConfig, ViTForImageClassification, ViTImageProcessor

from hf_robust_tickets import AdversarialTrainer, evaluate_white_box
from hf_robust_tickets.adversaries import PixelHook, PixelPGD, get_adversary
from hf_robust_tickets.errors import ConfigurationError, DataError
from tests.testing.device import USE_CPU

MEAN, STD = (0.5, 0.4, 0.3), (0.5, 0.25, 0.2)


def normalise(pixels):
    return (pixels - torch.tensor(MEAN).reshape(3, 1, 1)) / torch.tensor(STD).reshape(3, 1, 1)


class Weighted(nn.Module):
    """A loss that is linear in the images."""

    def __init__(self, slope):
        super().__init__()
        self.slope = slope
        self.seen = None

    def forward(self, pixel_values):
        self.seen = pixel_values.detach().clone()
        return (pixel_values * self.slope).sum()


def attack(adversary, pixels, slope):
    """The images, in pixels, of each pass."""
    model = Weighted(slope)
    injector = PixelHook(model, adversary.box)
    x = normalise(pixels) if adversary.image_mean else pixels
    mask = torch.ones(x.shape[:2])
    delta, path = adversary.init(x, mask), []
    for _ in range(adversary.num_passes):
        delta = delta.detach().requires_grad_()
        with injector.armed(lambda clean: delta):  # noqa: B023
            model(pixel_values=x).backward()
        path.append(adversary.box.pixels(model.seen))
        delta = adversary.ascend(delta.detach(), delta.grad, mask)
    injector.remove()
    assert not model._forward_pre_hooks
    return path


def test_linf_steps_are_in_pixels_and_stay_in_the_box():
    pixels = torch.full((1, 3, 1, 2), 0.5)
    pixels[0, 0, 0, 0], pixels[0, 1, 0, 1] = 0.99, 0.02
    slope = torch.ones(1, 3, 1, 2)
    slope[0, 1] = -0.01
    adversary = PixelPGD(steps=4, step_size=0.02, max_norm=0.05, init_magnitude=0.0, image_mean=MEAN, image_std=STD)
    path = attack(adversary, pixels, slope)
    for k, length in enumerate([0.0, 0.02, 0.04, 0.05]):
        expected = pixels + length * slope.sign()
        torch.testing.assert_close(path[k], expected.clamp(0, 1), rtol=0, atol=1e-6)
    assert path[3][0, 0, 0, 0].item() == pytest.approx(1.0)
    assert path[3][0, 1, 0, 1].item() == pytest.approx(0.0, abs=1e-6)


def test_l2_ball_is_measured_in_pixels():
    pixels, slope = torch.full((2, 3, 2, 2), 0.45), torch.rand(2, 3, 2, 2)
    options = {"step_size": 0.1, "max_norm": 0.25, "init_magnitude": 0.0, "norm": "l2"}
    adversary = PixelPGD(steps=5, image_mean=MEAN, image_std=STD, **options)
    lengths = [float((image - pixels)[0].norm()) for image in attack(adversary, pixels, slope)]
    assert lengths == pytest.approx([0, 0.1, 0.2, 0.25, 0.25], abs=1e-5)


def test_a_pixel_at_the_border_comes_back():
    # Where a clamp inside the model would cut the gradient off, the pixel would stay at the border.
    adversary = PixelPGD(steps=2, step_size=0.01, max_norm=0.05, init_magnitude=0.0)
    x = torch.ones(1, 1, 1, 1)
    with_slope = attack(adversary, x, -torch.ones(1, 1, 1, 1))
    assert with_slope[1].item() == pytest.approx(0.99)


def test_random_start():
    torch.manual_seed(0)
    pixels = torch.rand(4, 3, 8, 8)
    start = attack(PixelPGD(image_mean=MEAN, image_std=STD), pixels, torch.ones(3, 1, 1))[0]
    assert 0.9 * 8 / 255 < (start - pixels).abs().max() <= 8 / 255 + 1e-6
    assert start.min() >= -1e-6 and start.max() <= 1 + 1e-6


def test_defaults_are_the_papers():
    assert PixelPGD() == get_adversary("pixel-pgd")
    assert (PixelPGD().max_norm, PixelPGD().step_size, PixelPGD().num_passes) == (8 / 255, 2 / 255, 11)


def test_constants_of_a_processor():
    processor = ViTImageProcessor(image_mean=list(MEAN), image_std=list(STD))
    adversary = PixelPGD.from_processor(processor, steps=3)
    assert (adversary.image_mean, adversary.image_std, adversary.steps) == (MEAN, STD, 3)
    assert PixelPGD().with_processor(processor).image_mean == MEAN
    assert PixelPGD().with_processor(None) == PixelPGD()
    assert PixelPGD.from_processor(ViTImageProcessor(do_normalize=False)).image_mean is None
    with pytest.raises(ConfigurationError, match="does not rescale pixels"):
        PixelPGD.from_processor(ViTImageProcessor(do_rescale=False))
    with pytest.raises(ConfigurationError, match="expected an image processor"):
        PixelPGD.from_processor(3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_mean": MEAN}, "image_mean and image_std together"),
        ({"image_mean": MEAN, "image_std": (1.0,)}, "one mean and one positive standard deviation per channel"),
        ({"image_mean": MEAN, "image_std": (1.0, 0.0, 1.0)}, "one positive standard deviation"),
        ({"image_mean": MEAN, "image_std": STD, "scope": "token"}, "around the whole image"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigurationError, match=message):
        PixelPGD(**options)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (255 * torch.rand(2, 3, 4, 4), r"expected pixels in \[0, 1\] once normalisation is undone, got"),
        (torch.randn(2, 3, 4, 4) * 9, r"expected pixels in \[0, 1\]"),
        (torch.rand(2, 3, 4, 4), "expected normalised images, got values in"),
        (torch.zeros(2, 1, 4, 4) - 1, "expected 3 channels, as many as image_mean, got 1: convert"),
        (torch.zeros(2, 3, 4), r"expected images \(batch, channels, height, width\)"),
        (torch.full((2, 3, 4, 4), float("nan")), r"expected pixels in \[0, 1\]"),
    ],
)
def test_images_that_are_none(images, message):
    with pytest.raises(DataError, match=message):
        PixelPGD(image_mean=MEAN, image_std=STD).box.check(images)


@pytest.mark.parametrize(
    "pixels",
    [
        torch.full((2, 3, 4, 4), 0.5),
        0.5 + 0.1 * torch.rand(2, 3, 4, 4),
        torch.tensor([128, 255]).repeat(2, 3, 4, 2) / 255,
    ],
    ids=["flat", "nearly flat", "two bright levels of 8 bits"],
)
def test_bright_images_inside_the_unit_interval_are_taken(pixels):
    x = normalise(pixels)
    box = PixelPGD(image_mean=(0.5, 0.5, 0.5), image_std=(0.5, 0.5, 0.5)).box
    box.check((pixels - 0.5) / 0.5)  # all of it lies in [0, 1]
    torch.testing.assert_close(PixelPGD(image_mean=MEAN, image_std=STD).box.pixels(x), pixels)


def test_8_bit_images_that_were_not_normalised():
    raw = torch.arange(256).reshape(1, 1, 16, 16).repeat(1, 3, 1, 1) / 255
    with pytest.raises(DataError, match="expected normalised images"):
        PixelPGD(image_mean=MEAN, image_std=STD).box.check(raw)


def tiny_vit():
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4,
        num_labels=2, initializer_range=0.5, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return ViTForImageClassification(config)


def images(size=16):
    pixels = torch.rand(size, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return Dataset.from_dict({"pixel_values": normalise(pixels).tolist(), "labels": [0, 1] * (size // 2)})


def test_inside_the_trainer(tmp_path):
    model, seen = tiny_vit(), []
    args = TrainingArguments(
        str(tmp_path), max_steps=2, per_device_train_batch_size=4, save_strategy="no", use_cpu=USE_CPU
    )
    processor = ViTImageProcessor(image_mean=list(MEAN), image_std=list(STD))
    trainer = AdversarialTrainer(
        model=model, args=args, train_dataset=images(), adversary=PixelPGD(steps=3), processing_class=processor
    )
    watch = model.vit.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append((args or (kwargs["pixel_values"],))[0].detach()), with_kwargs=True
    )
    trainer.train()
    watch.remove()
    assert trainer.cost_meter.passes == 6 and len(seen) == 6
    box = PixelPGD(image_mean=MEAN, image_std=STD).box
    for first in (0, 3):
        passes = [box.pixels(image) for image in seen[first : first + 3]]
        assert all(image.min() > -1e-5 and image.max() < 1 + 1e-5 for image in passes)
        moves = [float((later - earlier).abs().max()) for earlier, later in itertools.pairwise(passes)]
        assert moves == pytest.approx([2 / 255] * 2, abs=1e-5)
    assert not model._forward_pre_hooks


def test_wrong_images_stop_the_trainer(tmp_path):
    data = Dataset.from_dict({"pixel_values": torch.full((4, 3, 8, 8), 200.0).tolist(), "labels": [0, 1, 0, 1]})
    args = TrainingArguments(str(tmp_path), max_steps=1, save_strategy="no", use_cpu=USE_CPU)
    with pytest.raises(DataError, match=r"got \[200, 200\]"):
        AdversarialTrainer(model=tiny_vit(), args=args, train_dataset=data, adversary=PixelPGD()).train()


def test_white_box_evaluation_in_pixel_radii():
    model, data = tiny_vit().eval(), images()
    with torch.no_grad():
        right = model(torch.tensor(data["pixel_values"])).logits.argmax(1).tolist()
    data = [{"pixel_values": row["pixel_values"], "label": label} for row, label in zip(data, right)]
    adversary = PixelPGD(steps=6, image_mean=MEAN, image_std=STD)
    result = evaluate_white_box(model, data, adversary=adversary, radii=[1e-4, 0.5], progress=False)
    assert result.clean_accuracy == 1.0 and result.robust_accuracy[1e-4] > result.robust_accuracy[0.5]
    grey = [{"pixel_values": [image["pixel_values"][0]], "label": image["label"]} for image in data]
    with pytest.raises(DataError, match="expected 3 channels"):
        evaluate_white_box(model, grey, adversary=adversary, progress=False)
