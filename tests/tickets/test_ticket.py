from __future__ import annotations

import json

import pytest
import torch

from hf_robust_tickets.errors import CheckpointError, TicketError
from hf_robust_tickets.tickets import RobustTicket, mask_distance


def ticket(heads="10 11", neurons="1100 0111"):
    def masks(text):
        return tuple(torch.tensor([c == "1" for c in word]) for word in text.split())

    return RobustTicket(heads=masks(heads), neurons=masks(neurons))


def test_counts_and_sparsities():
    t = ticket()
    assert (t.head_counts, t.neuron_counts) == ([1, 2], [2, 3])
    assert t.head_sparsity == pytest.approx(1 / 4)
    assert t.neuron_sparsity == pytest.approx(3 / 8)
    summary = t.summary()
    assert json.loads(json.dumps(summary)) == summary
    assert summary["dense_neurons"] == [4, 4]


def test_equality_hash_and_fingerprint():
    assert ticket() == ticket()
    assert hash(ticket()) == hash(ticket())
    assert ticket() != ticket(heads="01 11")
    assert ticket() != "10 11"
    # Pinned: a fingerprint that changes with the version would make every published checkpoint look altered.
    assert ticket().fingerprint() == "3cd73e29e008227e5cd3a85cef54b202b6007f3321abefb397cc4a32d7cd8262"
    # The same bits cut into other layers are another ticket.
    assert ticket("11 1", "1 1").fingerprint() != ticket("1 11", "1 1").fingerprint()


def test_it_does_not_change_with_the_tensors_it_was_made_from():
    mask = torch.tensor([True, False])
    t = RobustTicket(heads=[mask], neurons=[torch.tensor([True])])
    mask[0] = False
    assert t.head_counts == [1]


@pytest.mark.parametrize(
    ("heads", "neurons", "message"),
    [
        ([torch.tensor([1.0, 0.0])], [torch.tensor([True])], "boolean vector of heads"),
        ([torch.ones(1, 2, dtype=torch.bool)], [torch.tensor([True])], "shape"),
        ([torch.tensor([True])], [torch.tensor([True])] * 2, "got 1 and 2"),
        ([], [], "at least one"),
    ],
)
def test_bad_masks(heads, neurons, message):
    with pytest.raises(TicketError, match=message):
        RobustTicket(heads=heads, neurons=neurons)


def test_a_layer_may_be_left_empty(tmp_path):
    empty = ticket("00 11", "1100 0000")
    assert (empty.head_counts, empty.neuron_counts) == ([0, 2], [2, 0])
    assert RobustTicket.load(empty.save(tmp_path / "t")) == empty
    # What is left of such a model has no entry for these layers.
    rest = RobustTicket(
        heads=[torch.ones(0) > 0, torch.tensor([True, False])], neurons=[torch.ones(2) > 0, torch.ones(0) > 0]
    )
    assert empty.compose(rest) == ticket("00 10", "1100 0000")
    assert mask_distance(rest, rest) == (0, 0)
    nothing = RobustTicket(heads=[torch.ones(0) > 0], neurons=[torch.ones(0) > 0])
    assert (mask_distance(nothing, nothing), nothing.head_sparsity) == ((0, 0), 1)


def test_save_and_load(tmp_path):
    path = tmp_path / "new" / "ticket.safetensors"
    ticket().save(path)
    assert RobustTicket.load(path) == ticket()
    assert [p.name for p in path.parent.iterdir()] == ["ticket.safetensors"]  # nothing temporary is left
    ticket(heads="01 11").save(path)
    assert RobustTicket.load(path) == ticket(heads="01 11")


def test_damaged_files(tmp_path):
    path = ticket().save(tmp_path / "t.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[:-3])
    with pytest.raises(CheckpointError, match=r"t\.safetensors.*damaged"):
        RobustTicket.load(path)
    path.write_bytes(content[:-1] + bytes([1 - content[-1]]))
    with pytest.raises(CheckpointError, match=r"altered|invalid"):
        RobustTicket.load(path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        RobustTicket.load(tmp_path / "missing")


def test_compose():
    outer, inner = ticket("101 11", "1 1"), ticket("01 10", "1 1")
    assert outer.compose(inner) == ticket("001 10", "1 1")
    with pytest.raises(TicketError, match="what this one kept"):
        outer.compose(outer)


def test_distance():
    a, b = ticket("10 11", "1100 0111"), ticket("01 11", "1100 1111")
    distance = mask_distance(a, b)
    assert (distance.heads, distance.neurons) == (2 / 4, 1 / 8)
    assert mask_distance(a, a) == (0, 0)
    with pytest.raises(TicketError, match=r"\[2, 2\].*\[2\]"):
        mask_distance(a, ticket("11", "1111"))
