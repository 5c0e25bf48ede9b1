"""How far tickets are apart, by hand and against random tickets that were drawn."""

from __future__ import annotations

from itertools import combinations
from statistics import fmean

import pytest
import torch

from hf_robust_tickets.errors import TicketError
from hf_robust_tickets.tickets import RobustTicket, chance_distance, mask_distance, random_ticket, ticket_spread
from tests.testing.families import tiny_model


def ticket(heads, neurons):
    return RobustTicket(
        heads=[torch.tensor([c == "1" for c in row], dtype=torch.bool) for row in heads],
        neurons=[torch.tensor([c == "1" for c in row], dtype=torch.bool) for row in neurons],
    )


def test_the_chance_by_hand():
    a = ticket(["1100", "1111"], ["10", ""])
    b = ticket(["0011", "0111"], ["11", ""])
    # Layer one keeps 2 of 4 twice: (2 * 2 + 2 * 2) / 4 = 2; layer two 4 and 3: (4 * 1 + 3 * 0) / 4 = 1; of 8 heads.
    # Neurons: 1 and 2 of 2: (1 * 0 + 2 * 1) / 2 = 1, of 2.
    assert chance_distance(a, b) == (3 / 8, 1 / 2)
    assert mask_distance(a, b) == (5 / 8, 1 / 2)


def test_the_spread_of_several():
    a, b, c = (ticket(["10"], [row]) for row in ("1100", "1010", "0011"))
    spread = ticket_spread([a, b, c])
    assert spread.mean == (0, pytest.approx((0.5 + 1 + 0.5) / 3))
    assert spread.chance == (0.5, 0.5)
    with pytest.raises(TicketError, match="two tickets or more"):
        ticket_spread([a])
    with pytest.raises(TicketError, match="for one model"):
        ticket_spread([a, ticket(["10"], ["10"])])


def test_chance_is_what_random_tickets_give():
    model = tiny_model()
    like = random_ticket(model, 0.4, 0.7, seed=5, round_to=1)
    drawn = [random_ticket(model, like=like, seed=seed) for seed in range(30)]
    expected = ticket_spread(drawn).chance
    assert expected == pytest.approx(chance_distance(like, like))
    found = fmean(mask_distance(a, b).neurons for a, b in combinations(drawn, 2))
    assert found == pytest.approx(expected.neurons, abs=0.02)
