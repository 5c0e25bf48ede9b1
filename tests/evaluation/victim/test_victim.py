from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_robust_tickets.errors import ConfigurationError, DataError
from hf_robust_tickets.evaluation import evaluate_white_box
from hf_robust_tickets.evaluation.victim.model import Victim, evaluation_mode
from hf_robust_tickets.evaluation.victim.padding import cut_batches
from tests.testing.keyword_model import keyword_model, keyword_tokenizer
from tests.testing.tiny import tiny_bert


class Recording(torch.nn.Module):
    """Passes on to a model and remembers the shapes it saw."""

    def __init__(self, model):
        super().__init__()
        self.inner, self.config, self.shapes = model, model.config, []

    def forward(self, **inputs):
        self.shapes.append(tuple(inputs["input_ids"].shape))
        return self.inner(**inputs)


def test_batches_are_sorted_and_padded_to_their_own_longest():
    model = Recording(keyword_model())
    texts = ["good", "film " * 9, "bad", "film " * 7, "good"]
    logits = Victim(model, keyword_tokenizer(), batch_size=2)(texts)
    # the repeated text once; the tokenizer's limit plays no part; first it is asked whether padding changes an answer
    assert model.shapes == [(1, 1), (2, 9), (2, 1), (2, 9)]
    assert logits[:, 1].tolist() == pytest.approx([1.0, -1.0, -3.0, -1.0, 1.0])


@pytest.mark.parametrize(
    ("lengths", "batch_size", "call_tokens", "batches"),
    [
        # apart: 2 + 18 tokens and two calls of 4; together: 36 and one
        ([9, 1, 9, 1], 8, 4, [[1, 3], [0, 2]]),
        # apart: 20 + 2 * 20; together: 36 + 20
        ([9, 1, 9, 1], 8, 20, [[1, 3, 0, 2]]),
        ([5, 5, 5, 5, 5], 2, 64, [[0, 1], [2, 3], [4]]),
        ([], 2, 64, []),
    ],
)
def test_batches_by_hand(lengths, batch_size, call_tokens, batches):
    assert cut_batches(lengths, batch_size, call_tokens) == batches


@given(st.lists(st.integers(1, 12), min_size=1, max_size=9), st.integers(1, 4), st.integers(0, 30))
def test_no_other_way_to_cut_costs_less(lengths, batch_size, call_tokens):
    found = cut_batches(lengths, batch_size, call_tokens)
    assert sorted(itertools.chain(*found)) == list(range(len(lengths)))
    assert all(len(batch) <= batch_size for batch in found)
    cost = sum(len(batch) * max(lengths[i] for i in batch) + call_tokens for batch in found)
    counts = [(length, lengths.count(length)) for length in sorted(set(lengths))]
    for cuts in itertools.product([False, True], repeat=len(counts) - 1):
        groups = [[counts[0]]]
        for cut, run in zip(cuts, counts[1:]):
            groups.append([run]) if cut else groups[-1].append(run)
        other = 0
        for group in groups:
            texts = sum(count for _, count in group)
            other += texts * group[-1][0] + -(-texts // batch_size) * call_tokens
        assert cost <= other


def test_answers_do_not_depend_on_the_company_of_a_text():
    model, tokenizer = tiny_bert().eval(), keyword_tokenizer()
    texts = ["good film", "a bad plot of an awful film", "great"]
    together = Victim(model, tokenizer)(texts)
    alone = torch.cat([Victim(model, tokenizer, batch_size=1)([text]) for text in texts])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


def test_cache_answers_until_it_is_told_to_forget():
    model = Recording(keyword_model())
    victim = Victim(model, keyword_tokenizer())
    victim(["good", "bad"])
    victim(["bad", "film", "bad"])
    assert [shape[0] for shape in model.shapes] == [2, 1]
    assert (victim.statistics.texts, victim.statistics.forwarded) == (5, 3)
    victim.forget()
    victim(["bad"])
    assert len(model.shapes) == 3


def test_pairs_and_truncation():
    model = Recording(keyword_model())
    victim = Victim(model, keyword_tokenizer(), max_length=3)
    assert victim([("good film", "bad film film film")]).shape == (1, 2)
    assert model.shapes == [(1, 3)]
    assert Victim(tiny_bert(), keyword_tokenizer()).max_length == 32  # positions of the model


def test_what_cannot_work_is_said():
    tokenizer = keyword_tokenizer()
    model = keyword_model()
    with torch.no_grad():
        model.scores.weight[2] = torch.nan
    with pytest.raises(DataError, match="1 of 2 texts"):
        Victim(model, tokenizer)(["good", "bad"])
    tokenizer.pad_token = None
    with pytest.raises(ConfigurationError, match="padding token"):
        Victim(model, tokenizer)


def test_evaluation_mode_gives_every_module_its_own_mode_back():
    model = tiny_bert().train()
    model.classifier.eval()
    with pytest.raises(RuntimeError), evaluation_mode(model):
        assert not any(module.training for module in model.modules())
        raise RuntimeError
    assert model.training and not model.classifier.training and model.bert.training


def test_no_more_tokens_than_positions():
    from transformers import RobertaConfig, RobertaForSequenceClassification

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    roberta = RobertaForSequenceClassification(
        RobertaConfig(vocab_size=9, max_position_embeddings=18, pad_token_id=1, **sizes)
    )
    tokenizer = keyword_tokenizer()
    assert Victim(roberta, tokenizer).max_length == 16  # two positions are the padding's and what is before it
    assert torch.isfinite(Victim(roberta.eval(), tokenizer)(["film " * 40])).all()
    bert = tiny_bert()
    assert Victim(bert, tokenizer).max_length == Victim(bert, tokenizer, max_length=32).max_length == 32
    for model, positions in ((roberta, 16), (bert, 32)):
        with pytest.raises(ConfigurationError, match=f"max_length <= {positions}"):
            Victim(model, tokenizer, max_length=positions + 1)
    with pytest.raises(ConfigurationError, match="max_length <= 32"):
        evaluate_white_box(bert, [{"text": "good film", "label": 0}], tokenizer, max_length=33, progress=False)
    assert Victim(keyword_model(max_position_embeddings=16), tokenizer, max_length=40).max_length == 40  # no table
