from __future__ import annotations

import json

import pytest
import torch

from hf_robust_tickets.errors import CheckpointError, ConfigurationError, TicketError
from hf_robust_tickets.tickets import EarlyBirdDetector, RobustTicket


def ticket(neurons: str, heads: str = "11") -> RobustTicket:
    def mask(text):
        return torch.tensor([c == "1" for c in text])

    return RobustTicket(heads=[mask(heads)], neurons=[mask(neurons)])


A, B, C = ticket("1111100000"), ticket("1111000001"), ticket("0000011111")  # A to B: 0.2, A to C: 1


def run(sequence, **settings):
    detector = EarlyBirdDetector(**settings)
    return detector, [detector.update(t) for t in sequence]


def test_found_when_the_patience_is_complete_and_not_before():
    detector, answers = run([A, A, A, A], tolerance=0.1, patience=3)
    assert answers == [False, False, False, True]
    assert detector.index == 0


def test_every_later_ticket_has_to_agree_not_only_neighbours():
    # Neighbours differ by 0.2 only, the first and the third by 0.4.
    steps = [ticket("1111100000"), ticket("0111110000"), ticket("0011111000"), ticket("0011111000")]
    detector, answers = run(steps, tolerance=0.3, patience=2)
    assert answers == [False, False, False, True]
    assert detector.ticket == steps[1]
    assert detector.index == 1


def test_the_first_one_stays():
    detector, answers = run([C, A, A, A, C, C, C], tolerance=0.1, patience=2)
    assert answers == [False, False, False, True, True, True, True]
    assert detector.ticket == A
    assert detector.index == 1


def test_the_tolerance_is_exclusive_and_holds_for_both_kinds():
    assert run([A, B], tolerance=0.2, patience=1)[1] == [False, False]
    assert run([A, B], tolerance=0.21, patience=1)[1] == [False, True]
    assert run([A, ticket("1111100000", heads="01")], tolerance=0.3, patience=1)[1] == [False, False]


def test_the_distance_that_is_compared_is_reported():
    detector, _ = run([A, B], patience=3)
    assert detector.distance == (0, pytest.approx(0.2))
    detector.update(A)
    assert detector.distance.neurons == pytest.approx(0.2)  # the largest to the first of the window
    assert EarlyBirdDetector().distance is None


def test_it_continues_from_a_saved_state():
    sequence = [C, A, B, A, A, A]
    straight, answers = run(sequence, tolerance=0.1, patience=2)
    for cut in range(len(sequence) + 1):
        first, head = run(sequence[:cut], tolerance=0.1, patience=2)
        second = EarlyBirdDetector(tolerance=0.1, patience=2)
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        assert head + [second.update(t) for t in sequence[cut:]] == answers
        assert second.ticket == straight.ticket
        assert second.history == sequence
        assert second.distance == straight.distance


def test_bad_settings_states_and_tickets():
    for settings in ({"tolerance": 0}, {"tolerance": 1.1}, {"patience": 0}, {"patience": 2.5}):
        with pytest.raises(ConfigurationError):
            EarlyBirdDetector(**settings)
    state = run([A, A], patience=2)[0].state_dict()
    with pytest.raises(CheckpointError, match="'patience': 5"):
        EarlyBirdDetector().load_state_dict(state)
    for damage in ({"history": ["zz"]}, {"history": ["00"]}, {"index": 7}, {"shape": None}):
        with pytest.raises(CheckpointError):
            EarlyBirdDetector(patience=2).load_state_dict({**state, **damage})
    detector = EarlyBirdDetector()
    detector.update(A)
    with pytest.raises(TicketError):
        detector.update(ticket("111"))
