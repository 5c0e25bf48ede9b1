"""`robust-tickets distance` on files."""

from __future__ import annotations

import json

import pytest

from hf_robust_tickets.cli.main import main
from hf_robust_tickets.tickets import random_ticket, ticket_spread
from tests.testing.tiny import tiny_bert


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    folder, model = tmp_path_factory.mktemp("tickets"), tiny_bert()
    tickets = [random_ticket(model, 0.25, 0.5, seed=seed, round_to=1) for seed in range(3)]
    for seed, ticket in enumerate(tickets):
        ticket.save(folder / f"seed-{seed}" / "ticket.safetensors")
    return folder, tickets


def test_a_table_of_all_pairs(three, capsys):
    folder, tickets = three
    paths = [str(folder / "seed-0"), str(folder / "seed-1"), str(folder / "seed-2" / "ticket.safetensors")]
    assert main(["distance", *paths]) == 0
    out = capsys.readouterr().out
    spread = ticket_spread(tickets)
    assert "seed-0 – " in out and "mean of all pairs" in out
    assert f"{100 * spread.mean.neurons:.1f} %" in out and f"{100 * spread.chance.neurons:.1f} %" in out
    assert main(["distance", "--tickets", *paths[:2], "--json", "True"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["pairs"]) == 1
    assert found["mean"]["neurons"] == found["pairs"][0]["neurons"]
    assert found["mean"]["neurons_by_chance"] == pytest.approx(0.5, abs=0.05)


def test_what_is_refused(three, capsys):
    folder, _ = three
    assert main(["distance", str(folder / "seed-0")]) == 2
    assert "expected two tickets or more, got 1" in capsys.readouterr().err
    assert main(["distance", str(folder / "seed-0"), str(folder / "nowhere")]) == 2
    assert "it cannot be read (no such file)" in capsys.readouterr().err
