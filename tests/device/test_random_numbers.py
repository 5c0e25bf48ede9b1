"""What an evaluation draws on a device changes nothing of what is drawn there afterwards."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from transformers import ViTImageProcessor

from hf_robust_tickets import evaluate_white_box
from hf_robust_tickets.adversaries import PGD, PixelHook, PixelPGD
from hf_robust_tickets.evaluation import evaluate_auto_attack, evaluate_image_transfer
from hf_robust_tickets.evaluation.fingerprints import seeded
from hf_robust_tickets.training.callbacks.robust_accuracy import robust_accuracy_and_loss
from tests.testing.device import device
from tests.testing.keyword_model import keyword_model, keyword_tokenizer
from tests.testing.pixels import MEAN, STD, tiny_convnet, tiny_images

pytestmark = pytest.mark.gpu
TEXTS = [{"text": "good film", "label": 1}, {"text": "great good good film", "label": 1}]
PIXELS = PixelPGD(steps=2, step_size=0.02, max_norm=0.02, init_magnitude=0.02, image_mean=MEAN, image_std=STD)
PROCESSOR = ViTImageProcessor(image_mean=list(MEAN), image_std=list(STD))
QUIET = {"progress": False}


def convnet():
    return tiny_convnet().to(device()).eval()


def on_texts():
    attack = PGD(max_norm=1.0, init_magnitude=0.5, step_unit="absolute")
    model = keyword_model().to(device())
    return partial(evaluate_white_box, model, TEXTS, keyword_tokenizer(), adversary=attack, radii=[0.7], **QUIET)


def on_images():
    return partial(evaluate_white_box, convnet(), tiny_images(8), adversary=PIXELS, radii=[0.01], **QUIET)


def transferred():
    options = {"source_model": convnet(), "adversary": PIXELS, **QUIET}
    return partial(evaluate_image_transfer, convnet(), tiny_images(8), PROCESSOR, **options)


def auto_attack():
    pytest.importorskip("pyautoattack")
    options = {"radius": 0.02, "queries": 20, "iterations": 5, "batch_size": 8}
    return partial(evaluate_auto_attack, convnet(), tiny_images(8), PROCESSOR, **options, **QUIET)


def in_training():
    model = convnet()
    batch = {key: torch.tensor(value, device=device()) for key, value in tiny_images(8)[:].items()}
    return partial(robust_accuracy_and_loss, model, [batch], PIXELS, PixelHook(model, PIXELS.box))


def one_example():
    def draw():
        with seeded(0, "textfooler", 1):
            torch.rand(3, device=device())

    return draw


CASES = [on_texts, on_images, transferred, auto_attack, in_training, one_example]


@pytest.mark.parametrize("evaluation", CASES)
def test_random_numbers_go_on_as_if_none_had_been_drawn(evaluation):
    run, places = evaluation(), ("cpu", device())
    torch.manual_seed(3)
    expected = [torch.rand(4, device=place).tolist() for place in places]
    torch.manual_seed(3)
    run()
    assert [torch.rand(4, device=place).tolist() for place in places] == expected
