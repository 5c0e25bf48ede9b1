"""The one loop that attacks without training, on functions whose every visited point is known."""

from __future__ import annotations

import math

import pytest
import torch

from hf_robust_tickets.adversaries import PGD, TRADES, FreeAT, RandomNoise
from hf_robust_tickets.adversaries.attack_loop import is_right, label_losses, loss_gradient, num_ascents, run_attack
from hf_robust_tickets.errors import ConfigurationError


class Cubic:
    """Class 1 wins by 1 - 2 d - d^2 + d^3: by 1 at d = 0, it loses by 1 at d = 1, and wins by 1 again at d = 2."""

    def __init__(self, examples=1, dtype=torch.float32):
        self.x = torch.zeros(examples, 1, 1, dtype=dtype)
        self.mask = torch.ones(examples, 1)
        self.labels = torch.ones(examples, dtype=torch.long)
        self.seen = []

    def logits(self, delta):
        self.seen.append(delta.detach().flatten().tolist())
        d = delta.flatten(1).sum(1)
        return torch.stack([torch.zeros_like(d), 1 - 2 * d - d**2 + d**3], dim=1)

    def project(self, delta):
        return delta


STEPS_OF_ONE = PGD(steps=3, step_size=1.0, max_norm=2.0, norm="linf", step_unit="absolute")


@pytest.mark.parametrize(("criterion", "right", "margin"), [("last", True, 1), ("any", False, -1)])
def test_the_criterion_says_which_of_the_visited_points_count(criterion, right, margin):
    target = Cubic()
    outcome = run_attack(target, STEPS_OF_ONE, criterion)
    assert target.seen == [[0.0], [1.0], [2.0]] and outcome.delta.item() == 2.0
    assert outcome.right.tolist() == [right]
    assert outcome.loss.item() == pytest.approx(math.log1p(math.exp(-margin)))


def test_an_example_does_not_depend_on_its_company():
    one, many = (run_attack(Cubic(n), PGD(steps=4, step_size=0.3, max_norm=0.5, step_unit="absolute")) for n in (1, 5))
    assert torch.equal(many.delta, one.delta.expand(5, 1, 1)) and torch.equal(many.loss, one.loss.expand(5))


def test_padding_is_not_perturbed():
    target = Cubic(2)
    target.mask[1] = 0
    outcome = run_attack(target, PGD(steps=2, step_size=1.0, max_norm=1.0, init_magnitude=0.5, step_unit="absolute"))
    assert outcome.delta[0].item() != 0 and outcome.delta[1].item() == 0


def test_every_point_is_projected():
    target = Cubic()
    target.project = lambda delta: delta.clamp(max=0.75)
    run_attack(target, STEPS_OF_ONE)
    assert target.seen == [[0.0], [0.75], [0.75]]


def test_gradients_that_are_not_finite_move_nothing():
    target = Cubic(2)
    logits = target.logits

    def broken(delta):
        found = logits(delta)
        return torch.cat([found[:1], found[1:] + 0 * (0 * delta[1:].flatten(1)).sqrt()])

    target.logits = broken
    outcome = run_attack(target, PGD(steps=2, step_size=1.0, max_norm=1.0, step_unit="absolute"), "last")
    assert outcome.delta.flatten().tolist() == [1.0, 0.0]


def test_half_precision_is_climbed_in_float32():
    assert (
        run_attack(Cubic(dtype=torch.bfloat16), PGD(steps=2, step_size=1e-3, step_unit="absolute")).delta.dtype
        == torch.float32
    )


def test_no_gradient_reaches_what_is_behind():
    target, weight = Cubic(), torch.ones((), requires_grad=True)
    logits = target.logits
    target.logits = lambda delta: weight * logits(delta)
    run_attack(target, STEPS_OF_ONE)
    assert weight.grad is None
    _, gradient = loss_gradient(target, torch.zeros(1, 1, 1))
    # d/dd log(1 + exp(-f)) at 0 = -f'(0) sigmoid(-f(0))
    assert gradient.item() == pytest.approx(2 / (1 + math.exp(1)))


def test_ignored_labels_count_for_nothing():
    logits = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])
    labels = torch.tensor([[0, -100]])
    assert is_right(logits, labels).tolist() == [[True, False]]
    assert label_losses(logits, labels).flatten().tolist() == pytest.approx([math.log1p(math.exp(-2)), 0.0])


def test_ascents_of_methods_that_count_differently():
    assert num_ascents(PGD(steps=4)) == 3 and num_ascents(TRADES(steps=4)) == 4
    assert num_ascents(FreeAT(steps=8)) == num_ascents(RandomNoise()) == 1


def test_an_unknown_criterion_is_refused():
    with pytest.raises(ConfigurationError, match="expected a criterion among last, any, got 'first'"):
        run_attack(Cubic(), STEPS_OF_ONE, "first")
