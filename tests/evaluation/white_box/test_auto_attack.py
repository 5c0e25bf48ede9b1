"""AutoAttack on a linear model, whose robust accuracy is known in closed form, and what else can go wrong."""

from __future__ import annotations

import json

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as Pillow
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel, ViTImageProcessor
from transformers.modeling_outputs import ImageClassifierOutput

from hf_robust_tickets import evaluate_white_box
from hf_robust_tickets.adversaries import PixelPGD
from hf_robust_tickets.errors import ConfigurationError, DataError
from hf_robust_tickets.evaluation import evaluate_auto_attack
from hf_robust_tickets.evaluation.white_box.images import image_rows
from hf_robust_tickets.vision import prepare_images
from tests.testing.pixels import MEAN, STD, normalise, tiny_convnet, tiny_images

pytest.importorskip("pyautoattack")
CLASSES, SIDE, RADIUS = 5, 6, 0.01
SHORT = {"queries": 20, "iterations": 10, "progress": False}


class Linear(PreTrainedModel):
    """Logits linear in normalised pixels."""

    config_class = PretrainedConfig
    main_input_name = "pixel_values"

    def __init__(self, config):
        super().__init__(config)
        self.head = nn.Linear(3 * SIDE * SIDE, config.num_labels)
        self.post_init()

    def _init_weights(self, module):
        return None

    def forward(self, pixel_values, labels=None):
        return ImageClassifierOutput(logits=self.head(pixel_values.flatten(1)))


def linear_model(classes=CLASSES):
    torch.manual_seed(0)
    return Linear(PretrainedConfig(num_labels=classes))


def linear_data(model, size=24):
    """Images far from 0 and 1, so that the box does not bound the ball; labelled by the model but for two."""
    generator = torch.Generator().manual_seed(1)
    x = normalise(0.2 + 0.6 * torch.rand(size, 3, SIDE, SIDE, generator=generator))
    labels = model(x).logits.argmax(1)
    labels[:2] = (labels[:2] + 1) % model.config.num_labels
    return Dataset.from_dict({"pixel_values": x.tolist(), "labels": labels.tolist()})


def analytic(model, data, radius, dual):
    """Which examples no perturbation in the ball can change: the margin against the dual norm of the slope."""
    x, y = torch.tensor(data["pixel_values"]), torch.tensor(data["labels"])
    slope = model.head.weight.reshape(-1, 3, SIDE, SIDE) / torch.tensor(STD).reshape(3, 1, 1)
    logits = model(x).logits
    margins = logits.gather(1, y[:, None]) - logits
    reach = radius * torch.linalg.vector_norm((slope[y][:, None] - slope[None]).flatten(2), ord=dual, dim=2)
    margins[torch.arange(len(y)), y] = 1.0
    reach[torch.arange(len(y)), y] = 0.0
    return (margins > reach).all(1)


SIZE = {"height": SIDE, "width": SIDE}
PROCESSOR = ViTImageProcessor(image_mean=list(MEAN), image_std=list(STD), do_resize=False, size=SIZE)


@pytest.mark.parametrize(("norm", "radius", "dual"), [("linf", RADIUS, 1), ("l2", 0.08, 2)])
def test_linear_model(norm, radius, dual):
    model = linear_model()
    data = linear_data(model)
    expected = analytic(model, data, radius, dual)
    assert 0.2 < expected.float().mean() < 0.8
    model.train()
    result = evaluate_auto_attack(
        model, data, PROCESSOR, radius=radius, norm=norm, batch_size=16, **(SHORT | {"iterations": 30})
    )
    assert result.clean_accuracy == pytest.approx(22 / 24)
    assert result.robust == tuple(expected.tolist())
    assert result.robust_accuracy == pytest.approx(float(expected.float().mean()))
    assert list(result.accuracy_after) == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert result.accuracy_after["square"] == result.robust_accuracy
    assert model.training and all(p.grad is None and p.requires_grad for p in model.parameters())
    pgd = PixelPGD(steps=21, step_size=radius / 8, max_norm=radius, init_magnitude=radius, norm=norm)
    white = evaluate_white_box(model, data, PROCESSOR, adversary=pgd, restarts=2, progress=False)
    # No attack can break more than what is breakable; PGD with a fixed step comes near.
    assert result.robust_accuracy <= white.robust_accuracy[radius] <= result.robust_accuracy + 0.1


def test_the_same_seed_gives_the_same_result(tmp_path):
    model, data = tiny_convnet(num_labels=4), tiny_images(6, classes=3)
    options = {"radius": 0.02, "seed": 3} | SHORT
    state = torch.random.get_rng_state()
    first, second = (evaluate_auto_attack(model, data, PROCESSOR, **options) for _ in range(2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert first.robust == second.robust and first.accuracy_after == second.accuracy_after
    assert any("not comparable" in warning for warning in first.warnings)
    first.save(tmp_path / "result.json")
    assert json.loads((tmp_path / "result.json").read_text())["seed"] == 3
    low, high = first.confidence_interval
    assert 0 <= low <= first.robust_accuracy <= high <= 1


def test_few_classes_leave_attacks_out():
    model = linear_model(classes=2)
    data = linear_data(model)
    expected = analytic(model, data, RADIUS / 2, 1)
    result = evaluate_auto_attack(model, data, PROCESSOR, radius=RADIUS / 2, **SHORT)
    assert list(result.accuracy_after) == ["apgd-ce", "fab-t", "square"]
    assert any("left out apgd-t" in warning for warning in result.warnings)
    assert result.robust == tuple(expected.tolist())


def image_data(mode="RGB"):
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(256, (6, SIDE, SIDE, 3), generator=generator, dtype=torch.uint8).cpu().numpy()
    images = [Pillow.fromarray(value).convert(mode) for value in values]
    features = Features({"img": Image(), "label": ClassLabel(names=[str(i) for i in range(CLASSES)])})
    return Dataset.from_dict({"img": images, "label": [0, 1, 2, 3, 4, 0]}, features=features)


def test_image_columns():
    model, data = linear_model(), image_data()
    rows = [
        {"pixel_values": PROCESSOR(row["img"], return_tensors="pt")["pixel_values"][0].tolist(), "label": row["label"]}
        for row in data
    ]
    for evaluate in (
        lambda given: evaluate_auto_attack(model, given, PROCESSOR, radius=0.01, **SHORT).robust,
        lambda given: evaluate_white_box(model, given, PROCESSOR, radii=[0.01], progress=False).robust_accuracy,
    ):
        assert evaluate(data) == evaluate(rows)
    with pytest.raises(
        DataError, match=r"expected images of mode 'RGB', got 'L': image.convert\('RGB'\) them, or set do_convert_rgb"
    ):
        evaluate_auto_attack(model, image_data("L"), PROCESSOR, progress=False)
    grey = image_data("L")
    converting = ViTImageProcessor.from_dict({**PROCESSOR.to_dict(), "do_convert_rgb": True})
    expected = PROCESSOR(grey[0]["img"].convert("RGB"), return_tensors="pt")["pixel_values"][0]
    assert torch.equal(image_rows(grey, converting, None, seed=0)[0]["pixel_values"], expected)
    one_mean = ViTImageProcessor.from_dict({**PROCESSOR.to_dict(), "image_mean": [0.5], "image_std": [0.2]})
    with pytest.raises(DataError, match="expected images of mode 'L', got 'RGB'"):
        image_rows(data, one_mean, None, seed=0)
    with pytest.raises(DataError, match="expected an image processor for the column 'img'"):
        evaluate_auto_attack(model, data, progress=False)


@pytest.mark.parametrize("label", ["label", "labels"])
def test_rows_of_a_data_set_with_a_transform(label):
    pictures = [Pillow.new("RGB", (SIDE, SIDE), (40 * i, 0, 0)) for i in range(4)]
    features = Features({"image": Image(), label: ClassLabel(names=["a", "b"])})
    data = Dataset.from_dict({"image": pictures, label: [0, 1, 1, 0]}, features)
    rows = image_rows(prepare_images(data, PROCESSOR), PROCESSOR, num_examples=None, seed=0)
    assert sorted(row["labels"] for row in rows) == [0, 0, 1, 1]
    assert all(row["pixel_values"].shape == (3, SIDE, SIDE) for row in rows)


def test_the_default_attack_on_images_is_pgd_20():
    model = linear_model()
    result = evaluate_white_box(model, linear_data(model), PROCESSOR, progress=False)
    assert result.adversary["name"] == "pixel-pgd" and result.adversary["steps"] == 21
    assert result.adversary["image_std"] == STD and list(result.robust_accuracy) == [8 / 255]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "l1"}, "expected norm in linf, l2"),
        ({"version": "rand"}, "version in standard, plus"),
        ({"radius": 0.0}, "expected radius > 0"),
        ({"queries": 0}, "iterations of at least 1, got 0"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ConfigurationError, match=message):
        evaluate_auto_attack(linear_model(), image_data(), PROCESSOR, **options)


def test_bad_data():
    model = linear_model()
    with pytest.raises(DataError, match="an empty data set"):
        evaluate_auto_attack(model, [], PROCESSOR)
    with pytest.raises(DataError, match=r"expected images in image, img"):
        evaluate_auto_attack(model, [{"text": "a", "label": 0}], PROCESSOR)
    data = [{"pixel_values": torch.zeros(3, SIDE, SIDE), "label": CLASSES}]
    with pytest.raises(DataError, match=r"class number in 0..4.*row 0, got 5"):
        evaluate_auto_attack(model, data, PROCESSOR, progress=False)
    data = [{"pixel_values": torch.full((3, SIDE, SIDE), 200.0), "label": 0}]
    with pytest.raises(DataError, match=r"expected pixels in \[0, 1\]"):
        evaluate_auto_attack(model, data, PROCESSOR, progress=False)


class Wrapped(torch.nn.Module):
    """A model whose logits go through a function that knows the input."""

    def __init__(self, change):
        super().__init__()
        self.inner, self.change = linear_model(), change
        self.config = self.inner.config

    def forward(self, pixel_values):
        output = self.inner(pixel_values=pixel_values)
        output.logits = self.change(output.logits, pixel_values)
        return output


def _noisy(logits, pixels):
    return logits + 0.1 * torch.randn_like(logits)


def _softmaxed(logits, pixels):
    return logits.softmax(dim=1)


def _cleansed(logits, pixels):
    """A defence that climbs a gradient of its own before it answers."""
    with torch.enable_grad():
        moved = pixels.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(moved.square().sum(), moved)
    return logits + 0 * gradient.sum()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_noisy, "the model is random"),
        (_softmaxed, "puts out probabilities"),
        (_cleansed, "depends on the input (its forward pass calls _make_grads, grad)"),
        (lambda logits, pixels: logits, None),
    ],
)
def test_models_that_autoattack_is_too_weak_for_are_noticed(change, says):
    result = evaluate_auto_attack(Wrapped(change).eval(), image_data(), PROCESSOR, radius=0.01, **SHORT)
    signs = ("random", "probabilities", "depends on the input")
    found = [warning for warning in result.warnings if any(sign in warning for sign in signs)]
    assert len(found) == (says is not None) and all(says in warning for warning in found)


def test_the_file_says_what_was_attacked_on_what(tmp_path):
    result = evaluate_auto_attack(linear_model(), image_data(), PROCESSOR, radius=0.01, num_examples=4, **SHORT)
    result.save(tmp_path / "auto_attack.json")
    written = json.loads((tmp_path / "auto_attack.json").read_text())
    assert written["sample_ids"] == list(result.sample_ids) and len(written["sample_ids"]) == 4
    assert written["model"]["sha256"] and written["settings"]["data"] == {"rows": 6}
    assert dict(zip(result.sample_ids, result.robust)) == result.answers["AutoAttack linf 0.01"]
