"""How sure a model is of the truth, by hand and for every task."""

from __future__ import annotations

import math

import pytest
import torch

from hf_robust_tickets.training.steps.outputs import certainties
from tests.testing.tiny import tiny_bert


class NextToken(torch.nn.Module):
    loss_type = "ForCausalLM"


def test_classes_by_hand():
    # Probabilities of the truth: 1/2 of two is a guess, 3/4, almost 1, and 1/4, which is worse than a guess.
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3)], [20.0, 0.0], [math.log(3), 0.0]])
    found = certainties([logits], [torch.tensor([1, 1, 0, 1])], tiny_bert())
    assert found.tolist() == pytest.approx([0, 1 - math.log(4 / 3) / math.log(2), 1, 0], abs=1e-6)


def test_tokens_count_where_they_have_a_class():
    logits = torch.zeros(2, 3, 4)
    logits[0, 0, 1] = logits[0, 2, 3] = logits[1, 1, 2] = 50
    labels = torch.tensor([[1, -100, 3], [0, 2, -100]])
    assert certainties([logits], [labels], tiny_bert()).tolist() == pytest.approx([1, 0.5])


def test_the_next_token_is_the_label():
    logits = torch.zeros(1, 3, 4)
    logits[0, 0, 2] = logits[0, 1, 1] = 50
    assert certainties([logits], [torch.tensor([[3, 2, 1]])], NextToken()).tolist() == pytest.approx([1])


def test_several_labels_and_heads():
    logits, labels = torch.tensor([[50.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    assert certainties([logits], [labels], tiny_bert()).tolist() == pytest.approx([0.5])
    heads = [torch.tensor([[50.0, 0, 0, 0]]), torch.zeros(1, 4)]
    assert certainties(heads, [torch.tensor([0]), torch.tensor([1])], tiny_bert()).tolist() == pytest.approx([0.5])


@pytest.mark.parametrize("outputs", [1, 2])
def test_numbers_are_never_guessed(outputs):
    model = tiny_bert(num_labels=outputs, problem_type="regression")
    labels = torch.full((3, outputs), 7.0)
    assert certainties([torch.zeros(3, outputs)], [labels], model).tolist() == [1, 1, 1]


def test_an_example_without_labels_is_sure_and_half_precision_is_read_in_full():
    logits = torch.zeros(1, 2, 4, dtype=torch.bfloat16)
    found = certainties([logits], [torch.full((1, 2), -100)], tiny_bert())
    assert found.tolist() == [1] and found.dtype == torch.float32
