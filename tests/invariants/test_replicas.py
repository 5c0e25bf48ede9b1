"""All methods in two replicas of `torch.nn.DataParallel` on the CPU, against one model with the whole batch."""

from __future__ import annotations

import pytest
import torch

from hf_robust_tickets import AdversarialTrainer
from hf_robust_tickets.adversaries import PGD, InfoBERT
from hf_robust_tickets.errors import ConfigurationError
from tests.invariants.replicas_on_cpu import two_replicas
from tests.tiny import tiny_bert
from tests.training.test_attacks import EVERY, METHODS, arguments
from tests.training.test_trainer import assert_equal_gradients, first_gradient

LAYERED = pytest.mark.parametrize("name", sorted(set(METHODS) - {"ta-vat"}))


def in_replicas(folder, batch=4, **kwargs):
    """The first gradient with `batch` examples per replica."""
    with two_replicas() as wrapper:
        gradient = first_gradient(folder, batch=batch, **kwargs)
    assert wrapper.passes > 0
    return gradient


@pytest.mark.feature("torch.nn.DataParallel")
@EVERY
def test_replicas_give_the_gradient_of_the_whole_batch(name, tmp_path):
    whole = first_gradient(tmp_path / "a", adversary=METHODS[name])
    assert_equal_gradients(whole, in_replicas(tmp_path / "b", adversary=METHODS[name]))
