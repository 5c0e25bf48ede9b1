from __future__ import annotations

import copy

import pytest
import torch

from hf_robust_tickets.errors import TicketError, UnknownArchitectureError
from hf_robust_tickets.tickets import attach_gates, detach_gates, get_gates, prune_, random_ticket
from tests.testing.families import logits, tiny_inputs, tiny_model
from tests.testing.rounding import assert_same_outputs, assert_same_weights


def test_gates_of_one_change_nothing_and_are_parameters_of_the_model():
    model, inputs = tiny_model(), tiny_inputs()
    before = logits(model, inputs)
    gates = attach_gates(model)
    assert_same_outputs(logits(model, inputs), before)
    assert [len(g) for g in gates.heads] == [4, 4]
    assert [len(g) for g in gates.neurons] == [24, 24]
    names = [name for name, _ in model.named_parameters() if name.endswith("robust_gate")]
    assert names == [
        f"bert.encoder.layer.{i}.{path}.robust_gate"
        for i in (0, 1)
        for path in ("attention.output.dense", "output.dense")
    ]
    assert len(gates.parameters()) == 4


def test_gates_scale_what_they_belong_to():
    model, inputs = tiny_model(), tiny_inputs()
    gates = attach_gates(model)
    with torch.no_grad():
        gates.heads[0][1] = 0.5
    gated = logits(model, inputs)
    detach_gates(model)
    with torch.no_grad():
        model.bert.encoder.layer[0].attention.output.dense.weight[:, 8:16] *= 0.5
    torch.testing.assert_close(logits(model, inputs), gated)


def test_detaching_restores_the_model_exactly():
    model, inputs = tiny_model(), tiny_inputs()
    before, keys = logits(model, inputs), list(model.state_dict())
    calls = []
    dense = model.bert.encoder.layer[0].output.dense
    dense.register_forward_pre_hook(lambda module, args: calls.append(1))
    attach_gates(model)
    detach_gates(model)
    assert list(model.state_dict()) == keys
    assert_same_outputs(logits(model, inputs), before)
    assert len(dense._forward_pre_hooks) == 1  # somebody else's hook stays
    assert calls
    assert get_gates(model) is None
    attach_gates(model)


def test_attaching_twice_and_pruning_with_gates_are_refused():
    model = tiny_model()
    ticket = random_ticket(model, round_to=1)
    attach_gates(model)
    with pytest.raises(TicketError, match="detach_gates"):
        attach_gates(model)
    with pytest.raises(TicketError, match="detach_gates"):
        prune_(model, ticket)
    with pytest.raises(UnknownArchitectureError):
        attach_gates(torch.nn.Linear(2, 2))


def test_gradients_of_gates_are_the_derivative():
    model, inputs = tiny_model(dtype=None).double(), tiny_inputs()
    gates = attach_gates(model)
    for gate in gates.parameters():
        gate.data = gate.data.double()
    model(**inputs).logits.sum().backward()
    gate, step = gates.neurons[1], 1e-6
    with torch.no_grad():
        gate[3] += step
        up = model(**inputs).logits.sum()
        gate[3] -= 2 * step
        down = model(**inputs).logits.sum()
    assert float(gate.grad[3]) == pytest.approx(float((up - down) / (2 * step)), rel=1e-5)


def test_l1():
    gates = attach_gates(tiny_model())
    with torch.no_grad():
        gates.heads[0][0] = -3.0
    heads, neurons = gates.l1()
    assert (heads.item(), neurons.item()) == (10.0, 48.0)
    heads.backward()
    assert gates.heads[0].grad.tolist() == [-1.0, 1.0, 1.0, 1.0]


def test_gates_stay_float32_in_a_bfloat16_model():
    model = tiny_model().to(torch.bfloat16)
    gates = attach_gates(model)
    assert {g.dtype for g in gates.parameters()} == {torch.float32}
    out = model(**tiny_inputs()).logits
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert all(g.grad.dtype == torch.float32 for g in gates.parameters())


def test_copies_have_their_own_gates():
    model, inputs = tiny_model(), tiny_inputs()
    gates = attach_gates(model)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        get_gates(twin).heads[0].zero_()
    assert gates.heads[0].tolist() == [1.0] * 4
    assert not torch.equal(logits(twin, inputs), logits(model, inputs))
    model.zero_grad()
    detach_gates(twin)
    assert get_gates(model).heads[0] is gates.heads[0]


def test_state_dict_round_trip_and_assignment():
    model, inputs = tiny_model(), tiny_inputs()
    with torch.no_grad():
        for gate in attach_gates(model).parameters():
            gate.uniform_()
    for assign in (False, True):
        other = tiny_model(seed=1)
        attach_gates(other)
        other.load_state_dict(model.state_dict(), assign=assign)
        assert_same_weights(other, model)
        assert_same_outputs(logits(other, inputs), logits(model, inputs))
        assert torch.equal(get_gates(other).heads[0], get_gates(model).heads[0])


def test_a_saved_gated_model_keeps_its_gates(tmp_path):
    from safetensors.torch import load_file

    model = tiny_model()
    with torch.no_grad():
        attach_gates(model).heads[1].fill_(0.25)
    model.save_pretrained(tmp_path)
    other = tiny_model(seed=1)
    gates = attach_gates(other)
    other.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=False)
    assert gates.heads[1].tolist() == [0.25] * 4


def test_gates_on_a_pruned_model_fit_what_is_left():
    model = tiny_model()
    ticket = random_ticket(model, 0.25, 0.5, round_to=1)
    gates = attach_gates(prune_(model, ticket))
    assert [len(g) for g in gates.heads] == ticket.head_counts
    assert [len(g) for g in gates.neurons] == ticket.neuron_counts


@pytest.mark.parametrize("model_type", ["bert", "gpt2"])
def test_folded_gates_keep_the_output(model_type):
    model, inputs = tiny_model(model_type), tiny_inputs(model_type)
    gates = attach_gates(model)
    with torch.no_grad():
        for parameter in gates.parameters():
            parameter.uniform_(0.5, 1.5)
    gated = logits(model, inputs)
    detach_gates(model, fold=True)
    assert get_gates(model) is None
    torch.testing.assert_close(logits(model, inputs), gated, rtol=1e-4, atol=1e-5)
