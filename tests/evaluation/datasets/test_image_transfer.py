"""Adversarial images replayed: counts on linear models, where the attack and its transfer are known on paper."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from hf_robust_tickets.adversaries import PGD, PixelFast, PixelPGD
from hf_robust_tickets.errors import ConfigurationError, DataError
from hf_robust_tickets.evaluation import ImageTransferResult, evaluate_image_transfer, evaluate_white_box
from hf_robust_tickets.vision import small_image_processor
from tests.testing.pixels import MEAN, STD, ConvConfig, ConvNet, tiny_convnet, tiny_images

PROCESSOR = small_image_processor(8, image_mean=MEAN, image_std=STD)
STEP = PixelPGD(steps=2, step_size=0.1, max_norm=0.1, init_magnitude=0.0)


class Linear(ConvNet):
    """Class 1 where the sum of factors times pixels (undone by mean and std) is above a threshold."""

    def __init__(self, factors, threshold, mean=(0.0,), std=(1.0,), **options):
        super().__init__(ConvConfig(**options))
        del self.features, self.classifier
        self.factors = nn.Parameter(torch.tensor(factors))
        self.threshold, self.mean, self.std = threshold, mean, std

    def forward(self, pixel_values, labels=None, return_dict=None):
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (self.mean, self.std))
        score = ((pixel_values * std + mean)[:, :, 0, 0] * self.factors).sum(1) - self.threshold
        output = type("Output", (), {})()
        output.logits = torch.stack([-score, score], 1) * 5
        return output


def pixels(*values):
    """Images of one pixel; the label is 1."""
    return [{"pixel_values": torch.tensor(v).view(3, 1, 1), "label": 1} for v in values]


# The source looks at red alone: its attack takes 0.1 of red away. The model looks at red and green.
SOURCE = ([1.0, 0.0, 0.0], 0.5)
MODEL = ([1.0, 1.0, 0.0], 1.0)
IMAGES = pixels(
    [0.55, 0.50, 0.5],  # right on both: source 0.45 wrong, model 0.95 wrong
    [0.55, 0.80, 0.5],  # right on both: source wrong, model 1.25 still right
    [0.70, 0.35, 0.5],  # right on both: source 0.60 still right, model 0.95 wrong all the same
    [0.40, 0.65, 0.5],  # wrong on the source to begin with; the model 1.05 falls to 0.95
    [0.70, 0.20, 0.5],  # wrong on the model to begin with
    [0.90, 0.90, 0.5],  # both stay right
)


def test_counts_by_hand():
    result = evaluate_image_transfer(
        Linear(*MODEL).train(), IMAGES, source_model=Linear(*SOURCE), adversary=STEP, progress=False
    )
    assert result.clean == (True, True, True, True, False, True)
    assert result.robust == (False, True, False, False, False, True) and result.fooled == (0, 2, 3)
    assert result.source_clean == (True, True, True, False, True, True)
    assert result.source_robust == (False, False, True, False, True, True)
    assert result.accuracy == pytest.approx(2 / 6) and result.clean_accuracy == pytest.approx(5 / 6)
    assert result.source_accuracy == pytest.approx(0.5) and result.transfer_rate == pytest.approx(0.5)
    assert any("train mode" in warning for warning in result.warnings)


def test_each_model_is_given_its_own_normalisation_of_the_same_pixels():
    """Rows are normalised as the model's processor does; the source has other constants, and sees the same pixels."""
    data = [{**row, "pixel_values": (row["pixel_values"] - 0.25) / 0.5} for row in IMAGES]
    ours = small_image_processor(1, image_mean=[0.25] * 3, image_std=[0.5] * 3)
    theirs = small_image_processor(1, image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.25, 0.5])
    result = evaluate_image_transfer(
        Linear(*MODEL, mean=[0.25] * 3, std=[0.5] * 3),
        data,
        ours,
        source_model=Linear(*SOURCE, mean=[0.5, 0.4, 0.3], std=[0.2, 0.25, 0.5]),
        source_processor=theirs,
        adversary=STEP,
        progress=False,
    )
    assert (sum(result.clean), sum(result.robust), result.fooled) == (5, 2, (0, 2, 3))
    assert (sum(result.source_clean), sum(result.source_robust)) == (5, 3)


def test_images_stay_images():
    """Red is 0.04 already: the attack of radius 0.1 takes 0.04 and no more, and 0.98 grows to 1."""
    found = []

    class Watch(Linear):
        def forward(self, pixel_values, **kwargs):
            found.append(pixel_values.detach().clone())
            return super().forward(pixel_values, **kwargs)

    source = Linear([1.0, -1.0, 0.0], -1.5)
    evaluate_image_transfer(
        Watch(*MODEL), pixels([0.04, 0.98, 0.5]), source_model=source, adversary=STEP, progress=False
    )
    assert found[-1].flatten().tolist() == pytest.approx([0.0, 1.0, 0.5], abs=1e-6)


def test_of_several_starts_the_strongest_on_the_source_is_replayed():
    model, source, data = tiny_convnet(1), tiny_convnet(2), tiny_images(24)
    attack = PixelPGD(steps=3, step_size=2 / 255, max_norm=8 / 255)
    options = {"adversary": attack, "progress": False, "source_model": source}
    one = evaluate_image_transfer(model, data, PROCESSOR, **options)
    many = evaluate_image_transfer(model, data, PROCESSOR, restarts=6, **options)
    assert sum(many.source_robust) <= sum(one.source_robust) and many.restarts == 6
    again = evaluate_image_transfer(model, data, PROCESSOR, restarts=6, **options)
    assert again == many
    assert evaluate_image_transfer(model, data, PROCESSOR, batch_size=5, **options).num_examples == 24


def test_replayed_on_itself_it_is_the_models_own_attack():
    model, data = tiny_convnet(1).eval(), tiny_images(24)
    result = evaluate_image_transfer(model, data, PROCESSOR, source_model=model, progress=False)
    assert result.robust == result.source_robust and result.clean == result.source_clean
    own = evaluate_white_box(model, data, PROCESSOR, progress=False)
    # The white box counts an image as robust that holds at every point of the ascent, not at its end alone.
    compared = evaluate_image_transfer(model, data, PROCESSOR, source_model=model, own=own, progress=False)
    assert compared.accuracy >= own.robust_accuracy[8 / 255] and not any(
        "own attack" in said for said in compared.warnings
    )


def test_more_damage_than_the_models_own_attack_is_noticed():
    """A model whose logits are rounded has no gradient: its own attack finds nothing, that of another does."""

    class Masked(Linear):
        def forward(self, pixel_values, **kwargs):
            output = super().forward(pixel_values, **kwargs)
            output.logits = output.logits.sign() + 0.0 * output.logits
            return output

    model = Masked(*MODEL).eval()
    zero = PixelPGD(steps=2, step_size=0.1, max_norm=0.1, init_magnitude=0.0)
    own = evaluate_white_box(model, IMAGES, adversary=zero, progress=False)
    result = evaluate_image_transfer(
        model, IMAGES, source_model=Linear(*SOURCE).eval(), adversary=STEP, own=own, progress=False
    )
    assert "images made on another model leave 33.3% right, its own attack 83.3%" in result.warnings[0]
    with pytest.raises(ConfigurationError, match=r"expected own= on the same 6 examples at radius 0\.1"):
        other = evaluate_white_box(model, IMAGES[:3], adversary=zero, progress=False)
        evaluate_image_transfer(model, IMAGES, source_model=Linear(*SOURCE), adversary=STEP, own=other, progress=False)


def test_models_attacks_and_data_that_do_not_fit():
    model, data = tiny_convnet(), tiny_images(4)

    def run(**options):
        values = {"source_model": tiny_convnet(1), "progress": False, **options}
        return evaluate_image_transfer(model, data, PROCESSOR, **values)

    with pytest.raises(DataError, match="expected models of the same classes in the same order"):
        run(source_model=tiny_convnet(num_labels=3))
    with pytest.raises(DataError, match=r"got \['LABEL_0', 'LABEL_1'\] and \['LABEL_1', 'LABEL_0'\]"):
        run(source_model=tiny_convnet(id2label={0: "LABEL_1", 1: "LABEL_0"}))
    with pytest.raises(ConfigurationError, match=r"expected an attack on pixels, such as PixelPGD\(\), .* got PGD"):
        run(adversary=PGD())
    with pytest.raises(ConfigurationError, match="expected restarts >= 1, got 0"):
        run(restarts=0)
    with pytest.raises(DataError, match="expected models that see the same pixels"):
        run(source_processor=small_image_processor(16))
    assert run(adversary="pixel-pgd").adversary["name"] == run(adversary=PixelPGD()).adversary["name"]
    assert run(adversary=PixelFast()).num_examples == 4


def test_the_result_as_json(tmp_path):
    right = pixels([0.9, 0.9, 0.5])
    result = evaluate_image_transfer(
        Linear(*MODEL), right, source_model=Linear(*SOURCE), adversary=STEP, progress=False
    )
    assert math.isnan(result.transfer_rate)
    result.save(tmp_path / "transfer.json")
    content = json.loads((tmp_path / "transfer.json").read_text())
    assert content["schema"] == "hf_robust_tickets/image_transfer" and content["transfer_rate"] is None
    assert ImageTransferResult.load(tmp_path / "transfer.json") == result
    assert content["accuracy"] == 1.0 and content["sample_ids"] == [0]
