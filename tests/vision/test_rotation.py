"""Random rotations: where the pixels go, and what the angles depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.vision import (
    ImageTransform,
    RandomCropFlip,
    RandomRotation,
    prepare_images,
    small_image_processor,
)
from hf_robust_tickets.vision.augmentation import rotate
from tests.testing.vision_models import tiny_images

PROCESSOR = small_image_processor(8)


def noise(size: int = 9, channels: int = 3, count: int = 6) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.integers(1, 256, size=(size, size, channels), dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_a_quarter_turn_moves_every_pixel_against_the_clock(channels):
    image = noise(channels=channels)[0]
    assert np.array_equal(rotate(image, 90.0), np.rot90(image))
    assert np.array_equal(rotate(image, 0.0), image) and np.array_equal(rotate(image, 180.0), image[::-1, ::-1])


def test_a_small_turn_by_hand():
    """By 15 degrees against the clock, the place (x, y) from the centre, y down, shows what was at

    (x cos 15 - y sin 15, x sin 15 + y cos 15): of (4, 0) that is (3.86, 1.04), row 5 and column 8; of (-4, -4) it is
    (-2.83, -4.90), which is outside, and black.
    """
    image = noise()[0]
    turned = rotate(image, 15.0)
    assert np.array_equal(turned[4, 8], image[5, 8]) and np.array_equal(turned[4, 4], image[4, 4])
    assert turned[0, 0].tolist() == [0, 0, 0] and turned.shape == image.shape and turned.dtype == np.uint8


def test_angles_lie_within_the_degrees_and_follow_the_seed(monkeypatch):
    angles = []
    monkeypatch.setattr(
        "hf_robust_tickets.vision.augmentation.rotate", lambda image, angle: angles.append(angle) or image
    )
    images = noise(count=400)
    RandomRotation(15)(images)
    assert -15 <= min(angles) < -14 and 14 < max(angles) <= 15 and abs(np.mean(angles)) < 1.5
    first, angles[:] = list(angles), []
    RandomRotation(15)(images)
    again, angles[:] = list(angles), []
    RandomRotation(15, seed=1)(images)
    assert again == first and angles != first
    np.random.seed(3)
    expected = np.random.rand()
    np.random.seed(3)
    RandomRotation(15)(images)
    assert np.random.rand() == expected  # other random numbers are left alone


def test_no_degrees_change_nothing():
    images = noise()
    assert all(np.array_equal(*pair) for pair in zip(RandomRotation(0)(images), images, strict=True))


def test_crops_then_rotations_are_the_same_in_any_worker():
    steps = [RandomCropFlip(padding=2), RandomRotation(15)]
    data = prepare_images(tiny_images(), PROCESSOR, augment=steps)

    def batches(**options):
        return [batch["pixel_values"] for batch in DataLoader(data, batch_size=8, **options)]

    here = batches()
    assert all(torch.equal(*pair) for pair in zip(here, batches(num_workers=2), strict=True))
    one_by_one = prepare_images(tiny_images(), PROCESSOR, augment=lambda images: steps[1](steps[0](images)))
    assert torch.equal(here[0], one_by_one[range(8)]["pixel_values"])
    other = prepare_images(tiny_images(), PROCESSOR, augment=steps[:1])
    assert not torch.equal(here[0], other[range(8)]["pixel_values"])


@pytest.mark.parametrize(
    "wrong", [{"degrees": -1}, {"degrees": 181}, {"degrees": float("nan")}, {"seed": -1}], ids=str
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ConfigurationError, match=r"RandomRotation: expected .* got"):
        RandomRotation(**wrong)
    with pytest.raises(ConfigurationError, match="expected augmentations that take a list of arrays, got 15"):
        ImageTransform(PROCESSOR, augment=[RandomCropFlip(), 15])
