"""Attacks in proportion to how sure the model is: the gradient by hand, and what is left of a step."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset

from hf_robust_tickets.adversaries import FGM, HotFlip
from hf_robust_tickets.errors import ConfigurationError
from tests.testing.tiny import tiny_bert
from tests.testing.training import assert_equal_gradients, first_gradient

STEP = 0.5
ROWS = {
    "input_ids": [[5, 6, 7, 8], [9, 8, 7, 6], [11, 12, 13, 14], [15, 5, 9, 13]],
    "attention_mask": [[1, 1, 1, 1]] * 4,
    "labels": [1, 0, 1, 1],
}


def model(bias=0.4):
    """Surer of label 1 than a guess, less sure of label 0."""
    model = tiny_bert(vocab_size=100)
    model.classifier.bias.data[:] = torch.tensor([0.0, bias])
    return model


def gradient(folder, adversary, bias=0.4, **options):
    given = {"model": model(bias), "train_dataset": Dataset.from_dict(ROWS), "adversary": adversary, "batch": 4}
    return first_gradient(folder, **given | options)


def by_hand(adaptive):
    """The sum of the clean and the perturbed loss, each example moved by its share of the step."""
    attacked, batch = model().train(), {name: torch.tensor(value) for name, value in ROWS.items()}
    delta = torch.zeros(4, 4, 32, requires_grad=True)
    for last in (False, True):
        handle = attacked.get_input_embeddings().register_forward_hook(lambda *given, delta=delta: given[2] + delta)
        losses = F.cross_entropy(
            attacked(batch["input_ids"], batch["attention_mask"]).logits, batch["labels"], reduction="none"
        )
        handle.remove()
        losses.mean().backward()
        if not last:
            shares = (((1 - losses.detach() / math.log(2)).clamp(min=0)) / adaptive).clamp(max=1)
            assert 0 == shares.min() < shares.max()
            step = STEP * delta.grad / delta.grad.flatten(1).norm(dim=1).reshape(-1, 1, 1)
            delta = (shares.reshape(-1, 1, 1) * step).requires_grad_()
    return {name: parameter.grad for name, parameter in attacked.named_parameters()}


@pytest.mark.parametrize("adaptive", [1.0, 0.1])
def test_gradient_by_hand(tmp_path, adaptive):
    adversary = FGM(step_size=STEP, step_unit="absolute", adaptive=adaptive)
    assert_equal_gradients(gradient(tmp_path, adversary), by_hand(adaptive))


def test_what_is_wrong_is_met_twice_as_it_is(tmp_path):
    wrong = {"train_dataset": Dataset.from_dict({name: value[:1] for name, value in ROWS.items()}), "bias": -9.0}
    left = gradient(tmp_path / "a", FGM(step_size=0.5, adaptive=1), **wrong, batch=1)
    plain = gradient(tmp_path / "b", None, **wrong, batch=1)
    assert_equal_gradients(left, {name: 2 * gradient for name, gradient in plain.items()})
    whole = gradient(tmp_path / "c", FGM(step_size=0.5), **wrong, batch=1)
    assert not torch.allclose(whole["classifier.weight"], left["classifier.weight"])


def test_two_halves_of_a_batch_give_the_gradient_of_the_whole(tmp_path):
    adversary = FGM(step_size=STEP, adaptive=1)
    one = gradient(tmp_path / "a", adversary)
    assert_equal_gradients(one, gradient(tmp_path / "b", adversary, batch=2, accumulation=2))


def test_as_strong_for_all_where_nobody_asks():
    assert FGM().extensions == () and FGM(adaptive=1).extensions == ("adaptive",)
    assert HotFlip(adaptive=0).extensions == HotFlip().extensions == ("token-exchange",)


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_what_is_no_share_is_refused(value):
    with pytest.raises(ConfigurationError, match=r"FGM: adaptive must be in \[0, 1\], got .*: e.g. 1"):
        FGM(adaptive=value)
