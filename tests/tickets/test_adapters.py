"""Pruned models with adapters (PEFT) and models with adapters that are searched and pruned; quantised models."""

from __future__ import annotations

import warnings

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from hf_robust_tickets.errors import TicketError
from hf_robust_tickets.tickets import (
    attach_gates,
    detach_gates,
    draw_ticket,
    is_pruned,
    load_pruned,
    prune_,
    pruned_ticket,
    random_ticket,
)
from tests.testing.families import logits, tiny_inputs, tiny_model
from tests.testing.rounding import assert_same_outputs, assert_same_weights
from tests.testing.tickets import emptying_ticket

LORA = {"task_type": "SEQ_CLS", "r": 4, "target_modules": "all-linear"}


def train_two_steps(model, inputs):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    model.train()
    for _ in range(2):
        model(**inputs, labels=torch.tensor([0, 1, 1])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.mark.parametrize("family", ["bert", "distilbert", "gpt2", "llama", "modernbert"])
@pytest.mark.parametrize("draw", [random_ticket, emptying_ticket])
def test_prune_then_adapt_then_merge(family, draw, tmp_path):
    model, inputs = tiny_model(family), tiny_inputs(family)
    prune_(model, draw(model))
    model.save_pretrained(tmp_path / "pruned")
    before = logits(model, inputs)
    # PEFT keeps whatever ends in "classifier" whole, and cannot also adapt it.
    config = LoraConfig(**LORA, fan_in_fan_out=family == "gpt2", exclude_modules=["pre_classifier"])
    adapted = train_two_steps(get_peft_model(model, config), inputs)
    expected = logits(adapted, inputs)
    assert not torch.allclose(expected, before, atol=1e-3)
    adapted.save_pretrained(tmp_path / "adapter")
    # The adapter alone, on the pruned checkpoint.
    again = PeftModel.from_pretrained(load_pruned(tmp_path / "pruned"), tmp_path / "adapter").eval()
    assert_same_weights(again, adapted)
    assert_same_outputs(logits(again, inputs), expected)
    # Merged, it is a pruned model like any other.
    merged = adapted.merge_and_unload()
    assert is_pruned(merged) and type(merged) is type(model)
    torch.testing.assert_close(logits(merged, inputs), expected, atol=1e-5, rtol=1e-5)
    merged.save_pretrained(tmp_path / "merged")
    reopened = load_pruned(tmp_path / "merged")
    assert_same_weights(reopened, merged)
    assert_same_outputs(logits(reopened, inputs), logits(merged, inputs))
    assert pruned_ticket(reopened) == pruned_ticket(model)
    prune_(reopened, random_ticket(reopened, round_to=1))


def test_a_ticket_searched_on_a_model_with_adapters_is_cut_after_merging():
    inputs = tiny_inputs()
    adapted = get_peft_model(tiny_model(), LoraConfig(**LORA, init_lora_weights=False)).eval()
    model = adapted.get_base_model()
    gates = attach_gates(model)
    logits(adapted, inputs)
    adapted(**inputs)[0].sum().backward()
    assert all(gate.grad.abs().sum() > 0 for gate in gates.parameters())
    ticket = random_ticket(model, 0.4, 0.5, round_to=1)
    with torch.no_grad():
        for gate, mask in zip(gates.parameters(), (*ticket.heads, *ticket.neurons)):
            gate.copy_(mask)
    masked = logits(adapted, inputs)
    assert (
        draw_ticket(gates, 1 - sum(ticket.head_counts) / 8, 1 - sum(ticket.neuron_counts) / 48, round_to=1) == ticket
    )
    with pytest.raises(TicketError, match=r"peft\..*merge the adapters before"):
        detach_gates(model, fold=True)
    detach_gates(model)
    with pytest.raises(TicketError, match=r"peft\.tuners\.lora.*merge adapters"):
        prune_(model, ticket)
    merged = prune_(adapted.merge_and_unload(), ticket)
    torch.testing.assert_close(logits(merged, inputs), masked, atol=1e-5, rtol=1e-5)


def test_the_wrapper_itself_is_refused():
    ticket, adapted = random_ticket(tiny_model(), round_to=1), get_peft_model(tiny_model(), LoraConfig(**LORA))
    with pytest.raises(TicketError, match=r"PeftModel.*merge_and_unload"):
        prune_(adapted, ticket)
    for ask in (attach_gates, random_ticket):
        with pytest.raises(TicketError, match=r"get_base_model\(\)"):
            ask(adapted)


def test_a_layer_that_is_gone_takes_no_adapter():
    model = tiny_model()
    prune_(model, emptying_ticket(model))
    with pytest.raises(ValueError, match="not supported"):
        get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=["dense"]))
    widths = {n: (getattr(m, "in_features", 1), getattr(m, "out_features", 1)) for n, m in model.named_modules()}
    gone = [name for name, width in widths.items() if 0 in width]
    assert gone == [
        f"bert.encoder.layer.{path}.dense" for path in ("0.attention.output", "1.intermediate", "1.output")
    ]
    get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=["dense"], exclude_modules=gone))


def test_quantised_models_are_refused():
    ticket = random_ticket(tiny_model(), round_to=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has moved this to a package of its own
        quantised = torch.ao.quantization.quantize_dynamic(tiny_model(), {nn.Linear})
    with pytest.raises(TicketError, match=r"quantized\.dynamic.*undo quantisation"):
        prune_(quantised, ticket)
    with pytest.raises(TicketError, match=r"quantized\.dynamic.*before quantising"):
        attach_gates(quantised)


@pytest.mark.parametrize("mark", ["is_quantized", "hf_quantizer", "quantization_method"])
def test_what_transformers_marks_as_quantised_is_refused(mark):
    model = tiny_model()
    setattr(model, mark, True)
    with pytest.raises(TicketError, match="before quantising"):
        prune_(model, random_ticket(model, round_to=1))


def test_a_configuration_that_says_quantised_is_believed():
    model = tiny_model()
    model.config.quantization_config = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    with pytest.raises(TicketError, match="before quantising"):
        prune_(model, random_ticket(model, round_to=1))
