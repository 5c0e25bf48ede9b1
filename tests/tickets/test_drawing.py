from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from hf_robust_tickets.errors import ConfigurationError, SparsityError, TicketError
from hf_robust_tickets.tickets import Gates, attach_gates, draw_ticket, prune_, random_ticket
from hf_robust_tickets.tickets.drawing import select
from tests.testing.families import tiny_model


def gates(heads, neurons):
    def parameters(rows):
        return [nn.Parameter(torch.tensor(row)) for row in rows]

    return Gates(heads=parameters(heads), neurons=parameters(neurons))


def kept(masks):
    return ["".join("01"[int(x)] for x in mask) for mask in masks]


def test_global_ranking_uses_the_magnitude():
    g = gates([[0.9, -2.0], [0.1, 1.0]], [[3.0, 0.2, -0.1], [0.5, -4.0, 0.3]])
    t = draw_ticket(g, head_sparsity=0.25, neuron_sparsity=0.5, round_to=1)
    assert kept(t.heads) == ["11", "01"]
    assert kept(t.neurons) == ["100", "110"]  # 0.1, 0.2 and 0.3 go


def test_an_emptied_layer_gets_its_best_entry_back():
    g = gates([[0.1, 0.3, 0.2], [5.0, 6.0, 7.0]], [[1.0], [1.0]])
    t = draw_ticket(g, head_sparsity=0.5, neuron_sparsity=0, round_to=1)
    assert kept(t.heads) == ["010", "111"]


def test_an_emptied_layer_may_stay_empty():
    g = gates([[0.1, 0.3, 0.2], [5.0, 6.0, 7.0]], [[0.1, 0.2], [1.0, 2.0]])
    t = draw_ticket(g, head_sparsity=0.5, neuron_sparsity=0.5, round_to=2, keep_one=False)
    assert (kept(t.heads), kept(t.neurons)) == (["000", "111"], ["00", "11"])
    model = tiny_model()
    most = {"head_sparsity": 0.99, "neuron_sparsity": 0.99}
    assert 0 in random_ticket(model, **most, keep_one=False, round_to=1).head_counts
    assert 0 not in random_ticket(model, **most, round_to=1).head_counts
    # What has no gate any more stays without.
    t = draw_ticket(gates([[], [1.0, 2.0]], [[1.0], []]), head_sparsity=0.5, neuron_sparsity=0, round_to=1)
    assert (kept(t.heads), kept(t.neurons)) == (["", "01"], ["1", ""])


def test_layer_scope_removes_the_same_number_everywhere():
    g = gates([[0.1, 0.2, 0.3], [7.0, 6.0, 5.0]], [[1.0], [1.0]])
    t = draw_ticket(g, head_sparsity=0.4, neuron_sparsity=0, head_scope="layer", round_to=1)
    assert kept(t.heads) == ["011", "110"]  # floor(0.4 * 3) = 1 each


def test_ties_go_by_position():
    assert kept(select([torch.ones(2), torch.ones(2)], 0.25)) == ["01", "11"]
    assert kept(select([torch.ones(4)], 0.5)) == ["0011"]


@pytest.mark.parametrize(
    ("sparsity", "total", "removed"), [(1 / 6, 144, 24), (0.4, 12 * 3072, 14745), (0.29, 100, 29), (0.999, 5, 4)]
)
def test_the_exact_number_goes(sparsity, total, removed):
    (mask,) = select([torch.rand(total)], sparsity)
    assert int((~mask).sum()) == removed


def test_almost_everything_still_leaves_one_per_layer():
    masks = select([torch.rand(8), torch.rand(8)], 1 - 1e-12)
    assert all(int(mask.sum()) >= 1 for mask in masks)


def test_round_to_gives_neurons_back_but_never_more_than_there_are():
    scores = [torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0])]
    assert kept(select(scores, 0.5, round_to=1)) == ["0000011111"]
    assert kept(select(scores, 0.5, round_to=4)) == ["0011111111"]
    assert kept(select(scores, 0.1, round_to=4)) == ["1111111111"]
    assert kept(select(scores, 0.5, round_to=64)) == ["1111111111"]
    t = draw_ticket(gates([[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0]]), 1 / 3, 2 / 3, round_to=2)
    assert (t.head_counts, t.neuron_counts) == ([2], [2])  # heads are not rounded
    wide = gates([[1.0, 2.0]], [[float(i) for i in range(1, 41)]])
    assert (
        draw_ticket(wide, 0, 0.5).neuron_counts
        == [32]
        == random_ticket(tiny_model(intermediate_size=40, num_hidden_layers=1), 0, 0.5).neuron_counts
    )


def test_rounding_may_not_undo_the_whole_cut():
    g = gates([[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0]])
    message = "got 16, which gives back all that neuron_sparsity=0.5 cuts of layers of 3 to 3 neurons: use round_to=1"
    with pytest.raises(ConfigurationError, match=message):
        draw_ticket(g, 0, 0.5)
    assert draw_ticket(g, 1 / 3, 0).neuron_counts == [3]  # nothing was to go


@pytest.mark.parametrize(
    ("sparsity", "error", "message"),
    [
        (-0.1, SparsityError, r"\[0, 1\)"),
        (1.0, SparsityError, r"\[0, 1\)"),
        (1.5, SparsityError, r"\[0, 1\)"),
        (float("nan"), ConfigurationError, "to be a number, got nan"),
    ],
)
def test_sparsity_outside_the_range(sparsity, error, message):
    g = gates([[1.0, 1.0]], [[1.0]])
    with pytest.raises(error, match=message):
        draw_ticket(g, head_sparsity=sparsity, round_to=1)
    with pytest.raises(error, match=message):
        random_ticket(tiny_model(), neuron_sparsity=sparsity, round_to=1)


def test_other_bad_options():
    g = gates([[1.0, 1.0]], [[1.0]])
    with pytest.raises(ConfigurationError, match=r"global, layer.*'all'"):
        draw_ticket(g, head_scope="all", round_to=1)
    with pytest.raises(ConfigurationError, match="round_to"):
        draw_ticket(g, round_to=0)
    with pytest.raises(TicketError, match="diverged"):
        draw_ticket(gates([[float("nan"), 1.0]], [[1.0]]), round_to=1)


def test_thirds_as_they_are_typed():
    # Expected as in EarlyBERT: 4 of 12 heads.
    for typed in (0.333333, 0.33333333, 1 / 3):
        assert [int((~mask).sum()) for mask in select([torch.rand(12)], typed)] == [4]
    assert [int((~mask).sum()) for mask in select([torch.rand(12)], 0.3333)] == [3]


def test_random_tickets_have_the_drawn_size_and_their_own_seed():
    model = tiny_model()
    state = torch.random.get_rng_state()
    first, again, other = (random_ticket(model, 0.25, 0.5, seed=s, round_to=1) for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first == again
    assert first != other
    assert sum(first.head_counts) == 6
    assert sum(first.neuron_counts) == 24


def test_a_random_ticket_with_the_counts_of_another():
    model = tiny_model()
    like = random_ticket(model, 0.5, 0.7, seed=9, round_to=1)
    first, again, other = (random_ticket(model, like=like, seed=s) for s in (1, 1, 2))
    assert (first.head_counts, first.neuron_counts) == (like.head_counts, like.neuron_counts)
    assert first == again and first not in (other, like)
    with pytest.raises(ConfigurationError, match="leave out head_sparsity, round_to"):
        random_ticket(model, head_sparsity=0.5, round_to=4, like=like)
    with pytest.raises(ConfigurationError, match="needs like=ticket"):
        random_ticket(model, match="parameters", round_to=1)
    with pytest.raises(ConfigurationError, match="counts, parameters, got 'size'"):
        random_ticket(model, like=like, match="size")
    prune_(model, like)
    with pytest.raises(TicketError, match="expected like to be a ticket for this model"):
        random_ticket(model, like=like)


def parameters_with(model, ticket):
    return sum(p.numel() for p in prune_(copy.deepcopy(model), ticket).parameters())


def test_a_random_ticket_of_equal_parameters():
    model = tiny_model()
    like = draw_ticket(steep_gates(model), 0.5, 0.5, round_to=1)
    first = random_ticket(model, like=like, match="parameters", seed=1)
    assert parameters_with(model, first) == parameters_with(model, like) < parameters_with(model, whole(model))
    # The ticket takes all from the first layers; the control from anywhere.
    assert first.neuron_counts != like.neuron_counts
    # Layers of unequal width: a neuron weighs the same in each, a head too.
    prune_(model, random_ticket(model, 0.25, 0.25, seed=3, round_to=1))
    like = draw_ticket(steep_gates(model), 0.3, 0.3, round_to=1)
    assert parameters_with(model, random_ticket(model, like=like, match="parameters")) == parameters_with(model, like)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_equal_parameters_in_other_families(family):
    model = tiny_model(family)
    like = draw_ticket(steep_gates(model), 0.5, 0.5, round_to=1)
    found = random_ticket(model, like=like, match="parameters", seed=1)
    dense, kept, other = (parameters_with(model, t) for t in (whole(model), like, found))
    assert abs(kept - other) <= 0.1 * (dense - kept)


def steep_gates(model):
    """The first layers are worth least."""
    attached = attach_gates(copy.deepcopy(model))
    with torch.no_grad():
        for kind in (attached.heads, attached.neurons):
            for i, gate in enumerate(kind):
                gate += i + torch.linspace(0, 0.5, len(gate))
    return attached


def whole(model):
    return random_ticket(model, 0.0, 0.0, round_to=1)
