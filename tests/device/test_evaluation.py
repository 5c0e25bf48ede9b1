"""Evaluations on a device find what they find on the CPU."""

from __future__ import annotations

import pytest
import torch

from hf_robust_tickets import evaluate_white_box
from hf_robust_tickets.adversaries import PGD, PixelPGD
from hf_robust_tickets.evaluation import evaluate_auto_attack, evaluate_hotflip, evaluate_robustness
from tests.testing.device import NAME, device
from tests.testing.keyword_model import keyword_model, keyword_tokenizer, rows
from tests.testing.pixels import MEAN, STD, tiny_convnet, tiny_images

pytestmark = pytest.mark.gpu


def places():
    return torch.device("cpu"), device()


def test_attacks_on_texts():
    pytest.importorskip("textattack")
    found = []
    for place in places():
        report = evaluate_robustness(
            keyword_model().to(place), rows(), keyword_tokenizer(), recipes=["deepwordbug"], progress=False,
            concurrent_examples=2,
        )  # fmt: skip
        found.append([(o.outcome, o.perturbed, o.queries) for o in report["deepwordbug"].outcomes])
    assert found[0] == found[1]


def test_white_box_and_flips():
    texts = [{"text": "good film", "label": 1}, {"text": "great good good film", "label": 1}]
    for place in places():
        model = keyword_model().to(place)
        attack = PGD(max_norm=1.0, step_unit="absolute")
        options = {"radii": [0.70, 0.72], "progress": False}
        result = evaluate_white_box(model, texts, keyword_tokenizer(), adversary=attack, **options)
        assert result.robust_accuracy == {0.70: 1.0, 0.72: 0.5}
        report = evaluate_hotflip(model, texts, keyword_tokenizer(), progress=False, flips=1)
        assert [o.outcome for o in report["hotflip"].outcomes] == ["succeeded", "failed"]


def test_images():
    adversary = PixelPGD(steps=2, image_mean=MEAN, image_std=STD)
    found = [
        evaluate_white_box(tiny_convnet().eval().to(place), tiny_images(8), adversary=adversary, radii=[0.01],
                           progress=False).clean_accuracy
        for place in places()
    ]  # fmt: skip
    assert found[0] == found[1]


def test_auto_attack():
    pytest.importorskip("pyautoattack")
    if NAME == "fake":
        pytest.skip("pyautoattack makes tensors by the index of a CUDA device")
    model = tiny_convnet().eval().to(device())
    report = evaluate_auto_attack(model, tiny_images(8), radius=0.01, image_mean=MEAN, image_std=STD, progress=False,
                                  queries=20, iterations=5)  # fmt: skip
    assert 0 <= report.robust_accuracy <= 1
