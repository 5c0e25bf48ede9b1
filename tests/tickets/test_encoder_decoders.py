"""Models of two stacks: what generation, the shared position bias and a search on pairs of texts ask for."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import transformers

from hf_robust_tickets.adversaries import PerturbationHook
from hf_robust_tickets.architectures import get_architecture, layer_module
from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.tickets import (
    RobustTicket,
    attach_gates,
    detach_gates,
    export_dense,
    load_pruned,
    prune_,
    random_ticket,
    refit,
    save_pruned,
)
from tests.testing.device import device
from tests.testing.families import ENCODER_DECODERS, families, logits, task_inputs, task_model, tiny_model
from tests.testing.rounding import assert_same_outputs, assert_same_weights
from tests.testing.tickets import emptying_ticket


def emptied(model, which):
    """A ticket without heads in no layer, in the first of each kind (that of T5 makes the bias of all), or in any."""
    entries = len(get_architecture(model).places(model))
    encoder = len(get_architecture(model).layers(model))
    heads = {"none": (), "first": (0, encoder, (encoder + entries) // 2), "all": range(entries)}[which]
    return emptying_ticket(model, heads=heads, neurons=(1, 3))


def masked(model, ticket):
    with torch.no_grad():
        for gate, mask in zip(attach_gates(model).parameters(), _gated(ticket)):
            gate.copy_(mask)
    return model


def _gated(ticket: RobustTicket):
    return [mask for mask in (*ticket.heads, *ticket.neurons) if len(mask)]


def generated(model, **options):
    inputs = task_inputs("t5", "seq2seq")
    inputs.pop("decoder_input_ids")
    settings = {
        "max_new_tokens": 9,
        "do_sample": False,
        "eos_token_id": None,
        "pad_token_id": 0,
        "no_repeat_ngram_size": 1,
    }
    return model.to(device()).generate(**inputs, **settings, **options)


@families(ENCODER_DECODERS)
@pytest.mark.parametrize("which", ["none", "first", "all"])
def test_the_pruned_model_generates_what_the_masked_one_does(family, which):
    model = task_model(family, "seq2seq")
    ticket = emptied(model, which)
    ways = [{"use_cache": False}, {}, {"num_beams": 2}, *([{"cache_implementation": "static"}] * (family == "t5"))]
    masked(model, ticket)
    expected = [generated(model, **way) for way in ways]
    assert len(set(expected[0][0].tolist())) == 10  # or the comparison would say little
    pruned = prune_(detach_gates(model), ticket)
    for way, tokens in zip(ways, expected):
        assert torch.equal(generated(pruned, **way), tokens), way
    assert torch.equal(generated(export_dense(pruned)), expected[1])


@families(("t5", "bart"))
def test_generation_after_opening_in_three_ways(family, tmp_path):
    model = task_model(family, "seq2seq")
    prune_(model, emptied(model, "first"))
    save_pruned(model, tmp_path / "small")
    expected = generated(model)
    assert torch.equal(generated(load_pruned(tmp_path / "small")), expected)
    export_dense(model, tmp_path / "dense")
    auto = transformers.AutoModelForSeq2SeqLM
    assert torch.equal(generated(auto.from_pretrained(tmp_path / "dense")), expected)
    assert torch.equal(generated(auto.from_pretrained(tmp_path / "small", trust_remote_code=True)), expected)


def biases(model, inputs):
    seen = []
    blocks = (*model.encoder.block, *model.decoder.block)
    handles = [block.register_forward_hook(lambda module, args, output: seen.append(output[1])) for block in blocks]
    logits(model, inputs)
    for handle in handles:
        handle.remove()
    return seen


def test_the_first_layer_hands_on_the_bias_of_all_heads():
    model, inputs = task_model("t5", "seq2seq"), task_inputs("t5", "seq2seq")
    dense, table = biases(model, inputs), model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
    for which in ("none", "first"):
        twin = copy.deepcopy(model)
        prune_(twin, emptied(twin, which))
        assert all(torch.equal(one, other) for one, other in zip(biases(twin, inputs), dense, strict=True))
        assert torch.equal(twin.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight, table)
        again = pickle.loads(pickle.dumps(twin))
        assert_same_outputs(logits(again, inputs), logits(twin, inputs))


def test_a_layer_that_loses_the_rest_of_its_heads_in_a_second_cut():
    inputs = task_inputs("t5", "seq2seq")
    model, at_once = task_model("t5", "seq2seq"), task_model("t5", "seq2seq")
    first = random_ticket(model, 0.25, 0.3, seed=2, round_to=1)
    prune_(model, first)
    second = emptied(model, "first")
    prune_(model, second)
    prune_(at_once, first.compose(second))
    assert_same_weights(model, at_once)
    assert_same_outputs(logits(model, inputs), logits(at_once, inputs))
    dense = export_dense(model)
    assert {type(m).__name__ for m in dense.modules()} == {
        type(m).__name__ for m in task_model("t5", "seq2seq").modules()
    }
    assert_same_outputs(logits(dense, inputs), logits(model, inputs))
    assert dense.encoder.block[0].layer[0].SelfAttention.n_heads == 4


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_attentions_have_the_heads_that_were_kept(family):
    model = tiny_model(family, "ForConditionalGeneration", attn_implementation="eager")
    ticket = random_ticket(model, 0.5, 0.25, seed=1, round_to=1)
    prune_(model, ticket)
    out = model(**task_inputs(family, "seq2seq"), output_attentions=True)
    found = [a.shape[1] for a in (*out.encoder_attentions, *out.decoder_attentions, *out.cross_attentions)]
    assert found == ticket.head_counts


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_refitting_brings_both_stacks_nearer_to_the_dense_model(family):
    dense, model = task_model(family, "seq2seq"), task_model(family, "seq2seq")
    prune_(model, random_ticket(model, 0.25, 0.25, seed=1, round_to=1))
    batch = task_inputs(family, "seq2seq")
    before = (logits(model, batch) - logits(dense, batch)).norm()
    steps = refit(model, dense, [batch])
    assert len(steps) == {"t5": 6 + 4, "bart": 8 + 5}[family]
    assert (logits(model, batch) - logits(dense, batch)).norm() < 0.7 * before


@pytest.mark.parametrize("case", [("t5", "seq2seq"), ("t5", "sequence"), ("t5", "token"), ("bart", "sequence")])
def test_the_embedding_of_the_input_is_the_encoders(case):
    """`get_input_embeddings()` gives a module that holds the weights of both and is not called."""
    model, inputs = task_model(*case), task_inputs(*case)
    clean = logits(model, inputs)
    hook = PerturbationHook(layer_module(model, 0))
    calls = []
    with hook.armed(lambda output: calls.append(output.shape) or torch.randn_like(output)):
        assert not torch.allclose(logits(model, inputs), clean, atol=1e-3)
    assert calls == [(3, 11, 32)]
    layers = get_architecture(model).layers(model)
    assert [layer_module(model, i) for i in (1, -1)] == [layers[0], layers[1]]
    with pytest.raises(ConfigurationError, match="from 1 to 2"):
        layer_module(model, 3)
