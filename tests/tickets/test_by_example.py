"""Gradients by example are those of a loop over the examples, in every family."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hf_robust_tickets.errors import TicketError
from hf_robust_tickets.tickets import ExampleGradients, Gates, attach_gates, detach_gates
from tests.testing.families import FAMILIES, MAIN_TASK, task_inputs, task_model
from tests.testing.tiny import tiny_bert
from tests.testing.vision_models import tiny_image_model


def outputs(model: nn.Module, inputs: dict) -> torch.Tensor:
    """One number for each example, as far from linear in the gates as a loss is."""
    found = model(**inputs)
    return (found["logits"] if "logits" in found else found[0]).flatten(1).square().sum(dim=1)


def loop(model: nn.Module, gates: Gates, inputs: dict) -> list[torch.Tensor]:
    """Sum over examples of |dL/dc|, one backward pass each."""
    totals = [torch.zeros_like(gate) for gate in gates.parameters()]
    for example in range(len(outputs(model, inputs))):
        gradients = torch.autograd.grad(outputs(model, inputs)[example], gates.parameters())
        for total, gradient in zip(totals, gradients):
            total += gradient.abs()
    return totals


def assert_close(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    torch.testing.assert_close(torch.cat(found), torch.cat(expected), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_to_a_loop(family):
    task = MAIN_TASK[family]
    model, inputs = task_model(family, task).eval(), task_inputs(family, task)
    gates, gradients = attach_gates(model), ExampleGradients()
    with gradients.watching(model):
        outputs(model, inputs).sum().backward()
    assert_close(gradients.take(), loop(model, gates, inputs))
    assert gradients.take() == []


def test_channels():
    model = tiny_image_model("small_image_resnet").eval()
    inputs = {"pixel_values": torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))}
    gates, gradients = attach_gates(model), ExampleGradients()
    with gradients.watching(model):
        outputs(model, inputs).sum().backward()
    assert_close(gradients.take(), loop(model, gates, inputs))


def test_several_choices_are_one_example():
    model, inputs = task_model("bert", "choice").eval(), task_inputs("bert", "choice")
    gates, gradients = attach_gates(model), ExampleGradients()
    with gradients.watching(model):
        outputs(model, inputs).sum().backward()
    assert inputs["input_ids"].dim() == 3
    assert_close(gradients.take(), loop(model, gates, inputs))


def test_passes_over_one_batch_are_summed_before_the_absolute_value():
    model, inputs = task_model("bert", "sequence").eval(), task_inputs("bert", "sequence")
    attach_gates(model)
    gradients = ExampleGradients()
    with gradients.watching(model):  # what one pass adds, the other takes away
        outputs(model, inputs).sum().backward()
        (-outputs(model, inputs)).sum().backward()
    assert torch.cat(gradients.take()).abs().max() < 1e-5


def test_micro_batches_are_added():
    model, inputs = task_model("bert", "sequence").eval(), task_inputs("bert", "sequence")
    attach_gates(model)
    gradients = ExampleGradients()
    with gradients.watching(model):
        outputs(model, inputs).sum().backward()
    whole = gradients.take()
    for part in (slice(0, 1), slice(1, None)):
        with gradients.watching(model):
            outputs(model, {key: value[part] for key, value in inputs.items()}).sum().backward()
    assert_close(gradients.take(), whole)


def test_nothing_stays_behind():
    model, inputs = task_model("bert", "sequence").eval(), task_inputs("bert", "sequence")
    before = outputs(model, inputs)
    attach_gates(model)
    with pytest.raises(TicketError, match="got none: run a backward pass first"), ExampleGradients().watching(model):
        pass
    assert torch.equal(outputs(model, inputs), before)
    assert not any("by_example" in key for module in model.modules() for key in vars(module))
    assert not detach_gates(model)._forward_pre_hooks


def test_packed_texts_are_refused():
    bert = tiny_bert()
    attach_gates(bert)
    width = bert.bert.encoder.layer[0].output.dense.in_features
    gradients = ExampleGradients()
    with pytest.raises(TicketError, match="does not pack texts"), gradients.watching(bert):
        gradients._note_batch(bert, (), {"input_ids": torch.ones(2, 3, dtype=torch.long)})
        bert.bert.encoder.layer[0].output.dense(torch.ones(5, width))
