"""Relative lengths: the unit by hand, the defaults in both units, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from hf_robust_tickets.adversaries import (
    FGM,
    PGD,
    YOPO,
    FreeLB,
    PixelPGD,
    RandomNoise,
    RDrop,
    get_adversary,
    list_adversaries,
    norm_at,
)
from hf_robust_tickets.adversaries.attack_loop import run_attack
from hf_robust_tickets.errors import ConfigurationError

# Two sentences of tokens of length 5 and 13, the second with one token of padding, which holds anything.
X = torch.tensor([[[3.0, 4.0], [5.0, 12.0]], [[0.0, 5.0], [float("inf"), 7.0]]])
MASK = torch.tensor([[1, 1], [1, 0]])


@pytest.mark.parametrize(
    ("norm", "scope", "expected"),
    [
        ("l2", "sentence", [9 * 2**0.5, 5.0]),
        ("l2", "token", [9.0, 5.0]),
        ("linf", "sentence", [9 / 2**0.5, 5 / 2**0.5]),
        ("linf", "token", [9 / 2**0.5, 5 / 2**0.5]),
        ("l1", "sentence", [9 * 2**0.5 * 2, 5 * 2**0.5]),
        ("l1", "token", [9 * 2**0.5, 5 * 2**0.5]),
    ],
)
def test_the_unit_by_hand(norm, scope, expected):
    unit = norm_at(X, MASK, norm, scope)
    assert unit.shape == (2, 1, 1) and unit.flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
@pytest.mark.parametrize("scope", ["sentence", "token"])
def test_it_is_the_norm_where_all_entries_are_as_large(norm, scope):
    x = 0.3 * torch.ones(1, 6, 4)
    order, dims = {"l2": 2, "linf": math.inf, "l1": 1}[norm], (1, 2) if scope == "sentence" else (2,)
    expected = torch.linalg.vector_norm(x, ord=order, dim=dims).flatten()[0]
    assert norm_at(x, torch.ones(1, 6), norm, scope).item() == pytest.approx(expected.item())


def test_a_sentence_without_tokens_has_none():
    assert norm_at(X, torch.zeros(2, 2), "l2", "sentence").flatten().tolist() == [0.0, 0.0]


def test_a_sentence_does_not_depend_on_its_batch_and_padding():
    alone = norm_at(X[1:, :1], MASK[1:, :1], "l2", "sentence")
    assert torch.equal(norm_at(X, MASK, "l2", "sentence")[1:], alone)


def test_relative_is_the_default_and_absolute_has_the_papers():
    assert (FreeLB().step_size, FreeLB().init_magnitude, FreeLB().step_unit) == (0.01, 0.01, "relative")
    paper = FreeLB(step_unit="absolute")
    assert (paper.step_size, paper.init_magnitude, paper.max_norm) == (0.1, 0.05, 0.0)
    assert (PGD(step_unit="absolute").step_size, PGD(step_unit="absolute").max_norm) == (0.3, 1.0)
    assert YOPO().step_size == FreeLB().step_size
    # What is given stays, in either unit.
    assert FreeLB(step_size=0.3, step_unit="absolute").init_magnitude == 0.05
    for name in list_adversaries():
        adversary = get_adversary(name)
        assert adversary.step_unit == ("absolute" if adversary.space == "pixels" else "relative")
        assert adversary.describe()["step_unit"] == adversary.step_unit


@pytest.mark.parametrize(
    ("adversary", "options", "message"),
    [
        (FreeLB, {"step_size": 0.0}, "FreeLB: a relative step_size is a share .*above 0 and at most 10, got 0: "),
        (FreeLB, {"step_size": 30.0}, "above 0 and at most 10, got 30: .*pass step_unit='absolute'"),
        (PGD, {"max_norm": 11.0}, "a relative max_norm is a share .*at least 0 and at most 10, got 11"),
        (FGM, {"step_unit": "percent"}, "step_unit must be one of relative, absolute, got 'percent'"),
        (PixelPGD, {"step_unit": "relative"}, "lengths are in pixels .*got step_unit='relative': leave it out"),
    ],
)
def test_what_cannot_be_meant_is_refused(adversary, options, message):
    with pytest.raises(ConfigurationError, match=message):
        adversary(**options)


def test_methods_that_take_no_step_may_have_none():
    assert (RandomNoise().step_size, RDrop().step_size) == (0.0, 0.0)
    assert FreeLB(step_size=0.0, step_unit="absolute").step_size == 0.0


class Linear:
    """Class 1 wins by what the first entries of delta leave of 1."""

    def __init__(self):
        self.x, self.mask, self.labels = X.nan_to_num(posinf=0.0), MASK, torch.ones(2, dtype=torch.long)

    def logits(self, delta):
        margin = 1 - delta[:, :, 0].sum(1)
        return torch.stack([torch.zeros_like(margin), margin], dim=1)

    def project(self, delta):
        return delta


def test_an_attack_without_training_moves_by_shares_too():
    relative = run_attack(Linear(), PGD(steps=2, step_size=0.1, max_norm=0.0))
    lengths = relative.delta.flatten(1).norm(dim=1)
    assert lengths.tolist() == pytest.approx([0.1 * 9 * 2**0.5, 0.1 * 5.0])
    # Inside a ball of a tenth of the norm, the steps are cut.
    inside = run_attack(Linear(), PGD(steps=4, step_size=0.07, max_norm=0.1))
    assert inside.delta.flatten(1).norm(dim=1).tolist() == pytest.approx(lengths.tolist(), rel=1e-5)
