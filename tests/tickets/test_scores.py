"""Scores: by hand on two layers, by finite differences on a transformer, and their sums over batches."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest
import torch
from torch import nn

from hf_robust_tickets.errors import CheckpointError, ConfigurationError, TicketError, UnknownNameError
from hf_robust_tickets.tickets import (
    Gates,
    Score,
    ScoreSums,
    UnitScores,
    attach_gates,
    draw_ticket,
    get_score,
    list_scores,
    register_score,
)
from hf_robust_tickets.tickets.scores import TaylorScore, score_gates
from tests.testing.tiny import tiny_bert


def gates_of(heads, neurons) -> Gates:
    return Gates(
        heads=[nn.Parameter(torch.tensor(row)) for row in heads],
        neurons=[nn.Parameter(torch.tensor(row)) for row in neurons],
    )


def two_layer_loss(gates: Gates, x: float, target: float) -> torch.Tensor:
    """y = x (c1 + 2 c2) through layer one, times (3 d1 - d2) in layer two; half the squared error."""
    (first,), (second,) = gates.heads, gates.neurons
    y = x * (first[0] + 2 * first[1]) * (3 * second[0] - second[1])
    return (y - target) ** 2 / 2


def test_the_first_order_score_by_hand():
    gates = gates_of([[1.0, 1.0]], [[1.0, 1.0]])
    sums = ScoreSums(get_score("taylor"))
    # y = 3 x * 2 = 6 x. dL/dc1 = e * x * 2, dL/dc2 = e * x * 4; dL/dd1 = e * 3 x * 3, dL/dd2 = -e * 3 x.
    for x, target in ((1.0, 5.0), (1.0, 8.0), (-1.0, -5.0)):  # e = 1, -2, -1
        for gate in gates.parameters():
            gate.grad = None
        two_layer_loss(gates, x, target).backward()
        sums.add(gates)
    assert sums.batches == 3
    # Sum of |e x| = 1 + 2 + 1: opposite signs do not cancel.
    assert sums.scores().heads[0].tolist() == [8.0, 16.0]
    assert sums.scores().neurons[0].tolist() == [36.0, 12.0]
    even, odd = sums.halves()
    assert even.heads[0].tolist() == [4.0, 8.0]
    assert odd.neurons[0].tolist() == [18.0, 6.0]
    ticket = draw_ticket(sums.scores(), head_sparsity=0.5, neuron_sparsity=0.5, round_to=1)
    assert (ticket.heads[0].tolist(), ticket.neurons[0].tolist()) == ([False, True], [True, False])


def test_the_gradient_is_what_the_loss_loses_with_a_unit():
    model = tiny_bert().double().eval()
    gates = attach_gates(model)
    batch = {"input_ids": torch.tensor([[1, 4, 5, 6], [1, 7, 8, 2]]), "labels": torch.tensor([0, 1])}
    model(**batch).loss.backward()
    sums = ScoreSums(get_score("taylor"))
    sums.add(gates)
    for kind in ("heads", "neurons"):
        gate = getattr(gates, kind)[1]
        with torch.no_grad():
            losses = []
            for value in (1 + 1e-2, 1 - 1e-2):
                gate[0] = value
                losses.append(model(**batch).loss.item())
            gate[0] = 1
        slope = (losses[0] - losses[1]) / 2e-2
        assert getattr(sums.scores(), kind)[1][0].item() == pytest.approx(abs(slope), rel=1e-2)


def test_normalisation_by_layer():
    scores = UnitScores(heads=[torch.tensor([3.0, 4.0]), torch.zeros(2)], neurons=[torch.tensor([0.0, 2.0])])
    assert scores.normalised("none") is scores
    scaled = scores.normalised("l2")
    assert [row.tolist() for row in scaled.heads] == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0]]
    assert scaled.neurons[0].tolist() == [0.0, 1.0]
    with pytest.raises(ConfigurationError, match=r"none, l2, got 'l1'"):
        scores.normalised("l1")


def test_scores_say_what_they_need():
    needs = {name: (get_score(name).trains_gates, get_score(name).under_attack) for name in list_scores()}
    assert needs["gate"] == (True, False)
    assert needs["taylor"] == (False, False)
    assert needs["adversarial-taylor"] == (False, True)
    assert score_gates(gates_of([[-2.0, 1.0]], [[0.5]]), get_score("gate")).heads[0].tolist() == [2.0, 1.0]


def test_a_user_adds_a_score():
    class Squared(TaylorScore):
        name: ClassVar[str] = "test-squared"

        def of_units(self, gate, gradient):
            return (gate * gradient) ** 2

    register_score("test-squared", Squared)
    register_score("test-squared", Squared)  # the same class again
    assert "test-squared" in list_scores()
    gates = gates_of([[1.0]], [[1.0, 1.0]])
    for gate in gates.parameters():
        gate.grad = torch.full_like(gate, -3.0)
    sums = ScoreSums(get_score("test-squared"))
    sums.add(gates)
    assert sums.scores().neurons[0].tolist() == [9.0, 9.0]
    with pytest.raises(ConfigurationError, match="registered already"):
        register_score("taylor", Squared)
    with pytest.raises(UnknownNameError, match=r"unknown score 'magic': expected one of adversarial-taylor, gate"):
        get_score("magic")
    with pytest.raises(TypeError):
        Score()


def test_what_cannot_be_ranked_is_refused():
    gates = gates_of([[1.0, 1.0]], [[1.0, 1.0]])
    sums = ScoreSums(get_score("taylor"))
    with pytest.raises(TicketError, match="needs gradients"):
        sums.add(gates)
    for gate in gates.parameters():
        gate.grad = torch.zeros_like(gate)
    sums.add(gates)
    with pytest.raises(TicketError, match=r"scores of the heads that differ, got 2 times 0"):
        draw_ticket(sums.scores(), 0.5, 0.5, round_to=1)
    with pytest.raises(TicketError, match=r"scores of the neurons that differ, got 2 times 1"):
        draw_ticket(gates, 0.0, 0.5, round_to=1)
    assert draw_ticket(gates, 0.0, 0.0, round_to=1).head_counts == [2]  # nothing goes, so nothing is ranked
    gates.neurons[0].grad[1] = float("nan")
    with pytest.raises(TicketError, match="finite scores of the neurons"):
        sums.add(gates)
    with pytest.raises(TicketError, match="finite scores of the heads"):
        draw_ticket(gates_of([[float("inf"), 1.0]], [[1.0, 2.0]]), round_to=1)


def test_sums_go_on_from_a_saved_state():
    generator = torch.Generator().manual_seed(0)
    gates = gates_of([[1.0, 1.0], []], [[1.0, 1.0, 1.0], [1.0]])
    straight = ScoreSums(get_score("taylor"))
    resumed = ScoreSums(get_score("taylor"))
    for _ in range(5):
        for gate in gates.parameters():
            gate.grad = torch.randn(gate.shape, generator=generator)
        straight.add(gates)
        again = ScoreSums(get_score("taylor"))
        again.load_state_dict(json.loads(json.dumps(resumed.state_dict())))
        again.add(gates)
        resumed = again
    assert resumed.batches == 5
    for a, b in zip((straight.scores(), *straight.halves()), (resumed.scores(), *resumed.halves())):
        assert all(torch.equal(x, y) for x, y in zip([*a.heads, *a.neurons], [*b.heads, *b.neurons], strict=True))
    state = straight.state_dict()
    with pytest.raises(CheckpointError, match="'adversarial-taylor', got 'taylor'"):
        ScoreSums(get_score("adversarial-taylor")).load_state_dict(state)
    for damage in ({"even": "00"}, {"widths": None}, {"batches": "many"}):
        with pytest.raises(CheckpointError, match="damaged"):
            straight.load_state_dict({**state, **damage})
