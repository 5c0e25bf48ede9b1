"""Evaluations on a device find what they find on the CPU."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import ViTImageProcessor

from hf_robust_tickets import evaluate_white_box
from hf_robust_tickets.adversaries import PGD, PixelHook, PixelPGD
from hf_robust_tickets.evaluation import evaluate_auto_attack, evaluate_hotflip, evaluate_robustness
from hf_robust_tickets.evaluation.components.masked_lm import MaskedLM
from hf_robust_tickets.evaluation.several.victim import LabelVictim
from hf_robust_tickets.evaluation.victim.model import Victim
from hf_robust_tickets.evaluation.victim.scored import ScoredVictim
from hf_robust_tickets.training.callbacks.robust_accuracy import robust_accuracy_and_loss
from tests.testing.device import device, watched_waits
from tests.testing.keyword_model import keyword_model, keyword_tokenizer, rows
from tests.testing.pixels import MEAN, STD, tiny_convnet, tiny_images
from tests.testing.tiny import tiny_bert, tiny_tokenizer
from tests.testing.tiny_parts import masked_lm

pytestmark = pytest.mark.gpu
# How often a forward pass of a BERT asks for a number itself.
MODELS_OWN = 3


def own(waits):
    """Those that the package causes, rather than the model."""
    return [line for line in waits if "/hf_robust_tickets/" in line.split(" < ")[0]]


def places():
    return torch.device("cpu"), device()


def test_attacks_on_texts():
    pytest.importorskip("nltk")
    found = []
    for place in places():
        report = evaluate_robustness(
            keyword_model().to(place), rows(), keyword_tokenizer(), recipes=["deepwordbug"], progress=False,
            concurrent_examples=2,
        )  # fmt: skip
        found.append([(o.outcome, o.perturbed, o.queries) for o in report["deepwordbug"].outcomes])
    assert found[0] == found[1]


def test_one_copy_back_per_call():
    for victim in (
        Victim(tiny_bert().to(device()).eval(), tiny_tokenizer(), batch_size=4),
        ScoredVictim(tiny_bert().to(device()).eval(), tiny_tokenizer(), "classifier", batch_size=4),
    ):
        plain = Victim(tiny_bert().eval(), tiny_tokenizer(), batch_size=4)
        texts = [f"w{i} w7" for i in range(10, 26)]
        victim(["w5 w6"])
        victim.forget()
        with watched_waits() as waits:
            found = victim(texts)
        assert victim.statistics.batches == 5
        assert len(own(waits)) == 1 and len(waits) <= 1 + MODELS_OWN * 4, waits
        torch.testing.assert_close(found, plain(texts), rtol=1e-4, atol=1e-6)


def test_a_masked_language_model_is_read_in_one_copy(tmp_path):
    model, tokenizer = masked_lm(tmp_path)
    alone, here = MaskedLM("tiny", model, tokenizer), MaskedLM("tiny", copy.deepcopy(model).to(device()), tokenizer)
    texts = ["a great [MASK]", "the [MASK] is a very dull movie", "some plot"]
    with watched_waits() as waits:
        found = here.at_masks(texts)
    assert len(own(waits)) == 1, waits
    for one, other in zip(found, alone.at_masks(texts), strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert one[0] == other[0]
            torch.testing.assert_close(one[1], other[1], rtol=1e-4, atol=1e-5)
    assert here.likeliest(texts[1], 3).tolist() == alone.likeliest(texts[1], 3).tolist()


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


@pytest.mark.parametrize("radii", [[0.01], [0.01, 0.02]])
def test_a_batch_under_attack_waits_for_one_answer_per_ascent(radii):
    adversary, model = PixelPGD(steps=3, image_mean=MEAN, image_std=STD), tiny_convnet().to(device()).eval()
    counts = []
    for size in (8, 16):
        with watched_waits() as waits:
            evaluate_white_box(
                model, tiny_images(size), adversary=adversary, radii=radii, batch_size=8, progress=False
            )
        counts.append(len(own(waits)))
    assert counts[1] - counts[0] <= len(radii), waits


def test_accuracy_under_attack_in_training_is_read_once():
    adversary, model = PixelPGD(steps=3, image_mean=MEAN, image_std=STD), tiny_convnet().to(device()).eval()
    batch = {key: torch.tensor(value, device=device()) for key, value in tiny_images(8)[:].items()}
    counts = []
    for batches in (2, 5):
        hook = PixelHook(model, adversary.box)
        with watched_waits() as waits:
            robust_accuracy_and_loss(model, [batch] * batches, adversary, hook)
        hook.remove()
        counts.append(len(own(waits)))
    assert counts[0] == counts[1], waits


def test_several_labels_come_back_in_one_copy():
    victim = LabelVictim(tiny_bert(num_labels=3).to(device()).eval(), tiny_tokenizer(), batch_size=8, max_length=None)
    with watched_waits() as waits:
        victim([f"w{i} w7" for i in range(10, 18)])
    assert len(own(waits)) == 1, waits


def test_auto_attack():
    pytest.importorskip("pyautoattack")
    processor = ViTImageProcessor(image_mean=list(MEAN), image_std=list(STD))
    options = {"radius": 0.02, "queries": 20, "iterations": 5, "progress": False, "batch_size": 8}
    found = [
        evaluate_auto_attack(tiny_convnet().eval().to(place), tiny_images(8), processor, **options)
        for place in places()
    ]
    assert found[0].clean_accuracy == found[1].clean_accuracy
