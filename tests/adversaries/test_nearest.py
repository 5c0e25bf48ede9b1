"""Nearest tokens, by hand and against a loop."""

from __future__ import annotations

import pytest
import torch

from hf_robust_tickets.adversaries.nearest import NearestTokens, tokens_of_letters
from hf_robust_tickets.errors import ConfigurationError
from tests.testing.small_tokenizers import byte_level, metaspace, wordpiece


def test_neighbours_by_hand():
    weight = torch.tensor([[9.0, 9.0], [1.0, 0.0], [10.0, 1.0], [0.0, 2.0], [0.1, 3.0]])
    table = NearestTokens.find(weight, torch.tensor([1, 2, 3, 4]), most=2).table
    # Token 0 takes no part: neither asked nor given, though it is as near as any.
    assert table.tolist() == [[0, 0], [2, 4], [1, 4], [4, 2], [3, 2]]


def test_neighbours_equal_a_loop_over_the_tokens():
    weight = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    letters = torch.arange(5, 45)
    table = NearestTokens.find(weight, letters, most=4).table
    for token in letters.tolist():
        likeness = torch.nn.functional.cosine_similarity(weight[token], weight[letters])
        likeness[letters == token] = -2
        assert table[token].tolist() == letters[likeness.topk(4).indices].tolist()


def test_only_what_is_asked_for_has_neighbours():
    weight = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    letters = torch.arange(4, 20)
    whole = NearestTokens.find(weight, letters, most=3).table
    part = NearestTokens.find(weight, letters, most=3, asked=torch.tensor([1, 5, 9])).table
    asked = torch.tensor([5, 9])
    assert torch.equal(part[asked], whole[asked])
    others = torch.tensor([i for i in range(20) if i not in (5, 9)])
    assert torch.equal(part[others], others.unsqueeze(1).repeat(1, 3))


def test_a_small_vocabulary_has_fewer_neighbours_and_none_is_refused():
    weight = torch.randn(6, 3)
    assert NearestTokens.find(weight, torch.tensor([3, 4, 5]), most=12).table.shape == (6, 2)
    with pytest.raises(ConfigurationError, match="expected a vocabulary with tokens of letters to exchange, got 1"):
        NearestTokens.find(weight, torch.tensor([3]), most=12)


@pytest.mark.parametrize("make", [wordpiece, byte_level, metaspace])
def test_tokens_of_letters_are_no_marks_and_no_special_ones(make):
    tokenizer = make()
    letters = tokens_of_letters(tokenizer, len(tokenizer)).tolist()
    names = [name.removeprefix("##").strip("\u2581\u0120") for name in tokenizer.convert_ids_to_tokens(letters)]
    assert letters and all(name.isalpha() for name in names)
    assert not set(letters) & set(tokenizer.all_special_ids)
    assert not any(number >= 20 for number in tokens_of_letters(tokenizer, 20).tolist())
