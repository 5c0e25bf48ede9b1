"""Least squares after the cut."""

from __future__ import annotations

import copy

import pytest
import torch

from hf_robust_tickets.architectures import get_architecture
from hf_robust_tickets.errors import ConfigurationError, DataError, TicketError
from hf_robust_tickets.tickets import attach_gates, prune_, random_ticket, refit
from hf_robust_tickets.tickets.refitting import _Sums
from tests.testing.families import FAMILIES, MAIN_TASK, families, task_inputs, task_model, tiny_inputs, tiny_model
from tests.testing.rounding import assert_same_weights
from tests.testing.tickets import emptying_ticket
from tests.testing.vision_models import tiny_image_model


def assert_unchanged(model, other):
    # The two may add the terms of a product in different orders: what that is off by is "mended".
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-5)


def batches(number=6, **options):
    return [tiny_inputs(seed=seed, **options) for seed in range(number)]


def test_two_points_by_hand():
    """Inputs 1 and 2 to be sent to 1 and 3 from a projection of zeros, with lambda = 0.1 (1 + 4) = 0.5."""
    projection = torch.nn.Linear(1, 1)
    with torch.no_grad():
        projection.weight.zero_()
        projection.bias.zero_()
        sums = _Sums(projection)
        x, goal = torch.tensor([[[1.0], [2.0], [50.0]]]), torch.tensor([[[1.0], [3.0], [-9.0]]])
        sums.add(x, projection(x), goal, torch.tensor([[1, 1, 0]]))  # the third token is padding
        # [[5 + 0.5, 3], [3, 2]] (w, b) = (7, 4): w = 1, b = 0.5; both points are missed by 0.5.
        before, after = sums.solve_(0.1)
    assert projection.weight.item() == pytest.approx(1.0) and projection.bias.item() == pytest.approx(0.5)
    assert before == pytest.approx(1.0) and after == pytest.approx(0.5 / 10)


def by_lstsq(model, dense, data, ridge):
    """The same with all activations in memory, and the ridge as further rows of a least-squares problem."""
    small, large = get_architecture(model), get_architecture(dense)
    for layer in range(len(small.layers(model))):
        for kind in ("head_outputs", "neuron_outputs"):
            projection, target = getattr(small, kind)(model)[layer], getattr(large, kind)(dense)[layer]
            seen, wanted = [], []
            handles = [
                projection.register_forward_hook(lambda _, x, y, seen=seen: seen.append(x[0])),
                target.register_forward_hook(lambda _, x, y, wanted=wanted: wanted.append(y)),
            ]
            with torch.no_grad():
                for batch in data:
                    model(**batch)
                    dense(**batch)
            for handle in handles:
                handle.remove()
            kept = torch.cat([batch["attention_mask"].flatten().bool() for batch in data])
            x = torch.cat([t.flatten(0, 1) for t in seen])[kept].double()
            y = torch.cat([t.flatten(0, 1) for t in wanted])[kept].double()
            width = x.shape[1]
            root = (ridge * x.square().sum(0).mean()).sqrt()
            rows = torch.cat([torch.eye(width).double() * root, torch.zeros(width, 1).double()], 1)
            x = torch.cat([x, torch.ones(len(x), 1).double()], 1)
            # The ridge rows ask for the present weights.
            old = projection.weight.double().T * root
            found = torch.linalg.lstsq(torch.cat([x, rows]), torch.cat([y, old])).solution
            with torch.no_grad():
                projection.weight.copy_(found[:-1].T)
                projection.bias.copy_(found[-1])


def test_equals_least_squares_with_all_activations_in_memory():
    dense = tiny_model("bert")
    model = prune_(copy.deepcopy(dense), random_ticket(dense, 0.5, 0.5, round_to=1))
    other, data = copy.deepcopy(model), batches()
    steps = refit(model, dense, data, ridge=0.03)
    by_lstsq(other, dense, data, 0.03)
    assert [(step.layer, step.kind) for step in steps] == [(i, k) for i in (0, 1) for k in ("heads", "neurons")]
    for (name, one), two in zip(model.named_parameters(), other.parameters()):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4, msg=name)


def test_hidden_states_come_nearer_to_those_of_the_dense_model():
    dense = tiny_model("bert")
    cut = prune_(copy.deepcopy(dense), random_ticket(dense, 0.5, 0.5, round_to=1))
    refitted = copy.deepcopy(cut)
    refit(refitted, dense, batches(24))
    unseen = tiny_inputs(seed=99, batch=5)
    with torch.no_grad():
        goal, before, after = (m.bert(**unseen).last_hidden_state for m in (dense, cut, refitted))
    assert (after - goal).square().sum() < 0.8 * (before - goal).square().sum()


@families(FAMILIES)
def test_errors_fall_in_every_family_and_nothing_cut_is_nothing_changed(family):
    task = MAIN_TASK[family]
    dense, data = task_model(family, task), [task_inputs(family, task)]
    same = copy.deepcopy(dense)
    refit(same, dense, data)
    assert_unchanged(same, dense)
    model = prune_(copy.deepcopy(dense), random_ticket(dense, 0.4, 0.5, seed=1, round_to=1))
    steps = refit(model, dense, data)
    architecture = get_architecture(dense)
    assert len(steps) == sum(n > 0 for n in (*architecture.num_heads(dense), *architecture.num_neurons(dense)))
    # The first attention of a decoder may have lost nothing, and reads what it always did.
    assert all(step.after < step.before or step.before == 0 for step in steps)


def test_a_block_without_units_gets_the_mean_of_the_dense_one():
    dense = tiny_model("bert")
    model = prune_(copy.deepcopy(dense), emptying_ticket(dense))
    data = batches()
    steps = refit(model, dense, data)
    # The first attention of a decoder may have lost nothing, and reads what it always did.
    assert all(step.after < step.before or step.before == 0 for step in steps)
    seen = []
    dense.bert.encoder.layer[0].attention.output.dense.register_forward_hook(lambda _, x, y: seen.append(y))
    with torch.no_grad():
        for batch in data:
            dense(**batch)
    rows = torch.cat([y[batch["attention_mask"].bool()] for y, batch in zip(seen, data)])
    torch.testing.assert_close(model.bert.encoder.layer[0].attention.output.dense.bias, rows.mean(0))


def test_convolutions_are_fitted_by_their_patches():
    dense = tiny_image_model("small_image_resnet", widths=[8, 8]).eval()
    data = [{"pixel_values": torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(i))} for i in range(2)]
    same = copy.deepcopy(dense)
    refit(same, dense, data)
    assert_unchanged(same, dense)
    model = prune_(copy.deepcopy(dense), random_ticket(dense, 0.5, 0.5, seed=1, round_to=1))
    steps = refit(model, dense, data)
    assert steps and {step.kind for step in steps} == {"neurons"}
    # The first attention of a decoder may have lost nothing, and reads what it always did.
    assert all(step.after < step.before or step.before == 0 for step in steps)


def test_modes_and_gradients_stay_as_they_were():
    dense = tiny_model("bert", hidden_dropout_prob=0.5)
    model = prune_(copy.deepcopy(dense), random_ticket(dense, 0.5, 0.5, round_to=1))
    model.train()
    model.bert.embeddings.eval()
    twin = copy.deepcopy(model)
    refit(model, dense, batches())
    refit(twin, dense, batches())
    assert_same_weights(model, twin)  # dropout is off
    assert model.training and not model.bert.embeddings.training and not dense.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in [*model.modules(), *dense.modules()])


def test_what_cannot_be_refitted_is_refused_in_one_line():
    dense = tiny_model("bert")
    model = prune_(copy.deepcopy(dense), random_ticket(dense, 0.5, 0.5, round_to=1))
    with pytest.raises(ConfigurationError, match="positive ridge, got 0"):
        refit(model, dense, batches(), ridge=0)
    with pytest.raises(DataError, match="got an iterator"):
        refit(model, dense, iter(batches()))
    with pytest.raises(DataError, match="at least one batch"):
        refit(model, dense, [])
    with pytest.raises(TicketError, match="bert with 3 layers"):
        refit(model, tiny_model("bert", num_hidden_layers=3), batches())
    with pytest.raises(TicketError, match="got gpt2 with 2 layers"):
        refit(model, tiny_model("gpt2"), batches())
    with pytest.raises(TicketError, match="16 -> 16 for one of 16 -> 32 in layer 0"):
        refit(model, tiny_model("bert", hidden_size=16), batches())
    attach_gates(dense)
    with pytest.raises(TicketError, match="without gates"):
        refit(model, dense, batches())
