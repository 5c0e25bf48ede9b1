"""What holds for every family of classifiers of small images."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModelForImageClassification

from hf_robust_tickets import vision
from hf_robust_tickets._compat import loss_uses_num_items_in_batch
from tests.testing.rounding import assert_same_outputs, assert_same_weights
from tests.testing.vision_models import FAMILIES, tiny_image_model

IMAGES = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 2, 1])
every_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.mark.parametrize(
    ("kind", "options", "parameters"),
    [
        # The counts that the releases on CIFAR-10 have.
        (vision.SmallImageResNetForImageClassification, {}, 11_173_962),
        (vision.SmallImageResNetForImageClassification, {"depths": [3, 4, 6, 3]}, 21_282_122),
        (vision.PreActResNetForImageClassification, {}, 11_172_170),
        (vision.VGGForImageClassification, {}, 14_728_266),
        (vision.WideResNetForImageClassification, {}, 46_160_474),
        (vision.WideResNetForImageClassification, {"depth": 28}, 36_479_194),
    ],
)
def test_published_parameter_counts(kind, options, parameters):
    with torch.device("meta"):
        model = kind(kind.config_class(num_labels=10, **options))
    assert model.num_parameters() == parameters


@pytest.mark.parametrize("classes", [100, 200])
@every_family
def test_other_classes_and_64_pixels_change_the_head_alone(family, classes):
    small = tiny_image_model(family, image_size=32, num_labels=10)
    large = tiny_image_model(family, image_size=64, num_labels=classes).eval()
    width = large.classifier.in_features
    assert large.num_parameters() - small.num_parameters() == (classes - 10) * (width + 1)
    with torch.no_grad():
        assert large(torch.randn(1, 3, 64, 64)).logits.shape == (1, classes)


@every_family
def test_loss_is_the_mean_cross_entropy_and_divides_by_the_items_it_is_told(family):
    model = tiny_image_model(family).eval()
    output = model(IMAGES, labels=LABELS)
    expected = nn.functional.cross_entropy(output.logits, LABELS)
    assert torch.allclose(output.loss, expected)
    assert torch.allclose(model(IMAGES, labels=LABELS, num_items_in_batch=12).loss, expected * 3 / 12)
    assert loss_uses_num_items_in_batch(model)
    assert not loss_uses_num_items_in_batch(tiny_image_model(family, num_labels=1))  # a regression takes the mean


@every_family
def test_every_parameter_gets_a_gradient_and_every_stage_is_given_back(family):
    model = tiny_image_model(family)
    output = model(IMAGES, labels=LABELS, output_hidden_states=True)
    output.loss.backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    widths = [each.shape[1] for each in output.hidden_states]
    assert widths == list(model.config.widths)
    sizes = [each.shape[2] for each in output.hidden_states]
    assert sizes == {2: [8, 4 if family != "vgg_bn" else 2], 3: [8, 4, 2]}[len(sizes)]
    loss, logits = model(IMAGES, labels=LABELS, return_dict=False)
    assert logits.shape == (3, 3) and loss.ndim == 0


@every_family
def test_fresh_weights_keep_the_size_of_the_signal(family):
    model = tiny_image_model(family)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 200]
    for module in convolutions:
        fan_out = module.out_channels * module.kernel_size[0] ** 2
        assert float(module.weight.detach().std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.25)
    assert all(m.weight.eq(1).all() and m.bias.eq(0).all() for m in model.modules() if isinstance(m, nn.BatchNorm2d))


@every_family
def test_saving_and_opening_changes_nothing(family, tmp_path):
    model = tiny_image_model(family)
    model(IMAGES)  # moves the statistics of the norms
    model.eval().save_pretrained(tmp_path)
    again = AutoModelForImageClassification.from_pretrained(tmp_path)
    assert type(again) is type(model) and again.config.model_type == family
    assert_same_weights(again, model)
    assert_same_outputs(again(IMAGES).logits, model(IMAGES).logits)
    half = AutoModelForImageClassification.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half(IMAGES.bfloat16()).logits.dtype == torch.bfloat16


@pytest.mark.parametrize("wrong", [(3, 8, 8), (2, 1, 8, 8), (2, 3, 16, 16), (2, 3, 8, 9)], ids=str)
@every_family
def test_images_of_another_shape_are_refused(family, wrong):
    with pytest.raises(
        ValueError, match=r"expected pixel_values of shape \(batch, 3, 8, 8\), got \(.*image processor"
    ):
        tiny_image_model(family)(torch.zeros(wrong))


@every_family
def test_greyscale_models(family):
    model = tiny_image_model(family, num_channels=1).eval()
    assert model(torch.randn(2, 1, 8, 8)).logits.shape == (2, 3)


@pytest.mark.parametrize(
    ("kind", "wrong", "says"),
    [
        (vision.SmallImageResNetConfig, {"widths": [4, 8]}, "one width and one depth per stage"),
        (vision.PreActResNetConfig, {"depths": [1, 0, 1, 1]}, "positive whole numbers for depths"),
        (vision.VGGConfig, {"image_size": 16}, "5 poolings need images of 32 pixels"),
        (vision.WideResNetConfig, {"depth": 30}, "a depth of 6n \\+ 4"),
        (vision.WideResNetConfig, {"widen_factor": 0}, "positive whole numbers for widen_factor"),
    ],
)
def test_configurations_refuse_what_is_no_network(kind, wrong, says):
    with pytest.raises(ValueError, match=f"{kind.__name__}: .*{says}"):
        kind(**wrong)


_ELSEWHERE = """
import json, pathlib, sys
sys.modules["hf_robust_tickets"] = None
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification
root = pathlib.Path(sys.argv[1])
images, kinds = load_file(root / "images.st")["images"], {}
for folder in sorted(path for path in root.iterdir() if path.is_dir()):
    model = AutoModelForImageClassification.from_pretrained(folder, trust_remote_code=True)
    with torch.no_grad():
        save_file({"logits": model(images).logits}, folder / "logits.st")
    kinds[folder.name] = type(model).__name__
print(json.dumps(kinds))
"""


def test_checkpoints_open_where_this_package_is_absent(tmp_path):
    models = {family: tiny_image_model(family).eval() for family in FAMILIES}
    root = tmp_path / "models"
    for family, model in models.items():
        model.save_pretrained(root / family)
        assert {"AutoConfig", "AutoModelForImageClassification"} == set(
            AutoConfig.from_pretrained(root / family).auto_map
        )
    save_file({"images": IMAGES}, root / "images.st")
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, str(root)],
        env={**variables, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {name: type(model).__name__ for name, model in models.items()}
    for family, model in models.items():
        assert_same_outputs(load_file(root / family / "logits.st")["logits"], model(IMAGES).logits)
