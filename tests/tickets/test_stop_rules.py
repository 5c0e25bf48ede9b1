"""Neither rule is passed by noise; both are by a signal."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from hf_robust_tickets.errors import CheckpointError, ConfigurationError
from hf_robust_tickets.tickets import (
    EarlyBirdDetector,
    Gates,
    RobustTicket,
    ScoreSums,
    SplitHalfDetector,
    UnitScores,
    clamp_gates_,
    draw_ticket,
    follow_noise,
    get_score,
)

HEADS, NEURONS = [12, 12], [256, 256]
SEEDS = range(20)
SPARSITIES = [(1 / 6, 0.4), (0.5, 0.5), (0.05, 0.05)]


def ones() -> Gates:
    return Gates(
        heads=[nn.Parameter(torch.ones(n)) for n in HEADS], neurons=[nn.Parameter(torch.ones(n)) for n in NEURONS]
    )


def split(flat: torch.Tensor) -> UnitScores:
    parts = flat.split([*HEADS, *NEURONS])
    return UnitScores(heads=parts[:2], neurons=parts[2:])


def search_halves(seed: int, sparsities, signal: float, batches: int = 64) -> SplitHalfDetector:
    """Batches of |noise| (+ a signal that differs from unit to unit), checked after every second one."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(HEADS) + sum(NEURONS)
    worth = signal * torch.rand(total, generator=generator)
    gates, sums, detector = ones(), ScoreSums(get_score("taylor")), SplitHalfDetector()
    for batch in range(1, batches + 1):
        gradient = split(worth + torch.randn(total, generator=generator))
        for gate, grad in zip(gates.parameters(), [*gradient.heads, *gradient.neurons], strict=True):
            gate.grad = grad
        sums.add(gates)
        if batch % 2 == 0:
            drawn = [draw_ticket(scores, *sparsities, round_to=1) for scores in (sums.scores(), *sums.halves())]
            if detector.update(*drawn):
                break
    return detector


@pytest.mark.parametrize("sparsities", SPARSITIES)
@pytest.mark.parametrize("seed", SEEDS)
def test_noise_does_not_make_halves_agree(seed, sparsities):
    detector = search_halves(seed, sparsities, signal=0.0)
    assert detector.ticket is None
    # What independent noise gives: 2 s (1 - s).
    s = sparsities[1]
    assert detector.distance.neurons == pytest.approx(2 * s * (1 - s), abs=0.06)
    assert detector.chance.neurons == pytest.approx(2 * s * (1 - s), abs=0.01)


@pytest.mark.parametrize("sparsities", SPARSITIES)
def test_a_signal_makes_halves_agree(sparsities):
    detector = search_halves(0, sparsities, signal=20.0)
    assert detector.ticket == detector.history[detector.index]
    assert detector.distance.neurons < 0.1 and detector.distance.neurons <= detector.chance.neurons / 2


def search_gates(
    seed: int, signal: float, shadowed: bool, steps: int = 109, interval: int = 4, decays: bool = True, **sparsities
) -> tuple[EarlyBirdDetector, int]:
    """AdamW on gates of noisy gradients, with the schedule under which noise used to settle: linear to zero."""
    generator = torch.Generator().manual_seed(seed)
    gates, shadows = (
        ones(),
        Gates(*([gate.detach().clone() for gate in kind] for kind in (ones().heads, ones().neurons))),
    )
    worth = [signal * torch.randn(gate.shape, generator=generator) for gate in gates.parameters()]
    optimizer = torch.optim.AdamW(
        [{"params": gates.parameters()}, {"params": shadows.parameters()}], lr=1e-2, weight_decay=0.0
    )
    detector = EarlyBirdDetector()
    for step in range(1, steps + 1):
        for gate, drift in zip(gates.parameters(), worth):
            gate.grad = drift + torch.randn(gate.shape, generator=generator)
        follow_noise(gates, shadows, seed, step)
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * ((steps - step) / steps if decays else 1)
        optimizer.step()
        clamp_gates_(gates), clamp_gates_(shadows)
        if step % interval == 0:
            drawn = draw_ticket(gates, **sparsities, round_to=1)
            if detector.update(drawn, draw_ticket(shadows, **sparsities, round_to=1) if shadowed else None):
                return detector, step
    return detector, steps


@pytest.mark.parametrize("sparsities", SPARSITIES)
@pytest.mark.parametrize("seed", SEEDS)
def test_gates_that_follow_noise_never_settle(seed, sparsities):
    sizes = dict(zip(("head_sparsity", "neuron_sparsity"), sparsities))
    assert search_gates(seed, signal=0.0, shadowed=True, **sizes)[0].ticket is None


def test_without_a_shadow_they_did():
    assert all(search_gates(seed, signal=0.0, shadowed=False)[0].ticket is not None for seed in range(3))


@pytest.mark.parametrize("decays", [True, False])
def test_gates_that_follow_a_signal_settle(decays):
    detector, step = search_gates(0, signal=1.0, shadowed=True, decays=decays)
    assert detector.ticket is not None and step < 80
    assert detector.distance.neurons <= detector.shadow_distance.neurons / 2


def test_shadows_take_steps_as_large_and_the_same_on_every_rank():
    gates = ones()
    for gate in gates.parameters():
        gate.grad = torch.linspace(-1, 2, gate.numel())
    first, again, later, other = (ones() for _ in range(4))
    follow_noise(gates, first, seed=3, step=7)
    follow_noise(gates, again, seed=3, step=7)
    follow_noise(gates, later, seed=3, step=8)
    follow_noise(gates, other, seed=4, step=7)
    for gate, a, b, c, d in zip(*(g.parameters() for g in (gates, first, again, later, other))):
        assert torch.equal(a.grad.abs(), gate.grad.abs()) and torch.equal(a.grad, b.grad)
        assert not torch.equal(a.grad, c.grad) and not torch.equal(a.grad, d.grad)
    signs = torch.cat([shadow.grad.sign() for shadow in first.parameters()])
    assert abs(signs.mean().item()) < 0.2


def ticket(neurons: str) -> RobustTicket:
    mask = torch.tensor([c == "1" for c in neurons]).repeat(10)
    return RobustTicket(heads=[torch.tensor([True, True])], neurons=[mask])


A, B, C = ticket("1111100000"), ticket("1111000001"), ticket("0000011111")  # A to B: 0.2, A to C: 1


def test_the_halves_by_hand():
    detector = SplitHalfDetector(tolerance=0.3, noise_ratio=0.5)
    assert not detector.update(A, A, C)
    assert detector.distance == (0, 1)
    assert detector.chance == (0, pytest.approx(0.5))
    assert detector.update(B, A, B)  # 0.2 < 0.3, and 0.2 <= 0.5 * 0.5
    assert detector.ticket == B and detector.index == 1
    assert detector.update(C, A, C) and detector.ticket == B  # the answer stays
    strict = SplitHalfDetector(tolerance=0.3, noise_ratio=0.3)
    assert not strict.update(B, A, B)  # 0.2 > 0.3 * 0.5
    assert strict.update(B, B, B)
    whole = ticket("1111111111")
    assert SplitHalfDetector().update(whole, whole, whole)  # nothing is cut: nothing to find


def test_the_shadow_by_hand():
    detector = EarlyBirdDetector(tolerance=0.3, patience=1, noise_ratio=0.5)
    assert not detector.update(A, A)
    assert not detector.update(B, B)  # as far from A as the shadow is
    assert detector.shadow_distance == detector.distance == (0, pytest.approx(0.2))
    # B to A 20 entries, the shadow's 60: less than half, and 40 more than 3 sqrt(2 * 80) = 38.
    assert detector.update(A, ticket("0011111000"))
    assert detector.index == 1
    few = EarlyBirdDetector(tolerance=0.3, patience=1)
    alone = [RobustTicket(heads=t.heads, neurons=[t.neurons[0][:10]]) for t in (A, B, ticket("0011111000"))]
    few.update(alone[1], alone[1])
    assert not few.update(alone[0], alone[2])  # 2 entries against 6 may be chance
    with pytest.raises(ConfigurationError, match="with every ticket or with none"):
        detector.update(A)
    with pytest.raises(ConfigurationError, match="with every ticket or with none"):
        mixed = EarlyBirdDetector()
        mixed.update(A)
        mixed.update(A, A)


def test_both_go_on_from_a_saved_state():
    pairs = [(A, A), (A, C), (B, B), (B, A), (B, C)]
    straight = EarlyBirdDetector(tolerance=0.3, patience=2)
    answers = [straight.update(*pair) for pair in pairs]
    assert answers[-1]
    for cut in range(len(pairs) + 1):
        first = EarlyBirdDetector(tolerance=0.3, patience=2)
        head = [first.update(*pair) for pair in pairs[:cut]]
        second = EarlyBirdDetector(tolerance=0.3, patience=2)
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        assert head + [second.update(*pair) for pair in pairs[cut:]] == answers
        assert second.state_dict() == straight.state_dict()
    halves = SplitHalfDetector(tolerance=0.3)
    empty = SplitHalfDetector(tolerance=0.3)
    empty.load_state_dict(halves.state_dict())
    for triple in ((A, A, C), (B, A, B)):
        halves.update(*triple)
        again = SplitHalfDetector(tolerance=0.3)
        again.load_state_dict(json.loads(json.dumps(empty.state_dict())))
        again.update(*triple)
        empty = again
    assert empty.state_dict() == halves.state_dict() and empty.ticket == halves.ticket == B


def test_bad_bounds_and_states():
    for settings in ({"tolerance": 0}, {"tolerance": 1.1}, {"noise_ratio": 0}, {"noise_ratio": 1}):
        with pytest.raises(ConfigurationError):
            SplitHalfDetector(**settings)
        with pytest.raises(ConfigurationError):
            EarlyBirdDetector(**settings)
    detector = SplitHalfDetector()
    detector.update(A, A, A)
    state = detector.state_dict()
    with pytest.raises(CheckpointError, match=r"'tolerance': 0\.2"):
        SplitHalfDetector(tolerance=0.2).load_state_dict(state)
    for damage in ({"history": ["zz"]}, {"index": 7}, {"shape": None}, {"distance": 3}):
        with pytest.raises(CheckpointError):
            detector.load_state_dict({**state, **damage})
