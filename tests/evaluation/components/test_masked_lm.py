"""Masked language models: what they answer, and that attacks side by side ask them in fewer calls."""

from __future__ import annotations

import pytest
import torch

from hf_robust_tickets.errors import MissingResourceError
from hf_robust_tickets.evaluation import evaluate_robustness
from hf_robust_tickets.evaluation.components.masked_lm import MaskedLM
from tests.testing.keyword_model import keyword_model, keyword_tokenizer, rows
from tests.testing.tiny_parts import LetterEncoder, masked_lm, write_vectors

TEXTS = ["a great [MASK]", "the [MASK] is a very dull movie", "some [MASK] plot", "[MASK] , not good"]


@pytest.fixture
def tiny(tmp_path):
    return MaskedLM("tiny", *masked_lm(tmp_path))


def alone(lm, text):
    """Ids and logits of one text, unpadded, straight from the model."""
    inputs = lm.tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        return inputs["input_ids"][0].tolist(), lm.model(**inputs).logits[0]


def count_calls(model):
    calls = []
    model.register_forward_pre_hook(lambda _, args, kwargs: calls.append(len(kwargs["input_ids"])), with_kwargs=True)
    return calls


@pytest.mark.parametrize("side", ["right", "left"])
def test_logits_at_masks_are_those_of_each_text_alone(tiny, side):
    # counted from either end, positions are the same
    torch.nn.init.zeros_(tiny.model.bert.embeddings.position_embeddings.weight)
    tiny.tokenizer.padding_side = side
    for text, (position, logits) in zip(TEXTS, tiny.at_masks(TEXTS), strict=True):
        ids, expected = alone(tiny, text)
        assert ids[position] == tiny.tokenizer.mask_token_id
        torch.testing.assert_close(logits, expected[position], rtol=1e-4, atol=1e-5)


def test_a_mask_beyond_the_truncation_has_no_words(tiny):
    tiny.tokenizer.model_max_length = 6  # with [CLS] and [SEP] four words
    found = tiny.at_masks(["a great dull film [MASK]", "a great dull [MASK] film"])
    assert found[0] is None and found[1][0] == 4


def test_where_nothing_can_be_masked_nothing_is_asked(tiny):
    calls = count_calls(tiny.model)
    assert tiny.at_masks([]) == [] and not calls


def test_likeliest_tokens_are_those_of_the_text_alone_and_remembered(tiny):
    text = "a great movie"
    ids, logits = alone(tiny, text)
    calls = count_calls(tiny.model)
    assert tiny.likeliest(text, 5).tolist() == logits.topk(5).indices.tolist()
    tiny.likeliest(text, 5)
    assert calls == [1] and len(ids) == 5
    tiny.likeliest(text, 4)
    tiny.forget()
    tiny.likeliest(text, 5)
    assert len(calls) == 3


@pytest.mark.parametrize("recipe", ["bae", "bert-attack", "clare"])
def test_examples_side_by_side_share_the_calls_and_change_no_outcome(recipe, tmp_path, monkeypatch):
    pytest.importorskip("nltk")
    monkeypatch.setenv("TA_CACHE_DIR", str(tmp_path))
    write_vectors(tmp_path)
    model, tokenizer = masked_lm(tmp_path)
    calls = count_calls(model)

    def evaluate(width):
        calls.clear()
        report = evaluate_robustness(
            keyword_model(),
            rows(6),
            keyword_tokenizer(),
            recipes=[recipe],
            masked_language_model=(model, tokenizer),
            sentence_encoder=LetterEncoder(),
            concurrent_examples=width,
            progress=False,
        )
        found = [(one.outcome, one.perturbed, one.queries) for one in report[recipe].outcomes]
        return found, len(calls)

    try:
        one_by_one, many = evaluate(1)
    except MissingResourceError as error:
        pytest.skip(str(error))
    together, few = evaluate(6)
    assert together == one_by_one and any(outcome == "succeeded" for outcome, _, _ in together)
    assert few * 2 <= many
