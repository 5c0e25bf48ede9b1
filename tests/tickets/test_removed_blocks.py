"""Layers that lost all their heads or all their neurons: the block is gone, its residual stays."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import pytest
import torch
import transformers
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hf_robust_tickets.architectures import get_architecture, register_architecture
from hf_robust_tickets.architectures import registry as registry_module
from hf_robust_tickets.errors import ConfigurationError, TicketError
from hf_robust_tickets.tickets import (
    attach_gates,
    detach_gates,
    draw_ticket,
    export_dense,
    load_pruned,
    prune_,
    pruned_ticket,
)
from tests.testing.elsewhere import logits_elsewhere, open_elsewhere, save_case
from tests.testing.families import (
    DECODERS,
    MAIN_TASK,
    TASKS,
    families,
    is_slow,
    logits,
    task_inputs,
    task_model,
    tiny_inputs,
    tiny_model,
)
from tests.testing.rounding import assert_same_outputs, assert_same_weights
from tests.testing.tickets import emptying_ticket


def emptied(family, task=None, **places):
    model = task_model(family, task or MAIN_TASK[family])
    return prune_(model, emptying_ticket(model, **places))


def masked_logits(model, ticket, inputs):
    with torch.no_grad():
        for gate, mask in zip(attach_gates(model).parameters(), (*ticket.heads, *ticket.neurons)):
            gate.copy_(mask)
    result = logits(model, inputs)
    detach_gates(model)
    return result


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    roots = {}

    def folder(family):
        slow = is_slow(family)
        if slow not in roots:
            roots[slow] = tmp_path_factory.mktemp("removed")
            for name, task in MAIN_TASK.items():
                if is_slow(name) == slow:
                    save_case(roots[slow] / name, name, task, emptied(name))
            open_elsewhere(roots[slow], tmp_path_factory.mktemp("home"))
        return roots[slow] / family

    return folder


@families(MAIN_TASK)
def test_mask_equals_prune_and_nothing_dead_is_left(family):
    task = MAIN_TASK[family]
    model, inputs = task_model(family, task), task_inputs(family, task)
    ticket = emptying_ticket(model)
    masked = masked_logits(model, ticket, inputs)
    assert_same_outputs(logits(prune_(model, ticket), inputs), masked)
    dense = task_model(family, task).train()
    dense(**task_inputs(family, task, labels=True)).loss.backward()
    unused = {name for name, parameter in dense.named_parameters() if parameter.grad is None}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()
    for _ in range(2):
        model(**task_inputs(family, task, labels=True)).loss.backward()
        assert {name for name, parameter in model.named_parameters() if parameter.grad is None} == unused
        assert all(parameter.numel() for parameter in model.parameters())
        optimizer.step()
        model.zero_grad()


@families(MAIN_TASK)
def test_save_equals_load_in_three_ways(family, checkpoint, tmp_path):
    task, folder = MAIN_TASK[family], checkpoint(family)
    model, inputs = emptied(family), task_inputs(family, task)
    expected = logits(model, inputs)
    again = load_pruned(folder)
    assert_same_weights(again, model)
    assert_same_outputs(logits(again, inputs), expected)
    assert_same_outputs(logits_elsewhere(folder), expected)
    export_dense(model, tmp_path)
    dense = getattr(transformers, TASKS[task][1]).from_pretrained(tmp_path)
    assert_same_outputs(logits(dense, inputs), expected)
    # The dense model is whole again: what was kept is at its place.
    assert_same_outputs(logits(prune_(dense, pruned_ticket(model)), inputs), expected)


@families(MAIN_TASK, varied=True)
def test_pruning_again_equals_pruning_once(family):
    task = MAIN_TASK[family]
    inputs, model, at_once = task_inputs(family, task), emptied(family), task_model(family, task)
    first = pruned_ticket(model)
    gates = attach_gates(model)
    assert [len(gate) for gate in gates.heads] == first.head_counts
    assert all(gate.numel() for gate in gates.parameters())
    for gate in gates.parameters():
        gate.data.copy_(torch.rand(len(gate)))
    second = draw_ticket(gates, 0.3, 0.3, round_to=1)
    detach_gates(model)
    prune_(model, second)
    prune_(at_once, first.compose(second))
    assert_same_weights(model, at_once)
    assert_same_outputs(logits(model, inputs), logits(at_once, inputs))
    assert model.config.robust_ticket == at_once.config.robust_ticket


@families(DECODERS)
def test_generation_with_the_cache_of_a_model_without_attention_in_its_first_layer(family):
    model, inputs = emptied(family, "causal"), {"input_ids": torch.tensor([[5, 6, 7, 8]])}
    settings = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    expected = model.generate(**inputs, **settings, use_cache=False)
    assert torch.equal(model.generate(**inputs, **settings, use_cache=True), expected)
    if family in ("llama", "gpt2"):
        static = model.generate(**inputs, **settings, cache_implementation="static", disable_compile=True)
        assert torch.equal(static, expected)


@pytest.mark.parametrize("family", ["bert", "llama", "mpnet", "albert"])
def test_a_model_that_lost_every_block(family):
    model, inputs = task_model(family, "sequence"), tiny_inputs(family)
    everywhere = range(len(get_architecture(model).num_heads(model)))
    ticket = emptying_ticket(model, heads=everywhere, neurons=everywhere)
    masked = masked_logits(model, ticket, inputs)
    prune_(model, ticket)
    assert_same_outputs(logits(model, inputs), masked)
    with pytest.raises(TicketError, match="lost all of them"):
        attach_gates(model)


def test_no_computation_is_left_and_the_bias_is():
    model, inputs = tiny_model(), tiny_inputs()
    layer = model.bert.encoder.layer[0]
    bias = layer.attention.output.dense.bias.detach().clone()
    heard = []
    layer.attention.output.dense.register_forward_hook(lambda module, args, output: heard.append(output))
    prune_(model, emptying_ticket(model, heads=(0,), neurons=(0,)))
    names = [name for name, _ in layer.named_parameters()]
    norms = [f"{path}.LayerNorm.{kind}" for path in ("attention.output", "output") for kind in ("weight", "bias")]
    assert sorted(names) == sorted(["attention.output.dense.bias", "output.dense.bias", *norms])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(torch.randn(3, 11, 32))
    assert counter.get_total_flops() == 0
    logits(model, inputs)
    assert torch.equal(heard[-1], bias.expand(3, 11, 32))  # somebody else's hook stays


def test_copies_attentions_and_dtypes():
    model, inputs = tiny_model(attn_implementation="eager"), tiny_inputs()
    ticket = emptying_ticket(model)
    prune_(model, ticket)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_same_weights(twin, model)
        assert_same_outputs(logits(twin, inputs), logits(model, inputs))
        assert type(twin.bert.encoder.layer[0].attention.self) is type(model.bert.encoder.layer[0].attention.self)
    out = model(**inputs, output_attentions=True, output_hidden_states=True)
    assert [a.shape[1] for a in out.attentions] == ticket.head_counts
    assert len(out.hidden_states) == 3
    assert model.to(torch.bfloat16)(**inputs).logits.dtype == torch.bfloat16
    with torch.device("meta"):
        meta = tiny_model().__class__(tiny_model().config)
    assert {p.device.type for p in prune_(meta, ticket).parameters()} == {"meta"}


def test_the_normalisation_after_a_block_stays():
    """OPT's 350M size normalises after its blocks: the same module is not dead there."""
    model, inputs = tiny_model("opt", do_layer_norm_before=False), tiny_inputs()
    ticket = emptying_ticket(model)
    masked = masked_logits(model, ticket, inputs)
    assert_same_outputs(logits(prune_(model, ticket), inputs), masked)
    assert isinstance(get_architecture(model).layers(model)[0].self_attn_layer_norm, nn.LayerNorm)
    assert_same_outputs(logits(export_dense(model), inputs), masked)


def test_a_family_whose_attention_cannot_be_removed(monkeypatch):
    monkeypatch.setattr(registry_module, "_KNOWN", dict(registry_module._KNOWN))
    model = tiny_model()
    bert = get_architecture(model)
    register_architecture(replace(bert, heads=replace(bert.heads, block="")), replace=True)
    with pytest.raises(TicketError, match=r"none in layer 0.*heads\.block.*keep_one=True"):
        prune_(model, emptying_ticket(model))
    prune_(model, emptying_ticket(model, heads=()))
    with pytest.raises(ConfigurationError, match="deep inside"):
        replace(bert, heads=replace(bert.heads, block="attention"))
