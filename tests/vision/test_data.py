"""Image columns: decoding, augmentation, normalisation, and what is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, Value, concatenate_datasets
from PIL import Image as PillowImage
from torch.utils.data import DataLoader
from transformers import AutoImageProcessor, default_data_collator

from hf_robust_tickets.errors import ConfigurationError, DataError
from hf_robust_tickets.vision import ImageTransform, RandomCropFlip, prepare_images, small_image_processor
from tests.testing.vision_models import tiny_image_model, tiny_images

PROCESSOR = small_image_processor(8)


def picture(mode: str = "RGB", side: int = 8) -> PillowImage.Image:
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return PillowImage.fromarray(noise).convert(mode)


def encoded(image: PillowImage.Image, kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=kind)
    return stream.getvalue()


def of_bytes(*contents: bytes) -> Dataset:
    rows = {"image": [{"bytes": each, "path": f"{i}.jpg"} for i, each in enumerate(contents)]}
    rows["label"] = [0] * len(contents)
    return Dataset.from_dict(rows, Features({"image": Image(), "label": Value("int64")}))


def batches(dataset, **options):
    loader = DataLoader(dataset, batch_size=8, collate_fn=default_data_collator, **options)
    return [batch["pixel_values"] for batch in loader]


def test_pixels_are_the_image_processors():
    data = tiny_images(6)
    batch = prepare_images(data, PROCESSOR)[:]
    expected = PROCESSOR(data[:]["image"], return_tensors="pt")["pixel_values"]
    assert batch["pixel_values"].dtype == torch.float32
    assert torch.allclose(batch["pixel_values"], expected, atol=2e-6)
    assert batch["labels"].tolist() == [0, 1, 2, 0, 1, 2]
    assert prepare_images(data, PROCESSOR)[4]["labels"] == 1


@pytest.mark.parametrize("options", [{"do_resize": True}, {"do_normalize": False}], ids=str)
def test_other_steps_of_the_processor(options):
    processor = small_image_processor(12 if "do_resize" in options else 8, **options)
    data = tiny_images(3)
    expected = processor(data[:]["image"], return_tensors="pt")["pixel_values"]
    assert torch.allclose(prepare_images(data, processor)[:]["pixel_values"], expected, atol=2e-6)


def test_processor_opens_again_beside_a_model(tmp_path):
    PROCESSOR.save_pretrained(tmp_path)
    tiny_image_model("vgg_bn").save_pretrained(tmp_path)
    again = AutoImageProcessor.from_pretrained(tmp_path)
    assert (again.size["height"], again.do_resize, tuple(again.image_std)) == (8, False, tuple(PROCESSOR.image_std))


def test_crop_and_flip_on_one_image():
    image = np.arange(27, dtype=np.uint8).reshape(3, 3, 3) + 1
    seen = set()
    for seed in range(200):
        (changed,) = RandomCropFlip(padding=1, seed=seed)([image])
        upright = [changed, changed[:, ::-1]]
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
        places = [
            (top, left, mirrored)
            for mirrored, version in enumerate(upright)
            for top in range(3)
            for left in range(3)
            if np.array_equal(padded[top : top + 3, left : left + 3], version)
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == 18  # every corner, mirrored or not


def test_no_padding_and_no_flip_change_nothing():
    images = list(np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8))
    for before, after in zip(images, RandomCropFlip(padding=0, flip=0.0)(images), strict=True):
        assert np.array_equal(before, after)
    for before, after in zip(images, RandomCropFlip(padding=0, flip=1.0)(images), strict=True):
        assert np.array_equal(before[:, ::-1], after)
        assert torch.from_numpy(after).shape == (5, 6, 3)  # which an array that runs backwards cannot become


def test_crops_are_the_same_in_worker_processes_and_leave_other_random_numbers_alone():
    data = prepare_images(tiny_images(), PROCESSOR, augment=RandomCropFlip(padding=2))
    here = batches(data)
    assert torch.equal(here[1], data[range(8, 16)]["pixel_values"])  # a batch at once, not image by image
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    assert all(torch.equal(*pair) for pair in zip(here, batches(data, num_workers=2), strict=True))
    torch.manual_seed(5)
    batches(data, generator=torch.Generator())
    assert torch.equal(torch.rand(1), expected)


def test_another_order_or_seed_makes_other_crops():
    plain, seeded = tiny_images(), RandomCropFlip(padding=2, seed=1)
    data = prepare_images(plain, PROCESSOR, augment=RandomCropFlip(padding=2))
    first = data[[0, 1, 2, 3]]["pixel_values"]
    assert not torch.equal(data[[3, 2, 1, 0]]["pixel_values"].flip(0), first)
    assert not torch.equal(prepare_images(plain, PROCESSOR, augment=seeded)[[0, 1, 2, 3]]["pixel_values"], first)


@pytest.mark.parametrize("wrong", [{"padding": -1}, {"flip": 1.5}, {"seed": -1}], ids=str)
def test_augmentation_refuses_nonsense(wrong):
    with pytest.raises(ConfigurationError, match=r"RandomCropFlip: expected .* got"):
        RandomCropFlip(**wrong)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK"])
def test_images_of_another_mode_are_refused_or_converted(mode):
    data = of_bytes(encoded(picture()), encoded(picture(mode), "TIFF"))
    with pytest.raises(DataError, match=f"mode 'RGB', got '{mode}' in 1.jpg: set do_convert_rgb=True"):
        prepare_images(data, PROCESSOR)[:]
    converted = prepare_images(data, small_image_processor(8, do_convert_rgb=True))[:]["pixel_values"]
    assert converted.shape == (2, 3, 8, 8)


def test_greyscale_pipeline():
    processor = small_image_processor(8, image_mean=[0.5], image_std=[0.25])
    pixels = prepare_images(of_bytes(encoded(picture("L"))), processor)[:]["pixel_values"]
    expected = (np.asarray(PillowImage.open(io.BytesIO(encoded(picture("L"))))) / 255 - 0.5) / 0.25
    assert np.allclose(pixels[0, 0], expected, atol=1e-6)
    with pytest.raises(DataError, match=r"expected greyscale images .mode 'L'., got 'RGB'"):
        prepare_images(of_bytes(encoded(picture())), processor)[:]


def test_images_of_another_size_are_refused_or_resized():
    data = of_bytes(encoded(picture()), encoded(picture(side=16)))
    with pytest.raises(DataError, match=r"expected images of 8 x 8 pixels, got 16 x 16 in 1.jpg: set do_resize=True"):
        prepare_images(data, PROCESSOR)[:]
    resized = prepare_images(data, small_image_processor(8, do_resize=True), augment=RandomCropFlip())[:]
    assert resized["pixel_values"].shape == (2, 3, 8, 8)


@pytest.mark.parametrize("damage", [lambda jpeg: jpeg[: len(jpeg) // 2], lambda jpeg: b"no image", lambda jpeg: b""])
def test_damaged_files_are_named(damage):
    data = prepare_images(of_bytes(encoded(picture()), damage(encoded(picture()))), PROCESSOR)
    with pytest.raises(DataError, match=r"expected an image that Pillow can read, got 1.jpg: .*repair the file"):
        data[:]


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (np.zeros((8, 8, 3), dtype=np.float32), "expected uint8 pixels .* got float32"),
        (np.zeros((3, 8, 8), dtype=np.uint8), "expected 3 channels .RGB., got 8"),
        (np.zeros((8, 8), dtype=np.uint8), "expected 3 channels .RGB., got 1"),
    ],
)
def test_arrays_that_are_no_images_are_refused(pixels, says):
    with pytest.raises(DataError, match=says):
        ImageTransform(PROCESSOR, label_column=None)({"image": [pixels]})


@pytest.mark.parametrize("label", [3, -1])
def test_labels_beyond_the_models_are_refused(label):
    transform = ImageTransform(PROCESSOR, num_labels=3)
    with pytest.raises(DataError, match=f"expected labels from 0 to 2, as the model has 3 classes, got {label}"):
        transform({"image": [picture()] * 2, "label": [0, label]})


def test_columns_that_are_missing_or_ambiguous():
    data = tiny_images(2)
    other = data.rename_column("image", "other").remove_columns("label")
    with pytest.raises(
        DataError, match=r"expected the column 'image', got .'label'.: set remove_unused_columns=False"
    ):
        prepare_images(data, PROCESSOR).remove_columns("image")[:]
    with pytest.raises(DataError, match=r"one column of the feature Image, got \['image', 'other'\].* image_column"):
        prepare_images(concatenate_datasets([data, other], axis=1), PROCESSOR)
    with pytest.raises(DataError, match="one column of the feature Image, got none"):
        prepare_images(data.remove_columns("image"), PROCESSOR)
    with pytest.raises(DataError, match="expected the column 'fine', got"):
        prepare_images(data, PROCESSOR, label_column="fine")
    with pytest.raises(DataError, match=r"expected a datasets.Dataset with features, got list"):
        prepare_images([1], PROCESSOR)
    renamed = data.rename_column("label", "fine_label").rename_column("image", "img")
    assert prepare_images(renamed, PROCESSOR)[:]["labels"].tolist() == [0, 1]
    assert set(prepare_images(data.remove_columns("label"), PROCESSOR)[:]) == {"pixel_values"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"num_labels": 2}, "expected at most 2 classes, as the model has, got 3"),
        ({"image_size": 16}, "the model's 16 x 16 pixels, got 8 x 8"),
        ({"num_channels": 2}, "expected 2 means, one per channel of the model"),
        ({"id2label": {0: "class 1", 1: "class 0", 2: "class 2"}}, "in the model's order .* remap the labels"),
    ],
    ids=str,
)
def test_a_model_that_does_not_fit_the_data_is_refused(options, says):
    options = {"num_labels": 3, **options} if "id2label" not in options else {"num_labels": None, **options}
    options = {name: value for name, value in options.items() if value is not None}
    kind = type(tiny_image_model("vgg_bn"))
    model = kind(kind.config_class(**({"image_size": 8, "widths": [4], "depths": [1]} | options)))
    with pytest.raises(DataError, match=says):
        prepare_images(tiny_images(3), PROCESSOR, model=model)


def test_a_tokenizer_is_no_image_processor():
    with pytest.raises(
        ConfigurationError, match="expected an image processor with image_mean and image_std, got dict"
    ):
        ImageTransform({})
